"""dvc.yaml against the code: every stage depends on exactly the files it runs through, and every profile of params.yaml fits it."""

from pathlib import Path

import pytest
import yaml

from stages.crops import CropSettings
from stages.datasets import dataset_settings
from stages.evaluation.results import EvaluateSettings
from stages.fit import FitSettings
from stages.params import load_params, parse, settings
from stages.report import ReportSettings
from stages.student_settings import DistillSettings
from stages.students import arms
from stages.teach import TeachSettings
from stages.teachers import teacher_settings
from stages.training_settings import TrainingSettings
from tests.closure import ROOT, closure

STAGE_FILES = {
    "data": "sample",
    "prepare": "prepare",
    "crops": "crops",
    "fit": "fit",
    "teach": "teach",
    "distill": "distill",
    "baseline": "distill",
    "export": "export",
    "evaluate": "evaluate",
    "report": "report",
    "arm": "experiment/run",
    "table": "experiment/table",
}
PROFILES = sorted([ROOT / "params.yaml", *(ROOT / "params").glob("*.yaml")])
LINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
EXPERIMENT = yaml.safe_load((ROOT / "experiments/dvc.yaml").read_text())["stages"]


def code_of(dependency: str) -> set[str]:
    """The project's code files that a dependency names, alone or as a folder."""
    path = ROOT / dependency
    files = path.rglob("*.py") if path.is_dir() else [path]
    return {file.relative_to(ROOT).as_posix() for file in files if file.stat().st_size}


@pytest.mark.parametrize("stage", [*LINE, *EXPERIMENT])
def test_a_stage_depends_on_exactly_the_code_it_runs_through(stage: str) -> None:
    described = LINE[stage] if stage in LINE else EXPERIMENT[stage]
    declared = described.get("do", described)["deps"]
    code = {
        file
        for dependency in declared
        if dependency.split("/")[0] in ("pipeline", "cache", "stages")
        for file in code_of(dependency)
    }
    assert sorted(code) == closure(ROOT / "stages" / f"{STAGE_FILES[stage]}.py")


def test_an_edit_to_the_loss_runs_no_teacher_and_an_edit_to_a_score_trains_nothing() -> None:
    assert "pipeline/losses.py" not in closure(ROOT / "stages/teach.py")
    assert not any(
        file.startswith("pipeline/scores/") and file != "pipeline/scores/poses.py"
        for stage in ("fit", "distill")
        for file in closure(ROOT / f"stages/{stage}.py")
    )


def test_stores_survive_a_killed_stage() -> None:
    assert LINE["teach"]["do"]["outs"] == [{"data/targets/${key}": {"persist": True}}]
    assert LINE["crops"]["outs"] == [{"data/crops": {"persist": True}}]


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.name)
def test_a_profile_is_read_without_complaint(profile: Path) -> None:
    params = load_params(profile)
    datasets = dataset_settings(params)
    for cls, section in (
        (CropSettings, "crops"),
        (FitSettings, "fit"),
        (TeachSettings, "teach"),
        (DistillSettings, "distill"),
        (EvaluateSettings, "evaluate"),
        (ReportSettings, "report"),
    ):
        chosen = settings(params, section, cls)
        if section in ("fit", "distill"):
            parse(chosen.training, f"{section}.training", TrainingSettings)
    assert {teacher_settings(params, name).dataset for name in params["teachers"]} <= datasets.keys()
    for arm in arms(params).values():
        assert set(arm.datasets) <= datasets.keys()
        assert set(arm.teachers) <= params["teachers"].keys()
