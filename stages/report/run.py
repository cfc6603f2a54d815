"""Stage `report`: one HTML page about everything after `evaluate`, its plots as files, a contact sheet per test set. Runs no network."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Lt

from pipeline.common.errors import UserError
from pipeline.common.files import write_atomically
from pipeline.common.locks import exclusive
from pipeline.metrics.score_names import main_score
from pipeline.report import plots, tables
from pipeline.report.figures import GalleryPerson, Page
from pipeline.report.page import render
from stages.evaluate.poses import RUN_EVALUATE, poses_path, read_poses
from stages.project.datasets import TEST, load_people
from stages.project.project import Project
from stages.report import provenance
from stages.report.gallery import gallery_people, gallery_person, write_sheet
from stages.report.provenance import Log
from stages.report.result_plots import METRICS_FILE, keypoint_plots, pck_plots, training_plots
from stages.report.target_examples import target_examples

REPORT_FOLDER = Path("data/report")
FIGURES_FOLDER = REPORT_FOLDER / "figures"


@dataclass(frozen=True)
class ReportSettings:
    people: Annotated[int, Ge(0)] = 3
    """People in the gallery, for each dataset and each of best, typical and worst."""
    confidence: Annotated[float, Ge(0), Lt(1)] = 0.2
    """Keypoints above this confidence are drawn."""
    target_examples: Annotated[int, Ge(0)] = 2
    """People of each dataset whose stored maps are shown."""


@exclusive(REPORT_FOLDER, remove_lock_file=True)
def run(project: Project, log: Log = print) -> None:
    """Write data/report: report.html, its plots as files, a JPEG per test dataset. What is missing is a line in the page and a message."""
    settings = project.section("report", ReportSettings)
    metrics = read_metrics(METRICS_FILE)
    tested = [name for name, dataset in project.datasets.items() if dataset.test]
    students = [name for name in metrics if name in project.students]
    styles = plots.line_styles(students, [name for name in metrics if name not in students])
    missing: dict[str, list[str]] = {}

    def note(part: str) -> Log:
        return lambda line: missing.setdefault(part, []).append(line)

    first = next(iter(metrics))
    main_scores = {name: main_score(metrics[first].get(name, {})) for name in tested}
    numbers = [
        tables.headline_table(metrics, {name: key for name, key in main_scores.items() if key}, students),
        tables.differences_table(metrics),
        tables.seeds_table(metrics),
    ]
    page = Page(
        title="Pose Fusion: what was trained, and how well it does",
        lead=f"Students: {_listed(students)}. Tested on people of {_listed(tested)}, with the teachers beside them.",
        paper=tables.PAPER,
        numbers=[table for table in numbers if table],
        details=tables.score_tables(metrics, tested),
        training=training_plots(project, note("training")),
        curves=pck_plots(metrics, styles, note("curves")),
        bars=keypoint_plots(metrics, tested, styles, note("bars")),
        gallery=_gallery(project, metrics, tested, settings, note("gallery")),
        ranked_by=first,
        target_examples=target_examples(project, settings.target_examples, note("target_examples")),
        inputs=[
            provenance.people_table(project, note("inputs")),
            provenance.teacher_table(project, note("inputs")),
            provenance.store_table(project, note("inputs")),
            provenance.student_table(project, note("inputs")),
            provenance.version_table(),
        ],
        parameters=project.as_yaml(),
        missing=missing,
    )
    _write_figures(page)
    path = REPORT_FOLDER / "report.html"
    data = render(page).encode()
    write_atomically(path, data)
    for line in dict.fromkeys(line for lines in missing.values() for line in lines):
        log(line)
    log(f"{path}: {len(data) / 1e6:.1f} MB, opens in any browser; its figures as SVG and PDF: {FIGURES_FOLDER}/")


def _write_figures(page: Page) -> None:
    """Write the plots of the page as files, for papers and slides. Those of an earlier report are deleted."""
    shutil.rmtree(FIGURES_FOLDER, ignore_errors=True)
    for plot in (*page.training, *page.curves, *page.bars):
        write_atomically(FIGURES_FOLDER / f"{plot.name}.svg", plot.svg.encode())
        write_atomically(FIGURES_FOLDER / f"{plot.name}.pdf", plot.pdf)


def read_metrics(path: Path) -> dict[str, Any]:
    """Read the document that `evaluate` wrote; UserError where the file is missing or of another kind."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: expected the scores of `evaluate`, found no file: {RUN_EVALUATE}") from error
    except ValueError as error:
        raise UserError(f"{path}: expected the scores of `evaluate`, found no JSON: {RUN_EVALUATE}") from error
    if not isinstance(document, dict) or not document or not all(isinstance(each, dict) for each in document.values()):
        raise UserError(f"{path}: expected scores by model, found {document!r:.60}: {RUN_EVALUATE}")
    return document


def _gallery(
    project: Project, metrics: Mapping[str, Any], tested: Sequence[str], settings: ReportSettings, log: Log
) -> list[GalleryPerson]:
    """Return the people of the gallery, and write the contact sheet of each dataset."""
    people: list[GalleryPerson] = []
    for name in tested if settings.people else ():
        path = poses_path(name)
        try:
            poses = {model: predicted for model, predicted in read_poses(path).items() if model in metrics}
            ranked_by = next(iter(metrics))
            if ranked_by not in poses:
                raise UserError(f"{path}: no poses of {ranked_by}: {RUN_EVALUATE}")
            teachers_first = dict(sorted(poses.items(), key=lambda item: item[0] in project.students))
            images, truth = project.datasets[name].images(TEST), load_people(name, TEST)
            shown = gallery_people(images, truth, teachers_first, ranked_by, settings.people, settings.confidence)
        except UserError as error:
            log(str(error))
            continue
        if not shown:
            log(f"{path}: no poses of the people there are now: {RUN_EVALUATE}")
            continue
        people += [gallery_person(name, person) for person in shown]
        write_sheet(REPORT_FOLDER / f"{name}.jpg", shown)
    return people


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names) or "none"
