"""The report's plots, from the files of `distill` and `evaluate`. What is missing or damaged is a message. Draws nothing itself."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.metrics.score_names import SCORE_NAMES
from pipeline.report import plots
from pipeline.report.figures import Plot
from stages.evaluate.curves import CURVE_COLUMNS, CURVES_FILE, TEXT_COLUMNS
from stages.evaluate.poses import RUN_EVALUATE
from stages.project.project import Project
from stages.project.students import STUDENTS
from stages.report.provenance import Log

METRICS_FILE = Path("results/metrics.json")


def training_plots(project: Project, log: Log) -> list[Plot]:
    """Return one figure with the loss curves of all trained students; nothing where no student has a curve."""
    curves = {}
    for name in project.students:
        path = STUDENTS / name / "curve.csv"
        rows = _read_rows(path, ("step", "total"))
        if rows is None:
            log(f"{path}: no curve to show: run `pipeline distill --student {name}`")
        else:
            curves[name] = {key: [row[key] for row in rows] for key in rows[0]}
    if not curves:
        return []
    caption = (
        "The loss and its terms over the steps. Students without teachers have another total, which does not compare."
    )
    return [_plot(caption, plots.loss_curves("training", curves, project.teacher_names))]


def pck_plots(metrics: Mapping[str, Any], styles: Mapping[str, plots.LineStyle], log: Log) -> list[Plot]:
    """Return one figure with the PCK curves of the models in `metrics`; nothing where there are no curves."""
    rows = _read_rows(CURVES_FILE, CURVE_COLUMNS, TEXT_COLUMNS)
    if rows is None:
        log(f"{CURVES_FILE}: no curves to show: {RUN_EVALUATE}")
        return []
    curves: dict[str, dict[str, dict[str, list[float]]]] = {}
    for row in rows:
        if row["model"] in metrics:
            columns = curves.setdefault(row["dataset"], {}).setdefault(row["model"], {"threshold": [], "pck": []})
            columns["threshold"].append(row["threshold"])
            columns["pck"].append(row["pck"])
    caption = "Distance in longer sides of the person's box; the dotted line is PCK@0.1."
    return [_plot(caption, plots.pck_curves("pck", curves, styles))] if curves else []


def keypoint_plots(
    metrics: Mapping[str, Any], datasets: Sequence[str], styles: Mapping[str, plots.LineStyle], log: Log
) -> list[Plot]:
    """Return a figure per dataset with the PCKh@0.5, the PCK@0.2 of the torso, or else the PCK@0.1, of each keypoint."""
    figures: list[Plot] = []
    for name in datasets:
        columns = {model: document.get("keypoints", {}).get(name) for model, document in metrics.items()}
        known = {model: values for model, values in columns.items() if values}
        if not known:
            log(f"{METRICS_FILE}: no numbers per keypoint of {name}: {RUN_EVALUATE}")
            continue
        first = next(iter(known.values()))
        score = next(key for key in (SCORE_NAMES["pckh"], SCORE_NAMES["pck"], "PCK@0.1") if key in first)
        values = {model: columns[score] for model, columns in known.items()}
        drawing = plots.keypoint_bars(f"keypoints-{name}", first["keypoint"], values, styles, score)
        figures.append(_plot(f"{name}: {score} of each keypoint", drawing))
    return figures


def _plot(caption: str, drawing: plots.Drawing) -> Plot:
    return Plot(caption, drawing.name, drawing.svg, drawing.pdf)


def _read_rows(path: Path, columns: tuple[str, ...], texts: tuple[str, ...] = ()) -> list[dict[str, Any]] | None:
    """Read the rows of a CSV file, with numbers in all columns but `texts`.

    None where the file is missing, empty or damaged, or lacks one of the `columns`.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = [
                {key: value if key in texts else float(value) for key, value in row.items()}
                for row in csv.DictReader(stream)
            ]
    except (OSError, ValueError, TypeError, csv.Error):
        return None
    return rows if rows and set(columns) <= rows[0].keys() else None
