"""`cache stats`: numbers of small hand-made stores, followed by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from cache.targets import TargetLayout
from cache.writer import finish, open_for_writing, write_shard
from pipeline.common.errors import UserError
from pipeline.pose.spec import parse_spec, spec_values
from pipeline.targets.block import TargetBlock
from stages import store_stats as stats
from stages.project.datasets import load_people
from tests.fixtures import PARAMS, flip_bit

WH, VIEWS, KEYPOINTS = (6, 8), 2, 17
PLACE = "data/targets/{}/coco-train.zarr"
NOSE, LEFT_EYE, RIGHT_EYE = 0, 1, 2


def make_store(teacher: str, points: np.ndarray, shard: int = 16, simcc: bool = False) -> Path:
    """A store whose view 0 decodes to `points` (N, K, 2), image pixels: one lit pixel, which the affine puts there for each person's
    nose, and all others at its place; confidence (row + view) / 64, cut to 1."""
    people = load_people("coco", "train")
    spec = parse_spec({**PARAMS["teachers"]["tiny"], "affine": "classic", "kind": "simcc" if simcc else "heatmap"}, "")
    layout = TargetLayout(len(people), VIEWS, KEYPOINTS, WH[1], WH[0], shard, separate=simcc)
    path = Path(PLACE.format(teacher))
    marks = layout.fingerprint({"spec": spec_values(spec), "keypoints": list(spec.skeleton.keypoints)})
    open_for_writing(path, layout, marks)
    for number in range(layout.shards):
        rows = np.arange(len(people))[layout.rows(number)]
        head = (len(rows), VIEWS, KEYPOINTS)
        used = people.use[rows]
        # Pixel (1 + k % 4, 2 + k // 4) is lit for keypoint k: the affine is a scale of 1 and a shift for each person.
        lit = np.array([[1 + k % 4, 2 + k // 4] for k in range(KEYPOINTS)])
        if simcc:
            levels = {"x": np.zeros((*head, WH[0]), np.uint8), "y": np.zeros((*head, WH[1]), np.uint8)}
            for k, (x, y) in enumerate(lit):
                levels["x"][used, :, k, x] = levels["y"][used, :, k, y] = 255
        else:
            levels = {"heatmaps": np.zeros((*head, WH[1], WH[0]), np.uint8)}
            for k, (x, y) in enumerate(lit):
                levels["heatmaps"][used, :, k, y, x] = 255
        affine = np.zeros((len(rows), VIEWS, 2, 3))
        affine[:, :, 0, 0] = affine[:, :, 1, 1] = 1
        affine[:, :, :, 2] = (points[rows] - lit[NOSE])[:, None]
        score = np.minimum((rows[:, None, None] + np.arange(VIEWS)[:, None]) / 64, 1) * np.ones(head)
        write_shard(
            path,
            layout,
            number,
            TargetBlock(
                people.person[rows],
                levels,
                np.ones(head, np.float16),
                (score * used[:, None, None]).astype(np.float16),
                affine,
            ).arrays,
        )
    finish(path, layout, marks)
    return path


@pytest.fixture
def people(project):
    return load_people("coco", "train")


def at_nose(people, moved=0.0):
    """Every person's nose label, moved right by so many longer box sides."""
    side = people.box[:, 2:].max(axis=1)
    return people.keypoints[:, NOSE] + np.stack([moved * side, 0 * side], axis=1)


@pytest.mark.parametrize("simcc", [False, True], ids=["maps", "bins"])
def test_confidence_and_error_by_hand(people, simcc):
    """40 people in use in rows 0-39: the confidences are (row + view) / 64; the nose is 0.05 box sides off, or 0.15 in rows 0-9.

    float16 rounds them by up to 2^-12; a lit pixel alone decodes to its place, `classic` moving it to neither side.
    """
    moved = np.where(np.arange(42) < 10, 0.15, 0.05)
    found = stats.store_statistics(make_store("tiny", at_nose(people, moved), simcc=simcc))
    assert (found.people, found.views, found.others) == (40, 2, [])
    nose = found.keypoints[NOSE]
    values = np.sort(np.concatenate([np.arange(40), np.arange(40) + 1]) / 64)
    assert nose.confidence == pytest.approx(values.mean(), abs=2**-12)
    # The lowest value that 5, 50 and 95 % of 80 do not exceed: the 4th, 40th and 76th.
    assert nose.quantiles == pytest.approx(values[[3, 39, 75]], abs=2**-12)
    assert (nose.labelled, nose.pck) == (40, 0.75)
    assert nose.error == pytest.approx((10 * 0.15 + 30 * 0.05) / 40, abs=1e-9)


def test_the_other_keypoints_are_against_their_own_labels(people):
    found = stats.store_statistics(make_store("tiny", at_nose(people)))
    side = people.box[:40, 2:].max(axis=1)
    # The left eye is lit one pixel right of the nose.
    error = np.linalg.norm(people.keypoints[:40, LEFT_EYE] - people.keypoints[:40, NOSE] - [1, 0], axis=1) / side
    assert found.keypoints[LEFT_EYE].error == pytest.approx(error.mean(), abs=1e-9)
    assert found.keypoints[LEFT_EYE].pck == pytest.approx((error <= 0.1).mean())


@pytest.mark.parametrize("shard", [16, 32], ids=["the same shards", "others"])
def test_teacher_against_teacher_and_both_against_the_label(people, shard):
    """Both are 0.3 box sides off in rows 0-4, to the same side, and in rows 5-9 to opposite ones; elsewhere both are right."""
    rows = np.arange(42)
    one = np.where(rows < 10, 0.3, 0.0)
    other = np.where(rows < 5, 0.32, np.where(rows < 10, -0.3, 0.0))
    path = make_store("tiny", at_nose(people, one))
    make_store("other", at_nose(people, other), shard)
    make_store("unfinished", at_nose(people)).joinpath("manifest.json").unlink()
    (against,) = stats.store_statistics(path).others
    assert against.teacher == "other"
    nose = against.keypoints[NOSE]
    assert (nose.keypoint, nose.contradicted) == ("nose", 5)
    assert nose.near == 35 / 40
    assert nose.distance == pytest.approx((5 * 0.02 + 5 * 0.6) / 40, abs=1e-9)
    assert people.person[:5].tolist() == [person for person in against.people if person in people.person[:5]]


def test_a_label_that_is_not_there_is_not_contradicted(people):
    path = make_store("tiny", at_nose(people, 0.3))
    make_store("other", at_nose(people, 0.3))
    found = stats.store_statistics(path)
    labelled = int(people.labelled[people.use, NOSE].sum())
    assert found.keypoints[NOSE].labelled == labelled == found.others[0].keypoints[NOSE].contradicted


def test_the_table_and_the_json(people):
    path = make_store("tiny", at_nose(people))
    make_store("other", at_nose(people))
    lines: list[str] = []
    stats.run(path, log=lines.append)
    assert lines[0] == f"{path}: 40 people in use, 2 views"
    assert lines[2].split() == ["keypoint", "mean", "5", "%", "50", "%", "95", "%", "labels", "PCK@0.1", "error"]
    nose = lines[3].split()
    assert (nose[0], nose[5], nose[6], nose[7]) == ("nose", "40", "1.000", "0.000")
    assert lines[20] == "against teacher other, view 0" and lines[22].split() == ["nose", "1.000", "0.000", "0"]
    lines.clear()
    stats.run(path, as_json=True, log=lines.append)
    found = json.loads(lines[0])
    assert found["keypoints"][NOSE]["pck"] == 1.0 and found["others"][0]["teacher"] == "other"


def test_nan_is_null_in_json(people):
    assert stats._plain({"a": [float("nan"), 1.0], "b": (None,)}) == {"a": [None, 1.0], "b": [None]}


def test_what_is_refused(people):
    path = make_store("tiny", at_nose(people))
    with pytest.raises(UserError, match=r"expected a store like data/targets/TEACHER/DATASET-SPLIT\.zarr"):
        stats.run(Path("data/targets/tiny"))
    with pytest.raises(UserError, match="no such target store: run `pipeline teach --teacher huge`"):
        stats.run(Path(PLACE.format("huge")))
    flip_bit(path / "heatmaps/c/0/0/0/0/0", 0.02)
    with pytest.raises(UserError, match=rf"people 0-16 cannot be read .* run `pipeline cache verify {path}`"):
        stats.run(path)
