"""Who only predicts installs no torch, no Zarr and no DVC; a command that needs more says in one line how to get it."""

from pathlib import Path

import pytest

from tests.base_install import base_distributions, blocked_modules, run_pipeline, run_python
from tests.stages.predict.test_predict import folder

__all__ = ["folder"]

INSTALL = "which is not installed: run `pip install 'pose-fusion[train]'`\n"


def test_the_base_is_small() -> None:
    assert {"torch", "zarr", "dvc", "pytest", "scipy", "pyarrow", "matplotlib"} <= blocked_modules()
    assert not {"numpy", "onnxruntime", "onnx", "cv2", "typer", "tqdm"} & blocked_modules()
    assert len(base_distributions()) < 25


@pytest.mark.parametrize("arguments", [["--help"], ["predict", "--help"], ["distill", "--help"]])
def test_help_needs_nothing_else(tmp_path: Path, arguments: list[str]) -> None:
    done = run_pipeline(tmp_path, *arguments)
    assert done.returncode == 0 and "Usage" in done.stdout and done.stderr == ""


def test_predict_runs(folder: Path) -> None:
    done = run_pipeline(folder, "predict", "pictures", "--student", "student.onnx", "--device", "cpu", "--whole")
    assert done.returncode == 0, done.stderr
    assert "3 people in 3 images" in done.stdout and (folder / "predictions/predictions.json").is_file()


def test_pose_fusion_runs(folder: Path) -> None:
    code = "import numpy, pose_fusion; predict = pose_fusion.PoseFusion('student.onnx')\n"
    code += "print(predict(numpy.zeros((60, 60, 3), 'uint8'), [[1, 2, 30, 40]])[0].shape)"
    done = run_python(code, folder)
    assert (done.returncode, done.stdout.strip()) == (0, "(1, 17, 2)"), done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["prepare"],
        ["distill"],
        ["evaluate"],
        ["teach", "--teacher", "coco"],
        ["report"],
        ["doctor"],
        ["cache", "info", "x"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_command_that_needs_more_says_so_in_one_line(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    done = run_pipeline(tmp_path, *arguments)
    assert done.returncode == 1 and done.stderr.startswith("error: this command needs ")
    assert done.stderr.endswith(INSTALL) and done.stderr.count("\n") == 1


def test_a_detector_needs_little_more(tmp_path: Path) -> None:
    done = run_pipeline(tmp_path, "detector", "fetch", "rtmdet-m")
    assert "is not installed: run `pip install 'pose-fusion[fetch]'`\n" in done.stderr


@pytest.mark.parametrize("use", ["pose_fusion.Dataset()", "pose_fusion.Targets('x')", "pose_fusion.PoseFusion('.')"])
def test_a_class_that_needs_more_says_so(tmp_path: Path, use: str) -> None:
    done = run_python(
        f"import pose_fusion\ntry:\n    {use}\nexcept pose_fusion.UserError as error:\n    print(error)", tmp_path
    )
    assert done.stdout.endswith(INSTALL) and done.stderr == ""


def test_a_defect_of_ours_is_no_missing_package(tmp_path: Path) -> None:
    code = "import cli\n@cli.app.command()\ndef broken():\n    import pipeline.nothing\n"
    done = run_python(code + "sys.argv = ['pipeline', 'broken']; cli.main()", tmp_path)
    assert "ModuleNotFoundError: No module named 'pipeline.nothing'" in done.stderr and "pip install" not in done.stderr
