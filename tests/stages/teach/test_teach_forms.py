"""The stages with teachers of other forms than float32 heatmaps: SimCC, flip averaging, float16; stores, replay and what follows."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from cache.reader import verify_store
from cache.targets import open_targets
from pipeline.common.errors import UserError
from pipeline.inference import session
from pipeline.inference.session import infer, open_teacher
from pipeline.pose.outputs import maps_and_scores
from pipeline.pose.skeletons import COCO17
from pipeline.targets.quantise import BIN_AXES, MAP_AXES, quantise
from pipeline.training.student_frame import targets_in_student_frame
from stages import prepare, show
from stages.distill import run as distill
from stages.evaluate import run as evaluate
from stages.project.datasets import load_people, load_views
from stages.project.project import project_of
from stages.stores.targets import open_target_store
from stages.teach import run as teach
from stages.training.loader import CropJitter, Loader, TrainingSource
from tests.fixtures import INPUT_WH, flip_bit, params, tree
from tests.pipeline.inference.models import Form, save

TRAIN, VALIDATION = Path("data/targets/tiny/coco-train.zarr"), Path("data/targets/tiny/coco-validation.zarr")
FORMS = {
    "heatmap": Form({"maps": "maps"}),
    "simcc": Form({"simcc_y": "y", "simcc_x": "x"}),
}
WH = {"heatmap": (6, 8), "simcc": (48, 64)}


def taught(kind: str, **changes: Any) -> tuple[dict[str, Any], list[str]]:
    """The parameters of a teacher of that kind whose targets are now there, and what was said."""
    save(Path("tiny.onnx"), FORMS[kind])
    changed, lines = params(teachers__tiny__kind=kind), []
    changed["teachers"]["tiny"] |= changes
    teach.run(project_of(changed), "tiny", "cpu", log=lines.append)
    return changed, lines


def test_targets_are_what_the_session_gives_on_crops_made_by_hand(project):
    """Bins of the plain view: crop under `udp`, softmax of ten times the score, and two bins a pixel, written out here once more.

    Levels may differ by one: the affines agree to 1e-9 pixels, and a value may lie on a rounding border.
    """
    changed, _ = taught("simcc")
    people = load_people("coco", "train")
    block = open_targets(TRAIN, "again", people.person).read(slice(0, 40), view=0)
    assert [(name, values.shape) for name, values in block.levels.items()] == [
        ("x", (40, 1, 17, 48)),
        ("y", (40, 1, 17, 64)),
    ]
    boxes = {a["id"]: a["bbox"] for a in json.loads(Path("annotations/train.json").read_text())["annotations"]}
    opened = open_teacher("tiny", Path("tiny.onnx"), project_of(changed).teacher("tiny").spec, "cpu", 1)
    ratio = INPUT_WH[0] / INPUT_WH[1]
    crops = []
    for row in range(40):
        x, y, width, height = boxes[people.person[row]]
        side = 1.25 * max(width, height * ratio), 1.25 * max(height, width / ratio)
        corner = x + width / 2 - side[0] / 2, y + height / 2 - side[1] / 2
        scale = (INPUT_WH[0] - 1) / side[0], (INPUT_WH[1] - 1) / side[1]
        affine = np.array([[scale[0], 0, -corner[0] * scale[0]], [0, scale[1], -corner[1] * scale[1]]])
        image = cv2.imread(f"pictures/{people.image[row]}")[:, :, ::-1]
        crops.append(cv2.warpAffine(np.ascontiguousarray(image), affine, INPUT_WH))
        expected = [[1 / (2 * scale[0]), 0, corner[0]], [0, 1 / (2 * scale[1]), corner[1]]]
        np.testing.assert_allclose(block.image_from_target[row, 0], expected, atol=1e-9)
    raw = opened.forward()(np.stack(crops))
    for name, scores in zip(("x", "y"), raw, strict=True):
        bins = np.exp(10 * (scores - scores.max(axis=2, keepdims=True)))
        levels = np.rint(bins * 255)
        # One level, and half of the largest step where they are coarse: (2 sqrt(1 / 2) + 1 / 24) / 24 of 255, and two roundings.
        assert (np.abs(block.levels[name][:, 0] - levels) <= np.where(levels > 128, 1, 17)).all()
        assert block.levels[name].std() > 30, "bins worth comparing"
    confidence = np.minimum(*(scores.max(axis=2) for scores in raw)).clip(0, 1)
    np.testing.assert_allclose(block.score[:, 0], confidence, atol=5e-4, err_msg="float16 below 1")


def test_the_store_is_whole_and_says_what_it_is(project):
    _, lines = taught("simcc")
    assert verify_store(TRAIN) == verify_store(VALIDATION) == []
    assert lines[-1].startswith("teacher tiny: 48 people x 2 views, 48 processed now, ")
    store = open_targets(TRAIN, "again")
    assert store.layout.separate and (store.layout.width, store.layout.height) == WH["simcc"]
    assert (store.fingerprint["spec"]["kind"], store.fingerprint["spec"]["factor"]) == ("simcc", 10.0)
    assert store.fingerprint["precision"] == "float32"
    again = taught("simcc")[1]
    assert again[1:3] == [f"{TRAIN}: complete", f"{VALIDATION}: complete"]


def test_people_not_in_use_are_zero_and_views_differ(project):
    taught("simcc")
    block = open_targets(TRAIN, "again").read(slice(0, 42))
    for values in block.levels.values():
        assert not values[-2:].any()
        assert (values[:-2, 0] != values[:-2, 1]).any(axis=(1, 2)).all()


@pytest.mark.parametrize("batch", [1, 7])
def test_the_batch_changes_no_byte_of_bins(project, batch):
    changed, _ = taught("simcc")
    before = tree(Path("data/targets"))
    TRAIN.rename(project / "other")
    teach.run(project_of(changed), "tiny", "cpu", batch=batch, log=lambda line: None)
    assert tree(Path("data/targets")) == before


def test_damaged_bins_are_repaired_where_they_are(project):
    changed, _ = taught("simcc")
    before = tree(TRAIN)
    flip_bit(TRAIN / "x/c/1/0/0/0")
    assert [str(problem) for problem in verify_store(TRAIN)] == ["x/c/1/0/0/0: damaged"]
    lines: list[str] = []
    teach.run(project_of(changed), "tiny", "cpu", log=lines.append)
    assert lines[1] == f"{TRAIN}: repaired: x/c/1/0/0/0: damaged"
    assert ", 16 processed now, " in lines[-1]
    assert tree(TRAIN) == before


@pytest.mark.parametrize("changes", [{}, {"flip": True}, {"precision": "float16"}, {"affine": "classic"}], ids=str)
@pytest.mark.parametrize("kind", FORMS)
def test_replay_is_the_teachers_own_output(project, kind, changes):
    """A student that sees what the teacher saw: the targets that training reads are those the session gives on training's own crops.

    Quantised as the store quantises: exact but for float32, 1e-6 of a share.
    """
    changed, _ = taught(kind, **changes)
    wanted = project_of(changed).teacher("tiny")
    people = load_people("coco", "train")
    views = load_views("coco", "train", people)
    store = open_target_store(project_of(changed), "tiny", "coco", "train", people, views)
    source = TrainingSource("coco", Path("pictures"), people, views, {"tiny": store})
    still = CropJitter(fresh_rotation=None, weak_from=10**6, scale=0.0, shift=0.0, flip=0.0)
    loader = Loader([source], wanted.spec, 10, still, seed=0, image_bytes=1e7)
    opened = open_teacher("tiny", wanted.onnx, wanted.spec, "cpu", 1, wanted.precision)
    for step in range(8):  # both views of everybody
        batch = loader.load(step)
        arguments = (batch.targets["tiny"], COCO17, wanted.spec, WH[kind], 0.0, 1.0, torch.device("cpu"))
        replay = targets_in_student_frame(batch, *arguments)
        maps, _ = maps_and_scores(opened.forward()(batch.crops), wanted.spec)
        known = replay.valid.numpy()
        np.testing.assert_array_equal(known, batch.targets["tiny"].score[:, 0] > 0)
        assert known.mean() > 0.9
        for ours, theirs in zip(replay.target, maps, strict=True):
            axes = BIN_AXES if kind == "simcc" else MAP_AXES
            levels = quantise(theirs, axes)[0].astype(np.float64)
            own = levels / levels.sum(axis=axes, keepdims=True).clip(1)
            np.testing.assert_allclose(ours.numpy()[known], own[known], atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"flip": True}, "spec.flip was null, now true"),
        ({"precision": "float16"}, "precision was float32, now float16"),
        ({"factor": 5.0}, "spec.factor was 10.0, now 5.0"),
        ({"outputs": ["simcc_x", "simcc_y"]}, 'spec.outputs was null, now ["simcc_x", "simcc_y"]'),
    ],
    ids=["flip", "precision", "factor", "outputs"],
)
def test_how_a_teacher_is_run_is_in_the_fingerprint(project, changes, what):
    """The store is rebuilt; until then training refuses the old one. Named outputs are the same ones, but that is not known."""
    taught("simcc")
    before = open_targets(TRAIN, "again").read(slice(0, 40))
    other = params(teachers__tiny__kind="simcc")
    other["teachers"]["tiny"] |= changes
    people = load_people("coco", "train")
    views = load_views("coco", "train", people)
    key = "precision" if "precision" in changes else "spec"
    with pytest.raises(UserError, match=f"{TRAIN}: was made from other {key} than there are now: run `pipeline teach"):
        open_target_store(project_of(other), "tiny", "coco", "train", people, views)
    lines = taught("simcc", **changes)[1]
    assert lines[1] == f"{TRAIN}: rebuilt: {what}"
    assert verify_store(TRAIN) == []
    after = open_targets(TRAIN, "again").read(slice(0, 40))
    same = all(np.array_equal(after.levels[axis], before.levels[axis]) for axis in ("x", "y"))
    assert same == ("outputs" in changes)
    if "precision" in changes:
        # Scores of up to 1 are off by some 2^-11 x 10, so levels by 0.005 x 255 x a few, 8; coarse ones by up to a step, 26.
        worst = max(np.abs(after.levels[axis].astype(int) - before.levels[axis]).max() for axis in ("x", "y"))
        assert 0 < worst <= 8 + 26


def test_maps_and_bins_are_two_stores(project):
    taught("heatmap")
    line = taught("simcc")[1][1]
    assert line.startswith(f"{TRAIN}: rebuilt: layout.height was 8, now 64; layout.separate was false, now true; ")
    assert not (TRAIN / "heatmaps").exists()
    assert verify_store(TRAIN) == []


def test_dry_run_of_bins(project):
    save(Path("tiny.onnx"), FORMS["simcc"])
    lines: list[str] = []
    teach.run(project_of(params(teachers__tiny__kind="simcc")), "tiny", "cpu", dry_run=True, log=lines.append)
    assert lines[1].startswith("teacher tiny: 96 crops, about 0.00 hours on CPUExecutionProvider (")
    assert not Path("data/targets").exists()


@pytest.mark.parametrize("flip", [False, True])
def test_show_draws_bins(project, flip):
    """A column of the image's own: maps as the product of both axes."""
    changed, _ = taught("simcc", flip=flip)
    lines: list[str] = []
    show.run(project_of(changed), 0, "coco", Path("out.png"), lines.append)
    assert lines == ["out.png: person 0 of coco train, 00.jpg"]
    image = cv2.imread("out.png")
    half = image.shape[1] // 2
    truth, drawn = image[30:256, 10 : half - 10], image[30:256, half + 10 : half + 10 + half - 20]
    assert np.abs(truth.astype(int) - drawn).mean() > 5


@pytest.mark.parametrize("changes", [{}, {"flip": True}, {"precision": "float16"}], ids=["plain", "flip", "float16"])
def test_evaluate_runs_teachers_as_they_are_declared(project, monkeypatch, changes):
    """48 people, as test and, with the validation part, 8 of them again; with flip each crop's mirror image too."""
    asked = []

    def noted(teacher, crops, batch):
        asked.append((len(crops), teacher.precision))
        return infer(teacher, crops, batch)

    monkeypatch.setattr(session, "infer", noted)
    save(Path("tiny.onnx"), FORMS["simcc"])
    changed = params(teachers__tiny__kind="simcc", datasets__coco__test={"file": "train.json", "images": "pictures"})
    changed["teachers"]["tiny"] |= changes
    changed["students"] = {"both": {"datasets": ["coco"], "teachers": ["tiny"]}}
    prepare.run(project_of(changed), log=lambda line: None)
    evaluate.run(project_of(changed), None, "cpu", log=lambda line: None)
    held_out = int(load_people("coco", "validation").use.sum())
    assert sum(count for count, _ in asked) == (48 + held_out) * (2 if "flip" in changes else 1)
    assert {precision for _, precision in asked} == {changes.get("precision", "float32")}
    assert "teacher tiny" in json.loads(Path("results/metrics.json").read_text())


@pytest.mark.parametrize("kind", FORMS)
def test_a_student_of_maps_learns_from_either(project, kind):
    """Six steps; the loss from the teacher is there and finite."""
    torch.set_num_threads(1)
    changed, _ = taught(kind)
    changed |= {
        "distill": {
            "width": 8,
            "input": [64, 32],
            "terms": {"truth": 0.5, "tiny": 0.5},
            "min_score": 0.0,
            "training": {"steps": 6, "batch": 4, "precision": "float32"},
        },
        "students": {"both": {"datasets": ["coco"], "teachers": ["tiny"]}},
    }
    distill.run(project_of(changed), None, "cpu", log=lambda line: None)
    header, *rows = Path("data/students/both/curve.csv").read_text().splitlines()
    assert header == "step,total,truth,tiny"
    tiny = [float(row.split(",")[3]) for row in rows]
    assert len(tiny) == 6 and all(0 < value < 20 for value in tiny)


def test_a_student_of_bins_is_given_bins(project):
    """From the store of a heatmap teacher and of a SimCC one: rows that sum to 1, at about the same place."""
    means = []
    for kind in FORMS:
        changed, _ = taught(kind)
        people = load_people("coco", "train")
        views = load_views("coco", "train", people)
        store = open_target_store(project_of(changed), "tiny", "coco", "train", people, views)
        student = replace(project_of(changed).teacher("tiny").spec, kind="simcc", input_wh=(48, 64))
        still = CropJitter(fresh_rotation=None, weak_from=10**6, scale=0.1, shift=0.05, flip=0.5)
        source = TrainingSource("coco", Path("pictures"), people, views, {"tiny": store})
        batch = Loader([source], student, 8, still, seed=0, image_bytes=1e7).load(0)
        arguments = (batch.targets["tiny"], COCO17, student, (96, 128), 0.0, 1.0, torch.device("cpu"))
        replay = targets_in_student_frame(batch, *arguments)
        assert [part.shape for part in replay.target] == [(8, 17, 96), (8, 17, 128)]
        for part in replay.target:
            assert torch.allclose(part.sum(dim=2)[replay.valid], torch.tensor(1.0), atol=1e-5)
        means.append(replay.target)
    assert not torch.equal(means[0][0], means[1][0])
