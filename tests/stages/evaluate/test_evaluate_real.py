"""`evaluate` on other people's images, predictions and one network: the numbers that others computed."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pipeline.datasets.coco import read_coco
from pipeline.metrics.model_scores import detection_scores
from pipeline.people.poses import Poses
from pipeline.people.table import write_people
from stages import prepare
from stages.evaluate import inference, score_model, score_predictions
from stages.evaluate import run as evaluate
from stages.project.datasets import load_people, table_path
from stages.project.project import project_of
from tests.test_real import real_params

DETECTIONS = "detections.json"
SIMPLEPOSE = "models/simplepose_coco17_256x192.onnx"


@dataclass(frozen=True)
class Published:
    """What `evaluate --model` says of the network on COCO's part, and its poses in the detected boxes."""

    scores: dict[str, float]
    text: str
    poses: Poses


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, real: Path) -> Path:
    """A folder with the real data's tables, and the detections without those of low scores, which take most of the time."""
    place = tmp_path_factory.mktemp("made")
    boxes = json.loads((real / "coco/person_detections.json").read_text())
    (place / DETECTIONS).write_text(json.dumps([box for box in boxes if box["score"] > 0.2]))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        prepare.run(project_of(parameters(real)), log=lambda line: None)
    return place


@pytest.fixture
def prepared(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: Path) -> dict[str, Any]:
    """A copy of it, the current folder; the parameters."""
    monkeypatch.chdir(shutil.copytree(made, tmp_path, dirs_exist_ok=True))
    return parameters(real)


@pytest.fixture(scope="module")
def published(made: Path, real: Path) -> Published:
    """It looks at 115 annotated and 286 detected boxes, once for all tests."""
    poses: list[Poses] = []

    def kept(*arguments: Any) -> Poses:
        poses.append(inference.poses_in_detections(*arguments))
        return poses[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        patch.setattr(evaluate, "poses_in_detections", kept)
        found, text = values(parameters(real), str(real / SIMPLEPOSE), "coco")
    return Published(found, text, poses[0])


def parameters(real: Path) -> dict[str, Any]:
    params = real_params(real)
    params["prepare"]["views"] = 1
    params["datasets"]["coco"]["test"] = {
        **params["datasets"]["coco"]["test"],
        "detections": str(Path(DETECTIONS).resolve()),
    }
    return params


def values(params: dict[str, Any], model: str, data: str, **changes: Any) -> tuple[dict[str, float], str]:
    """Scores of one model on one part, and the messages."""
    lines: list[str] = []
    score_model.run(
        project_of(params), model, [data], device="cpu", out=Path("scores.json"), log=lines.append, **changes
    )
    return next(iter(json.loads(Path("scores.json").read_text()).values()))[f"{data}:test"]["scores"], "\n".join(lines)


def test_a_published_network_on_true_and_on_detected_boxes(published: Published) -> None:
    found = published.scores
    # Another implementation, the same boxes and decoding; 1 point is for cropping in other arithmetic.
    expected = {"AP": 50.6, "AP50": 79.2, "AP75": 57.4, "AR": 54.3}
    assert {key: found[key] for key in expected} == pytest.approx(expected, abs=1.0)
    # Ours, checked below: 18 of 46 images have detections, and whoever is in the others is missed.
    assert found["AP on detections"] == pytest.approx(21.9, abs=1.0)
    assert found["AP on detections of 18 images"] == pytest.approx(52.9, abs=1.0)
    assert "115 people in 46 images, annotated boxes" in published.text


def test_ap_on_detections_is_what_pycocotools_says_of_the_files(
    prepared: dict[str, Any], published: Published, real: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    poses, found = published.poses, detected_scores(prepared, published.poses)
    triplets = np.dstack([poses.keypoints, poses.confidence]).reshape(len(poses), -1)
    rows = zip(poses.image_id.tolist(), poses.score.tolist(), triplets.tolist(), strict=True)
    results = [{"image_id": i, "category_id": 1, "score": s, "keypoints": k} for i, s, k in rows]
    Path("results.json").write_text(json.dumps(results))

    truth = COCO(str(real / "coco/person_keypoints.json"))
    official = {}
    for name, images in (("all", truth.getImgIds()), ("some", sorted({row["image_id"] for row in results}))):
        evaluation = COCOeval(truth, truth.loadRes("results.json"), "keypoints")
        evaluation.params.imgIds = images
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        official[name] = 100 * evaluation.stats[0]
    assert found["AP on detections"] == pytest.approx(official["all"], abs=1e-9)
    assert found["AP on detections of 18 images"] == pytest.approx(official["some"], abs=1e-9)

    lines: list[str] = []  # and the same file as somebody else's
    score_predictions.run(project_of(prepared), Path("results.json"), "coco", Path("scores.json"), lines.append)
    again = json.loads(Path("scores.json").read_text())["results.json"]["coco:test"]["scores"]
    assert again["AP"] == pytest.approx(official["all"], abs=1e-3)
    assert lines[0].endswith("on 46 images")


def detected_scores(params: dict[str, Any], poses: Poses) -> dict[str, float]:
    """What we say of the network's poses in the detected boxes. Some boxes hold the same person twice."""
    dataset, truth = project_of(params).datasets["coco"], load_people("coco", "test")
    detected = inference.detected_people(dataset, truth, print)
    assert detected is not None and len(detected.people) == 286 and len(detected.image_id) == 46
    assert 200 < len(poses) < 286
    scores = detection_scores(truth, poses, detected.people.image_id, detected.image_id, 0, [0])
    return {name: score.value for name, score in scores.items()}


def test_a_flip_helps_a_real_network(prepared: dict[str, Any], published: Published) -> None:
    prepared = {**prepared, "datasets": {**prepared["datasets"], "coco": without_detections(prepared)}}
    flipped = values(prepared, "coco", "coco", flip=True)[0]["AP"]
    assert flipped > published.scores["AP"] + 2  # 54.4 after 50.6


def without_detections(params: dict[str, Any]) -> dict[str, Any]:
    coco = params["datasets"]["coco"]
    return {**coco, "test": {key: value for key, value in coco["test"].items() if key != "detections"}}


def test_a_coco_network_on_mpii_and_halpe(prepared: dict[str, Any]) -> None:
    mpii, text = values(prepared, "coco", "mpii")
    assert 60 < mpii["PCKh@0.5"] < 100 * 12 / 14 + 0.01  # head top and upper neck of 14 joints are missing
    assert "teacher coco does not predict pelvis, thorax, upper_neck, head_top of mpii: counted as missing" in text
    halpe, text = values(prepared, "coco", "halpe")
    assert list(halpe) == ["AP-17", "AP-20", "AP-21 (thorax as neck)", "PCK@0.1", "NME"]
    assert halpe["AP-17"] > halpe["AP-20"] > 0
    assert "OKS sigmas of keypoints that COCO does not have are MMPose's" in text


def test_the_published_mpii_predictions(prepared: dict[str, Any], real: Path) -> None:
    lines: list[str] = []
    path = real / "mpii/predictions/hg_s2_b1.mat"
    score_predictions.run(project_of(prepared), path, "mpii", Path("scores.json"), lines.append)
    scores = json.loads(Path("scores.json").read_text())[path.name]["mpii:test"]["scores"]
    assert scores["PCKh@0.5"] == pytest.approx(86.76, abs=0.005)
    assert scores["PCKh@0.5 weighted"] == pytest.approx(87.30, abs=0.005)
    assert scores["PCKh@0.1 weighted"] == pytest.approx(23.91, abs=0.005)
    assert "| hg_s2_b1.mat @0.5 | 95.80 | 94.57 | 88.12 | 83.31 | 86.24 | 80.88 | 77.44 | 86.76 | 87.30 |" in "\n".join(
        lines
    )
    assert "2958 people" in lines[0] and "44240 labelled joints" in lines[0]


def test_the_published_coco_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: Path) -> None:
    monkeypatch.chdir(tmp_path)
    folder = real / "evaluation"
    place = table_path("pair", "test", "people")
    place.parent.mkdir(parents=True)
    write_people(read_coco(folder / "keypoints_truth.json"), place)
    part = {"file": "keypoints_truth.json", "images": "none"}
    dataset = {"format": "coco", "annotations": str(folder), "score": "ap", "test": part}
    params = {"datasets": {"pair": dataset}, "evaluate": {"resamples": 50}}
    score_predictions.run(
        project_of(params), folder / "keypoints_results.json", "pair", Path("scores.json"), lambda line: None
    )
    found = json.loads(Path("scores.json").read_text())["keypoints_results.json"]["pair:test"]
    expected = [50.4884, 72.2772, 63.3663, 46.6337, 75.0495, 51.8182, 72.7273, 63.6364, 46.6667, 75.0]
    assert list(found["scores"].values()) == pytest.approx(expected, abs=6e-4)  # rounded there and here
    assert found["intervals"] == {}  # it is a single image
