"""Stage one on real pictures with a real teacher, where they are at hand: its accuracy as decoded from the store."""

import json
from pathlib import Path

import pytest

from cache.reader import verify
from stages import prepare, teach
from stages.datasets import dataset_settings, load_people
from stages.scores import accuracy
from stages.teachers import store_path, teacher_settings


def real_params(real: Path) -> dict:
    """46 COCO pictures, 5 of MPII, 4 of Halpe, and the SimplePose network (its README gives input and statistics)."""
    coco = {
        "file": "person_keypoints.json",
        "images": str(real / "coco/images"),
        "detections": "person_detections.json",
    }
    mpii = {"file": "mpii_val.json", "truth": "mpii_gt_val.mat", "images": str(real / "mpii/images")}
    halpe = {"file": "test_halpe.json", "images": str(real / "coco/images")}
    return {
        "seed": 0,
        "datasets": {
            "coco": {"format": "coco", "annotations": str(real / "coco"), "score": "ap", "train": coco, "test": coco},
            "mpii": {"format": "mpii", "annotations": str(real / "mpii"), "score": "pckh", "train": mpii, "test": mpii},
            "halpe": {"format": "halpe", "annotations": str(real / "halpe"), "score": "ap", "test": halpe},
        },
        "prepare": {"validation": 0, "views": 4},
        "teachers": {
            "coco": {
                "onnx": str(real / "models/simplepose_coco17_256x192.onnx"),
                "dataset": "coco",
                "skeleton": "coco17",
                "input": [256, 192],
                "color": "rgb",
                "mean": [123.675, 116.28, 103.53],
                "std": [58.395, 57.12, 57.375],
                "padding": 1.25,
                "affine": "classic",
                "kind": "heatmap",
            }
        },
    }


def test_the_real_teacher_scores_what_it_should_from_its_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    params = real_params(real)
    said: list[str] = []
    prepare.run(params, say=said.append)
    assert "coco train: 115 people in use of 204, 46 pictures" in said
    assert "mpii train: 5 people in use of 5, 5 pictures" in said
    assert "halpe test: 12 people in use of 14, 4 pictures" in said

    teach.run(params, "coco", "cpu", say=said.append)
    assert said[-1].startswith("teacher coco: 120 people x 4 views, 120 looked at now")
    for dataset in ("coco", "mpii"):
        assert verify(store_path("coco", dataset, "train")) == []
    people = load_people("coco", "train")
    poses = teach.stored_poses(teacher_settings(params, "coco"), "coco", "train", people)
    # another implementation of the same teacher, boxes and decoding gives 0.506; 0.01 is for cropping in other arithmetic
    assert accuracy(dataset_settings(params)["coco"], people, poses)[1] == pytest.approx(50.6, abs=1.0)
    assert json.loads(Path("data/targets/coco/coco-train.zarr/manifest.json").read_text())["files"]
