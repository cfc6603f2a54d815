"""Stage `report`: one HTML file of what there is to see after `evaluate`, and a sheet of pictures per dataset. Runs no network."""

import csv
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import yaml
from annotated_types import Ge, Lt

from cache.lock import exclusive
from pipeline.errors import UserError
from pipeline.files import write_atomically
from pipeline.people.pictures import read_picture
from pipeline.report import plots, tables
from pipeline.report.figures import Page, Person, Picture, Plot
from pipeline.report.page import jpeg_uri, render
from stages import show
from stages.datasets import TRAIN, VALIDATION, dataset_settings, load_people
from stages.evaluation.curves import COLUMNS, CURVES, TEXTS
from stages.evaluation.poses import poses_path, read_poses
from stages.params import settings
from stages.reporting import provenance
from stages.reporting.gallery import as_person, chosen_people, write_sheet
from stages.students import STUDENTS, arms
from stages.teachers import listed_teachers

REPORT = Path("data/report")
METRICS = Path("results/metrics.json")
AGAIN = "run `pipeline evaluate`"

Say = Callable[[str], None]


@dataclass(frozen=True)
class ReportSettings:
    people: Annotated[int, Ge(0)] = 3
    """In the gallery, of each dataset and each of best, typical and worst."""
    confidence: Annotated[float, Ge(0), Lt(1)] = 0.2
    """Keypoints above this are drawn."""
    peeks: Annotated[int, Ge(0)] = 2
    """People of each dataset whose stored maps are shown."""


@exclusive(REPORT, passing=True)
def run(params: dict[str, Any], say: Say = print) -> None:
    """Write data/report: report.html and a JPEG per test dataset. What is not there is a line in the page and on the screen."""
    chosen = settings(params, "report", ReportSettings)
    metrics = read_metrics(METRICS)
    tested = [name for name, dataset in dataset_settings(params).items() if dataset.test]
    students = [name for name in metrics if name in arms(params)]
    look = plots.looks(students, [name for name in metrics if name not in students])
    missing: dict[str, list[str]] = {}

    def note(part: str) -> Say:
        return lambda line: missing.setdefault(part, []).append(line)

    scores = [tables.headline(metrics, tested, students), tables.differences(metrics)]
    page = Page(
        title="Pose Fusion: what was trained, and how well it does",
        lead=f"Students: {_listed(students)}. Tested on people of {_listed(tested)}, with the teachers beside them.",
        paper=tables.PAPER,
        numbers=[each for each in scores if each],
        details=tables.all_scores(metrics, tested),
        training=_training(params, note("training")),
        curves=_curves(metrics, look, note("curves")),
        bars=_bars(metrics, tested, look, note("bars")),
        gallery=_gallery(params, metrics, tested, chosen, note("gallery")),
        judge=next(iter(metrics)),
        peeks=_peeks(params, chosen.peeks, note("peeks")),
        inputs=[
            provenance.people_table(params, note("inputs")),
            provenance.teacher_table(params, note("inputs")),
            provenance.store_table(params, note("inputs")),
            provenance.student_table(params, note("inputs")),
            provenance.version_table(),
        ],
        parameters=yaml.safe_dump(params, sort_keys=False, allow_unicode=True, width=120),
        missing=missing,
    )
    place = REPORT / "report.html"
    data = render(page).encode()
    write_atomically(place, data)
    for line in dict.fromkeys(line for lines in missing.values() for line in lines):
        say(line)
    say(f"{place}: {len(data) / 1e6:.1f} MB, opens in any browser")


def read_metrics(path: Path) -> dict[str, Any]:
    """The document that `evaluate` wrote; UserError where the file is missing or another kind of file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: expected the scores of `evaluate`, found no file: {AGAIN}") from error
    except ValueError as error:
        raise UserError(f"{path}: expected the scores of `evaluate`, found no JSON: {AGAIN}") from error
    if not isinstance(found, dict) or not found or not all(isinstance(each, dict) for each in found.values()):
        raise UserError(f"{path}: expected scores by model, found {found!r:.60}: {AGAIN}")
    return found


def _training(params: dict[str, Any], say: Say) -> list[Plot]:
    curves = {}
    for name in arms(params):
        path = STUDENTS / name / "curve.csv"
        rows = _rows(path, ("step", "total"))
        if rows is None:
            say(f"{path}: no curve to show: run `pipeline distill --student {name}`")
        else:
            curves[name] = {key: [row[key] for row in rows] for key in rows[0]}
    if not curves:
        return []
    svg = plots.loss_curves("training", curves, list(listed_teachers(params)))
    caption = (
        "The loss and its terms over the steps. Students without teachers have another total, which does not compare."
    )
    return [Plot(caption, svg)]


def _curves(metrics: dict[str, Any], look: dict[str, plots.Look], say: Say) -> list[Plot]:
    rows = _rows(CURVES, COLUMNS, TEXTS)
    if rows is None:
        say(f"{CURVES}: no curves to show: {AGAIN}")
        return []
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for row in rows:
        if row["model"] in metrics:
            columns = found.setdefault(row["dataset"], {}).setdefault(row["model"], {"threshold": [], "pck": []})
            columns["threshold"].append(row["threshold"])
            columns["pck"].append(row["pck"])
    caption = "Distance in longer sides of the person's box; the dotted line is PCK@0.1."
    return [Plot(caption, plots.pck_curves("pck", found, look))] if found else []


def _bars(metrics: dict[str, Any], tested: list[str], look: dict[str, plots.Look], say: Say) -> list[Plot]:
    drawn: list[Plot] = []
    for name in tested:
        columns = {model: document.get("keypoints", {}).get(name) for model, document in metrics.items()}
        known = {model: found for model, found in columns.items() if found}
        if not known:
            say(f"{METRICS}: no numbers per keypoint of {name}: {AGAIN}")
            continue
        first = next(iter(known.values()))
        of = next(key for key in ("PCKh@0.5", "PCK@0.1") if key in first)
        values = {model: found[of] for model, found in known.items()}
        svg = plots.keypoint_bars(f"bars-{len(drawn)}", first["keypoint"], values, look, of)
        drawn.append(Plot(f"{name}: {of} of each keypoint", svg))
    return drawn


def _gallery(
    params: dict[str, Any], metrics: dict[str, Any], tested: list[str], chosen: ReportSettings, say: Say
) -> list[Person]:
    datasets, students, people = dataset_settings(params), arms(params), []
    for name in tested if chosen.people else []:
        try:
            found = {model: poses for model, poses in read_poses(poses_path(name)).items() if model in metrics}
            judge = next(iter(metrics))
            if judge not in found:
                raise UserError(f"{poses_path(name)}: no poses of {judge}: {AGAIN}")
            shown = dict(sorted(found.items(), key=lambda each: each[0] in students))
            images, truth = datasets[name].images("test"), load_people(name, "test")
            picked = chosen_people(images, truth, shown, judge, chosen.people, chosen.confidence)
        except UserError as error:
            say(str(error))
            continue
        if not picked:
            say(f"{poses_path(name)}: no poses of the people there are now: {AGAIN}")
            continue
        people += [as_person(name, each) for each in picked]
        write_sheet(REPORT / f"{name}.jpg", picked)
    return people


def _peeks(params: dict[str, Any], count: int, say: Say) -> list[Picture]:
    pictures: list[Picture] = []
    said: list[str] = []
    for name, dataset in dataset_settings(params).items():
        if not dataset.train or not count:
            continue
        try:
            split, persons = _some_people(name, count)
            for person in persons:
                with tempfile.TemporaryDirectory() as folder:
                    drawn = Path(folder) / "sheet.png"
                    heard: list[str] = []
                    show.run(params, person, name, drawn, heard.append, split)
                    said += [line for line in heard if not line.startswith(folder)]
                    pictures.append(Picture(f"person {person} of {name} {split}", jpeg_uri(read_picture(drawn))))
        except UserError as error:
            said.append(str(error))
    for line in dict.fromkeys(said):
        say(line)
    return pictures


def _some_people(dataset: str, count: int) -> tuple[str, list[int]]:
    """A split and ids of people in use, evenly spread over it: of the held-out ones if there are any."""
    for split in (VALIDATION, TRAIN):
        people = load_people(dataset, split)
        used = people.person[people.use]
        if len(used):
            at = np.linspace(0, len(used) - 1, count + 2).astype(int)[1:-1]
            return split, [int(person) for person in np.unique(used[at])]
    raise UserError(f"{dataset}: expected people in use, found none: run `pipeline prepare --dataset {dataset}`")


def _rows(path: Path, columns: tuple[str, ...], texts: tuple[str, ...] = ()) -> list[dict[str, Any]] | None:
    """Rows of a CSV file, numbers but for the `texts`; None where it is missing, empty, damaged or lacks one of the columns."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = [
                {key: value if key in texts else float(value) for key, value in row.items()}
                for row in csv.DictReader(stream)
            ]
    except (OSError, ValueError, TypeError, csv.Error):
        return None
    return rows if rows and set(columns) <= rows[0].keys() else None


def _listed(names: list[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names) or "none"
