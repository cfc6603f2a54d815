"""`evaluate --predictions`: other projects' results score as the official tools score them, and what cannot be meant is named."""

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from pipeline.common.errors import UserError
from pipeline.pose.skeletons import COCO17, MPII16
from stages import prepare
from stages.evaluate import score_model, score_predictions
from stages.evaluate.tables import MISSED_MARK
from stages.project.datasets import load_people
from stages.project.project import project_of
from tests.pipeline.examples import people
from tests.stages.evaluate.colours_project import printed, refusal, with_test_part


def results_of(truth, shift: float) -> list[dict]:
    """COCO results with every keypoint so far to the right of the label."""
    points = np.dstack([truth.keypoints + np.array([shift, 0]), np.ones(truth.keypoints.shape[:2])]).reshape(
        len(truth), -1
    )
    return [
        {"image_id": int(i), "category_id": 1, "keypoints": p.tolist(), "score": 1}
        for i, p in zip(truth.image_id, points, strict=True)
    ]


def test_somebody_elses_coco_results(colours: Path) -> None:
    truth = load_people("coco", "test")
    for shift, ap in ((0, 100.0), (1000, 0.0)):
        Path("theirs.json").write_text(json.dumps(results_of(truth, shift)))
        text = printed(score_predictions.run, Path("theirs.json"), "coco", out=Path("scores.json"))
        assert f"| AP | {ap:.1f} | {ap:.1f} to {ap:.1f} |" in text
        assert json.loads(Path("scores.json").read_text())["theirs.json"]["coco:test"]["scores"]["AR"] == ap
    assert "16 poses of coco17 on 8 images" in text
    assert "16 of 16 poses lie wholly outside their images" in text  # those moved by 1000 pixels
    shares = [{**pose, "keypoints": [v / 1000 for v in pose["keypoints"]]} for pose in results_of(truth, 0)]
    Path("theirs.json").write_text(json.dumps(shares))
    assert "expected keypoints in pixels, found none above 1" in refusal(
        score_predictions.run, Path("theirs.json"), "coco"
    )
    Path("theirs.json").write_text(json.dumps([{**results_of(truth, 0)[0], "image_id": 77}]))
    assert "found image_id 77" in refusal(score_predictions.run, Path("theirs.json"), "coco")
    assert "expected COCO results (.json) or MPII" in refusal(score_predictions.run, Path("theirs.csv"), "coco")
    savemat("preds.mat", {"preds": np.zeros((3, 16, 2))})
    assert "the score `pckh`, not of coco" in refusal(score_predictions.run, Path("preds.mat"), "coco")


def test_predictions_need_the_annotations_only(colours: Path) -> None:
    """No tables and no images; the parts are those that `prepare` makes, and the person may be any category."""
    document = json.loads(Path("annotations/train.json").read_text())
    params = with_test_part(prepare__validation=0.4)
    prepare.run(project_of(params), log=lambda line: None)
    everybody = {split: load_people("coco", split) for split in ("train", "validation", "test")}
    shutil.rmtree("data/people")
    shutil.rmtree("pictures")
    for category in (document["categories"][0]["id"], 0, 7):
        document["categories"][0]["id"] = category
        for person in document["annotations"]:
            person["category_id"] = category
        document["images"] += document["images"][:1]
        Path("annotations/train.json").write_text(json.dumps(document))
        for split, truth in everybody.items():
            theirs, lines = [pose | {"category_id": category} for pose in results_of(truth, 0)], []
            Path("theirs.json").write_text(json.dumps([*theirs, theirs[0] | {"category_id": 99}]))
            score_predictions.run(project_of(params), Path("theirs.json"), f"coco:{split}", None, lines.append)
            text = "\n".join(lines)
            assert "| AP | 100.0 |" in text and f"{len(truth)} poses of coco17" in text
            assert (
                f"1 of {len(truth) + 1} poses are left out (1 of category 99): people are category {category}" in text
            )
    others = [{**pose, "image_id": int(everybody["train"].image_id[0])} for pose in theirs]
    Path("theirs.json").write_text(json.dumps(others))
    with pytest.raises(UserError, match="expected poses on the images of coco:validation, found none of 16"):
        score_predictions.run(project_of(params), Path("theirs.json"), "coco:validation", None, lines.append)


def test_of_predictions_the_listed_images_alone_count(colours: Path) -> None:
    """Poses on other images are no false detections."""
    params = with_test_part()
    truth = load_people("coco", "test")
    names = np.unique(truth.image)
    Path("some.txt").write_text("\n".join(f"folder/{name}" for name in names[:3].tolist()))
    part = params["datasets"]["coco"]["test"]
    params["datasets"]["coco"]["test"] = {"file": part["file"], "images": part["images"], "only": "some.txt"}
    theirs = results_of(truth, 0)
    for pose, image in zip(theirs, truth.image.tolist(), strict=True):
        if image not in names[:3]:
            pose["keypoints"] = [9.0] * len(pose["keypoints"])
    Path("theirs.json").write_text(json.dumps(theirs))
    lines: list[str] = []
    score_predictions.run(project_of(params), Path("theirs.json"), "coco", None, lines.append)
    text = "\n".join(lines)
    kept = int(np.isin(truth.image, names[:3]).sum())
    assert "| AP | 100.0 |" in text and f"{kept} poses of coco17 on 3 images" in text


def off_by_some(truth) -> list[dict]:
    """COCO results of which some keypoints are far from their labels, so that AP is neither 0 nor 100."""
    theirs = results_of(truth, 0)
    for n, pose in enumerate(theirs):
        for k in range(n % 9):
            pose["keypoints"][3 * k] += 25 + n
    return theirs


def value_of(text: str) -> str:
    return next(line for line in text.splitlines() if line.startswith("| AP |"))


def rewritten(change: Any) -> None:
    """Write annotations/train.json after `change` was called with every person."""
    document = json.loads(Path("annotations/train.json").read_text())
    for person in document["annotations"]:
        change(person)
    Path("annotations/train.json").write_text(json.dumps(document))


def test_placeholders_for_areas_score_as_no_areas_and_the_areas_are_named(colours: Path) -> None:
    """Whatever placeholder stands there, AP is that of 0.53 x box, which pycocotools gives for such areas."""
    Path("theirs.json").write_text(json.dumps(off_by_some(load_people("coco", "test"))))
    rewritten(lambda person: person.update(area=0.53 * person["bbox"][2] * person["bbox"][3]))
    plain = printed(score_predictions.run, Path("theirs.json"), "coco")
    assert 0 < float(value_of(plain).split("|")[2]) < 100
    for placeholder in (None, 0, 1, -1, 1e9, 0.004):
        rewritten(lambda person, area=placeholder: person.update(area=area))
        text = printed(score_predictions.run, Path("theirs.json"), "coco")
        assert value_of(text) == value_of(plain)
        assert "coco:test: the area in OKS is 0.53 x box, as no usable area is annotated" in text
        assert ("`area` cannot be meant for 16 of 16 people" in text) == (placeholder is not None)
    rewritten(lambda person: person.update(area=0.1 * person["bbox"][2] * person["bbox"][3]))
    text = printed(score_predictions.run, Path("theirs.json"), "coco")
    assert value_of(text) != value_of(plain) and "the area in OKS is the annotated area" in text


@pytest.mark.parametrize("seed", range(4))
def test_results_are_in_the_order_of_names_that_the_annotations_list(colours: Path, seed: int) -> None:
    """As in pycocotools, which compares by position: the same labels and poses in another order score the same."""
    theirs = off_by_some(load_people("coco", "test"))
    Path("theirs.json").write_text(json.dumps(theirs))
    plain = printed(score_predictions.run, Path("theirs.json"), "coco")
    assert "pycocotools" not in plain
    order = np.random.default_rng(seed).permutation(17)

    def reorder(entry: dict[str, Any]) -> None:
        entry["keypoints"] = np.reshape(entry["keypoints"], (17, 3))[order].ravel().tolist()

    rewritten(reorder)
    document = json.loads(Path("annotations/train.json").read_text())
    document["categories"][0]["keypoints"] = [COCO17.keypoints[k] for k in order]
    Path("annotations/train.json").write_text(json.dumps(document))
    for pose in theirs:
        reorder(pose)
    Path("theirs.json").write_text(json.dumps(theirs))
    text = printed(score_predictions.run, Path("theirs.json"), "coco")
    assert value_of(text) == value_of(plain)
    assert "keypoints are taken in the order in which annotations/train.json lists them, as pycocotools" in text


def test_boxes_in_another_form_are_not_scored(colours: Path) -> None:
    rewritten(lambda person: person.update(bbox=[person["bbox"][0] + 500, *person["bbox"][1:]]))
    Path("theirs.json").write_text(json.dumps(results_of(load_people("coco", "test"), 0)))
    assert "16 of 16 people have most keypoints outside their box (first person" in refusal(
        score_predictions.run, Path("theirs.json"), "coco"
    )


def test_somebody_elses_poses_of_no_person_are_refused(colours: Path) -> None:
    theirs = [pose | {"category_id": 0} for pose in results_of(load_people("coco", "test"), 0)]
    Path("theirs.json").write_text(json.dumps(theirs))
    assert refusal(score_predictions.run, Path("theirs.json"), "coco") == (
        "theirs.json: expected poses of people (`category_id` 1), found 16 of category 0"
    )
    boxes = json.loads(Path("annotations/boxes.json").read_text())
    Path("annotations/boxes.json").write_text(json.dumps([box | {"category_id": 2} for box in boxes]))
    assert "boxes.json: expected detections of people (`category_id` 1), found 34 of category 2" in refusal(
        score_model.run, "one", device="cpu"
    )


@pytest.fixture
def mpii(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Parameters of an MPII dataset without truth file, images and tables. Head top and neck of its six people are 10 apart."""
    monkeypatch.chdir(tmp_path)
    write_mpii(six_people())
    part = {"file": "mpii.json", "images": "none"}
    return {
        "seed": 0,
        "datasets": {"mpii": {"format": "mpii", "annotations": ".", "score": "pckh", "test": part}},
        "evaluate": {"resamples": 20},
    }


def six_people() -> np.ndarray:
    """Keypoints (6, 16, 2) of MPII."""
    keypoints = people(6, MPII16).keypoints
    keypoints[:, MPII16.index("head_top")] = keypoints[:, MPII16.index("upper_neck")] - [6, 8]
    return keypoints


def write_mpii(keypoints: np.ndarray, lacking: tuple[str, ...] = ()) -> None:
    """The annotation file, with all labelled but the keypoints that are `lacking`; the last person has no place, so is not in use."""
    visible = [int(name not in lacking) for name in MPII16.keypoints]
    entries = [
        {"image": f"{n // 2}.jpg", "scale": 1, "center": [50, 50], "joints": (k + 1).tolist(), "joints_vis": visible}
        for n, k in enumerate(keypoints)
    ]
    entries[-1]["center"] = [-1, -1]
    Path("mpii.json").write_text(json.dumps(entries))


def test_somebody_elses_mpii_predictions(mpii: dict[str, Any]) -> None:
    keypoints, lines = six_people(), []
    predicted = keypoints + 1  # 1-based
    predicted[0, MPII16.index("left_wrist")] += 1000
    predicted[5] += 1000  # not in use
    savemat("preds.mat", {"preds": predicted})
    score_predictions.run(project_of(mpii), Path("preds.mat"), "mpii", Path("scores.json"), lines.append)
    found = json.loads(Path("scores.json").read_text())["preds.mat"]["mpii:test"]
    # One of 70 counted joints is wrong; pelvis and thorax are in no mean.
    assert found["scores"]["PCKh@0.5"] == found["scores"]["PCKh@0.1 weighted"] == pytest.approx(100 * 69 / 70, abs=1e-3)
    assert found["keypoints"]["labelled"] == [5] * 16
    assert (
        "| preds.mat @0.5 | 100.00 | 100.00 | 100.00 | 90.00 | 100.00 | 100.00 | 100.00 | 98.57 | 98.57 |"
        in "\n".join(lines)
    )
    assert lines[0].startswith("preds.mat on mpii:test: 6 people of mpii:test")
    assert "mpii:test: 5 of 5 people have no head box; head top to upper neck stands in for it" in "\n".join(lines)
    with h5py.File("preds.h5", "w") as file:
        file["preds"] = predicted
    again: list[str] = []
    score_predictions.run(project_of(mpii), Path("preds.h5"), "mpii", Path("scores.json"), again.append)
    assert json.loads(Path("scores.json").read_text())["preds.h5"]["mpii:test"] == found


def test_nobody_is_not_scored(mpii: dict[str, Any]) -> None:
    """Without head boxes, head tops or necks nobody has a head size."""
    write_mpii(six_people(), lacking=("head_top",))
    savemat("preds.mat", {"preds": six_people() + 1})
    with pytest.raises(UserError, match=r"mpii:test: expected people with a head box, or with head top and upper neck"):
        score_predictions.run(project_of(mpii), Path("preds.mat"), "mpii", None, lambda line: None)


def test_mpii_predictions_of_other_people_are_refused_or_doubted(mpii: dict[str, Any]) -> None:
    lines: list[str] = []
    savemat("preds.mat", {"preds": six_people()[:4] + 1})
    with pytest.raises(UserError, match=r"preds\.mat: expected `preds` of the 6 people of mpii:test, .*, found 4"):
        score_predictions.run(project_of(mpii), Path("preds.mat"), "mpii", None, lines.append)
    savemat("preds.mat", {"preds": np.full((6, 16, 2), -1000.0)})
    score_predictions.run(project_of(mpii), Path("preds.mat"), "mpii", None, lines.append)
    assert "in the order of the truth?" in "\n".join(lines)
    Path("theirs.json").write_text("[]")
    with pytest.raises(UserError, match=r"score mpii from a \.mat or \.h5 file"):
        score_predictions.run(project_of(mpii), Path("theirs.json"), "mpii", None, lines.append)
    Path("some.txt").write_text("0.jpg\n1.jpg\n")
    mpii["datasets"]["mpii"]["test"] |= {"only": "some.txt"}
    with pytest.raises(UserError, match=r"expected `preds` of the 4 people of mpii:test"):
        score_predictions.run(project_of(mpii), Path("preds.mat"), "mpii", None, lines.append)


def test_poses_without_some_keypoints_are_marked(colours: Path) -> None:
    """Poses of MPII's 16 joints, right where they are given: nose, eyes and ears are not."""
    truth = load_people("coco", "test")
    shared = [k for k in MPII16.keypoints if k in COCO17.keypoints]
    points = np.zeros((len(truth), 16, 3))
    points[:, [MPII16.index(k) for k in shared], :2] = truth.keypoints[:, [COCO17.index(k) for k in shared]]
    points[..., 2] = 1
    theirs = [
        {"image_id": int(image), "category_id": 1, "keypoints": p.ravel().tolist(), "score": 1}
        for image, p in zip(truth.image_id, points, strict=True)
    ]
    Path("theirs.json").write_text(json.dumps(theirs))
    text = printed(score_predictions.run, Path("theirs.json"), "coco", out=Path("scores.json"))
    (row,) = (line for line in text.splitlines() if line.startswith("| AP |"))
    assert MISSED_MARK in row and "nose, left_eye, right_eye, left_ear, right_ear by theirs.json" in text
    missed = json.loads(Path("scores.json").read_text())["theirs.json"]["coco:test"]["missed"]
    assert missed["AP"] == ["nose", "left_eye", "right_eye", "left_ear", "right_ear"]
