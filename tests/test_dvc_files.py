"""`dvc repro` where files lie elsewhere: of a large folder DVC reads the annotation file that is named, and teachers lie anywhere."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fixtures import make_project, params
from tests.test_end_to_end import copy_of_the_project, run, tools_in_forks

TINY = {"steps": 3, "batch": 8}
USED = (
    "cli",
    "stages.prepare",
    "stages.teach.run",
    "stages.distill.run",
    "stages.evaluate.run",
    "dvclive",
    "onnxruntime",
)
"""What the commands import."""


def values(elsewhere: Path) -> dict[str, Any]:
    """The tiny project with its annotations, images and teacher in another folder, by full paths."""
    part = {"file": str(elsewhere / "train.json"), "images": str(elsewhere / "pictures")}
    dataset = {"format": "coco", "score": "ap", "train": part, "test": {"share": 0.3}}
    changed = params(datasets={"coco": dataset}, teachers__tiny__onnx=str(elsewhere / "nets/tiny.onnx"))
    return changed | {
        "data": [],
        "skeletons": {},
        "crops": {},
        "fit": {"teachers": []},
        "targets": "data/targets",
        "distill": {
            "width": 8,
            "input": [64, 32],
            "min_score": 0.0,
            "terms": {"truth": 1, "tiny": 1},
            "training": TINY,
        },
        "students": {"one": {"datasets": ["coco"], "teachers": ["tiny"]}},
        "baselines": {},
        "evaluate": {"resamples": 10},
        "report": {"people": 1},
    }


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A project after `dvc repro evaluate`, and the folder of its data, with much besides that concerns nobody."""
    here, elsewhere = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("elsewhere")
    make_project(elsewhere, 10, 2)
    shutil.move(elsewhere / "annotations/train.json", elsewhere / "train.json")
    (elsewhere / "nets").mkdir()
    shutil.move(elsewhere / "tiny.onnx", elsewhere / "nets/tiny.onnx")
    for n in range(3):
        (elsewhere / f"unrelated-{n}.bin").write_bytes(bytes(1000))
    copy_of_the_project(here)
    (here / "results/data").mkdir(parents=True)
    (here / "params.yaml").write_text(yaml.safe_dump(values(elsewhere)))
    with tools_in_forks(here, *USED):
        run(here, "dvc", "repro", "evaluate")
        yield here, elsewhere


def lock(here: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((here / "dvc.lock").read_text())["stages"])


@pytest.mark.slow
def test_dvc_reads_the_named_file_alone(folders: tuple[Path, Path]) -> None:
    here, elsewhere = folders
    stages = lock(here)
    (links,) = (dep for dep in stages["prepare@coco"]["deps"] if dep["path"] == "data/annotations/coco")
    assert (links["nfiles"], links["size"]) == (1, (elsewhere / "train.json").stat().st_size)
    assert str(elsewhere / "nets/tiny.onnx") in {dep["path"] for dep in stages["teach@tiny"]["deps"]}
    assert not (here / "data/teachers").exists()
    assert set(json.loads((here / "results/metrics.json").read_text())) == {"one", "teacher tiny"}
    (elsewhere / "unrelated-0.bin").write_bytes(b"other")
    assert "Data and pipelines are up to date" in run(here, "dvc", "repro", "evaluate")


@pytest.mark.slow
def test_a_changed_annotation_file_is_noticed(folders: tuple[Path, Path]) -> None:
    """Its size stays the same, and the link to it is untouched."""
    here, elsewhere = folders
    text = (elsewhere / "train.json").read_text()
    (elsewhere / "train.json").write_text(text.replace('"iscrowd": 0', '"iscrowd": 1', 1))
    status = run(here, "dvc", "status")
    assert "link@coco" in status and "prepare@coco" in status
    before = lock(here)["prepare@coco"]["outs"]
    run(here, "dvc", "repro", "prepare@coco")
    assert lock(here)["prepare@coco"]["outs"] != before
    assert len(text) == len((elsewhere / "train.json").read_text())
