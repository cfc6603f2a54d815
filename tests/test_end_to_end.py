"""The whole line by `dvc repro` on a tiny sample, in a copy of the repository; then its targets travel to another clone."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from endurance.server import PRELOADED
from pipeline.pose.skeletons import MPII16
from tests.closure import ROOT
from tests.fixtures import save_teacher
from tests.forks import Forks

BIN = Path(sys.executable).parent
TINY = {"steps": 6, "batch": 8}
USED = ("matplotlib.pyplot", "onnxscript", "torch._dynamo")
"""What commands import while they work."""
DVC = ("dvc.cli", "dvc.repo", "dvc.commands.repro", "dvc.commands.status", "dvc.commands.data_sync")
"""DVC, and what its commands import."""


def run(folder: Path, *command: str) -> str:
    """Output of a command run in `folder` with this code, its tools if it has some, and those of this environment."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "PATH": os.pathsep.join((str(folder / "bin"), str(BIN), os.environ["PATH"])),
        "DVC_NO_ANALYTICS": "1",
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def copy_of_the_project(folder: Path) -> None:
    """The rooms, dvc.yaml and tiny parameters, under git and DVC, with `pipeline` meaning this copy."""
    for room in ("pipeline", "cache", "stages"):
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("cli.py", "dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / file, folder / file)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["sample"] |= {"train": 14, "test": 5, "size": 160}
    params["prepare"] |= {"validation": 0.3, "views": 2}
    params["fit"] |= {"width": 8, "training": TINY, "teachers": ["coco"]}
    for name, teacher in params["teachers"].items():
        teacher["onnx"] = f"data/teachers/{name}.onnx"
    params["teach"]["check"] = 0
    params["distill"] |= {"width": 8, "min_score": 0.0, "training": TINY}
    params["baselines"] = {"joint": {**params["baselines"]["joint"], "view_count": 2}}
    params["students"] = {"unified": {**params["students"]["unified"], "view_count": 2}}
    params["evaluate"]["resamples"], params["report"] = 20, {"people": 1, "target_examples": 1}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    add_tool(folder, "pipeline", f'#!/bin/sh\nexec "{sys.executable}" "{folder}/cli.py" "$@"\n')
    run(folder, "git", "init", "--quiet")
    # What `dvc init` makes.
    for file in (".gitignore", "config"):
        (folder / ".dvc").mkdir(exist_ok=True)
        shutil.copy(ROOT / ".dvc" / file, folder / ".dvc" / file)


def add_tool(folder: Path, name: str, script: str) -> None:
    """A command of that name for what is run in `folder`."""
    tool = folder / "bin" / name
    tool.parent.mkdir(exist_ok=True)
    tool.write_text(script)
    tool.chmod(0o755)


@contextlib.contextmanager
def tools_in_forks(folder: Path, *used: str) -> Iterator[None]:
    """The copy's `pipeline`, with the modules `used` imported, and `dvc`: every command a fork of one process each."""
    with Forks(*used, code=folder) as pipeline, Forks(*DVC, code=folder) as dvc:
        add_tool(folder, "pipeline", pipeline.script("cli"))
        add_tool(folder, "dvc", dvc.script("dvc.cli"))
        yield


@pytest.mark.slow
def test_the_line_runs_by_dvc_and_its_targets_travel(tmp_path: Path) -> None:
    here, there, remote = tmp_path / "here", tmp_path / "there", tmp_path / "remote"
    here.mkdir()
    copy_of_the_project(here)
    # One teacher is fitted, the other one's file is given.
    (here / "data/teachers").mkdir(parents=True)
    save_teacher(here / "data/teachers/mpii.onnx", len(MPII16), input_wh=(96, 128))

    with tools_in_forks(here, *PRELOADED, *USED):
        the_line_runs_and_its_targets_travel(here, there, remote)


def the_line_runs_and_its_targets_travel(here: Path, there: Path, remote: Path) -> None:
    run(here, "dvc", "repro")
    metrics = json.loads((here / "results/metrics.json").read_text())
    assert set(metrics) == {"unified", "joint", "teacher coco", "teacher mpii"}
    for name, scores in metrics.items():
        compared = set() if name == "unified" else {"difference"}
        assert set(scores) == {
            "coco",
            "mpii",
            "halpe",
            "average",
            "validation",
            "intervals",
            "missed",
            "keypoints",
            "sha256",
            *compared,
        }
        assert {"AP", "AR", "PCK@0.1"} <= set(scores["coco"])
        assert {"PCKh@0.5", "PCKh@0.1"} <= set(scores["mpii"])
        assert {"AP-17", "AP-20", "AP-21 (thorax as neck)"} <= set(scores["halpe"])
        assert scores["average"] == pytest.approx((scores["coco"]["AP"] + scores["mpii"]["PCKh@0.5"]) / 2, abs=1e-3)
    pages = {"report.html", "coco.jpg", "mpii.jpg", "halpe.jpg", "figures"}
    assert {file.name for file in (here / "data/report").iterdir()} == pages
    assert (here / "data/exported/unified.onnx").is_file()
    assert "Data and pipelines are up to date" in run(here, "dvc", "repro")

    config = (here / ".dvc/config").read_text().replace("[core]\n", "[core]\n    remote = folder\n")
    (here / ".dvc/config").write_text(f"{config}['remote \"folder\"']\n    url = {remote}\n")
    run(here, "git", "add", "--all")
    run(here, "git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "-m", "all")
    run(here, "dvc", "push", "--quiet")
    run(here, "git", "clone", "--quiet", str(here), str(there))
    run(
        there,
        "dvc",
        "pull",
        "--quiet",
        "crops",
        "prepare@coco",
        "prepare@mpii",
        "prepare@halpe",
        "teach@coco",
        "teach@mpii",
    )
    assert not (there / "data/teachers").exists() and not (there / "data/sample").exists()
    assert "changed deps" not in run(there, "dvc", "status", "distill@unified")
    run(there, "pipeline", "cache", "verify", "data/targets/coco/coco-train.zarr")
    run(there, "pipeline", "distill")
    ours, theirs = ((folder / "data/students/unified/student.safetensors").read_bytes() for folder in (here, there))
    assert ours == theirs


def test_the_profile_of_real_data_is_a_line_without_sample_and_fitted_teachers(tmp_path: Path) -> None:
    copy_of_the_project(tmp_path)
    shutil.copy(ROOT / "params/coco-mpii.yaml", tmp_path / "params.yaml")
    stages = {line.split()[0] for line in run(tmp_path, "dvc", "stage", "list").splitlines()}
    assert stages == {
        *(f"link@{dataset}" for dataset in ("coco", "mpii", "halpe")),
        *(f"prepare@{dataset}" for dataset in ("coco", "mpii", "halpe")),
        "crops",
        *(f"teach@{teacher}" for teacher in ("coco", "mpii")),
        "distill@unified",
        "export@unified",
        *(f"baseline@{name}" for name in ("coco-only", "mpii-only", "joint")),
        "evaluate",
        "report",
    }
