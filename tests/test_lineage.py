"""dvc.yaml against the code: a stage depends on what it runs through, and never on what it must not; every profile fits it."""

import shutil
from pathlib import Path

import pytest
import yaml

from stages.crops import CropSettings
from stages.evaluate.results import EvaluateSettings
from stages.fit import FitSettings
from stages.project.datasets import PrepareSettings
from stages.project.project import load_project
from stages.report.run import ReportSettings
from stages.students.settings import settings_of, student_spec
from stages.teach.run import TeachSettings
from tests.closure import PACKAGES, ROOT, STAGE_FILES, closure

MOST_ENTRIES = 16
PROFILES = sorted([ROOT / "params.yaml", *(ROOT / "params").glob("*.yaml")])
LINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
EXPERIMENT = yaml.safe_load((ROOT / "experiments/dvc.yaml").read_text())["stages"]
STAGES = LINE | EXPERIMENT

TRAINING = ("fit", "distill", "baseline", "train")
FORBIDDEN = {
    "pipeline/training/losses.py": (
        "data",
        "link",
        "prepare",
        "crops",
        "teach",
        "export",
        "evaluate",
        "score",
        "table",
    ),
    "pipeline/metrics/pckh.py": ("data", "link", "prepare", "crops", *TRAINING, "export"),
    "pipeline/networks/build.py": ("data", "link", "prepare", "crops", "teach", "report", "table"),
    "pipeline/report/page.py": tuple(stage for stage in STAGE_FILES if stage != "report"),
    "stages/doctor/run.py": tuple(STAGE_FILES),
}
"""A file, and the stages that an edit to it must not run again."""
PAIRS = [(stage, file) for file, stages in FORBIDDEN.items() for stage in stages]


def declared_code(stage: str) -> list[str]:
    """What the `deps` of a stage name of the project's code."""
    described = STAGES[stage]
    deps = described.get("do", described)["deps"]
    return [dep for dep in deps if dep.split("/")[0] in PACKAGES]


def undeclared(stage: str, root: Path = ROOT) -> list[str]:
    """Files that a stage runs through and does not declare, alone or by a folder."""
    declared = declared_code(stage)
    return [f for f in closure(stage, root) if not any(f == d or f.startswith(f"{d}/") for d in declared)]


def touches(stage: str, file: str, root: Path = ROOT) -> bool:
    """Does an edit to the file run the stage again, by what it declares or by what it runs through."""
    declared = any(file == d or file.startswith(f"{d}/") for d in declared_code(stage))
    return declared or file in closure(stage, root)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_all_the_code_it_runs_through(stage: str) -> None:
    assert undeclared(stage) == []


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_nothing_that_it_does_not_use(stage: str) -> None:
    declared, used = declared_code(stage), closure(stage)
    assert [d for d in declared if not any(f == d or f.startswith(f"{d}/") for f in used)] == []
    assert len(declared) == len(set(declared)) <= MOST_ENTRIES


@pytest.mark.parametrize(("stage", "file"), PAIRS)
def test_an_edit_that_concerns_a_stage_not_does_not_run_it(stage: str, file: str) -> None:
    assert not touches(stage, file)


@pytest.fixture(scope="module")
def copy_of_the_code(tmp_path_factory):
    """The packages alone, to plant mistakes in."""
    root = tmp_path_factory.mktemp("code")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.mark.parametrize(("stage", "file"), PAIRS)
def test_a_forbidden_import_that_is_planted_is_found(copy_of_the_code: Path, stage: str, file: str) -> None:
    """At the end of a function of the stage's own file, where an import is easily overlooked."""
    entry = copy_of_the_code / STAGE_FILES[stage]
    before = entry.read_text()
    module = file.removesuffix(".py").replace("/", ".")
    entry.write_text(f"{before}\n\ndef planted() -> None:\n    import {module}\n")
    try:
        assert touches(stage, file, copy_of_the_code)
        assert file in undeclared(stage, copy_of_the_code)
    finally:
        entry.write_text(before)


def test_the_files_stay_readable() -> None:
    """Stages name folders, and an arm of the comparison is named in arms.yaml alone."""
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) <= 330
    assert len((ROOT / "dvc.lock").read_text().splitlines()) <= 2500
    lock = ROOT / "experiments/dvc.lock"
    assert not lock.is_file() or len(lock.read_text().splitlines()) <= 5000


def test_stores_and_trained_arms_survive_a_killed_stage() -> None:
    assert LINE["teach"]["do"]["outs"] == [{"data/targets/${key}": {"persist": True}}]
    assert LINE["crops"]["outs"] == [{"data/crops": {"persist": True}}]
    assert EXPERIMENT["train"]["do"]["outs"] == [{"data/experiment/students/${key}": {"persist": True}}]


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.name)
def test_a_profile_is_read_without_complaint(profile: Path) -> None:
    project = load_project(profile)
    project.check()
    for cls, section in (
        (PrepareSettings, "prepare"),
        (CropSettings, "crops"),
        (FitSettings, "fit"),
        (TeachSettings, "teach"),
        (EvaluateSettings, "evaluate"),
        (ReportSettings, "report"),
    ):
        project.section(section, cls)
    assert {teacher.dataset for teacher in project.teachers.values()} <= project.datasets.keys()
    for name, student in project.students.items():
        assert len(student_spec(project, settings_of(project, name, student)).skeleton) == 21
        assert set(student.datasets) <= project.datasets.keys()
        assert set(student.teachers) <= project.teachers.keys()
