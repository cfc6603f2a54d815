"""`Targets` gives what the store has, by the person's id and the keypoint's name."""

import numpy as np
import pytest

import pose_fusion
from cache.targets import open_targets
from pipeline.common.errors import UserError
from pipeline.pose.skeletons import COCO17
from stages.project.datasets import load_people, load_views
from stages.project.project import project_of
from stages.stores.targets import open_target_store
from stages.teach import run as teach
from tests.fixtures import CROWD, params

STORE = "data/targets/tiny/coco-train.zarr"


def test_a_person_has_what_the_store_has_in_its_row(taught) -> None:
    targets = pose_fusion.Targets(STORE)
    people = load_people("coco", "train")
    assert np.array_equal(targets.people, people.person) and len(targets) == len(people)
    assert targets.keypoints == COCO17.keypoints and targets.views == 2
    row = 5
    block = open_targets(taught / STORE, "").read(slice(row, row + 1))
    person = targets.person(int(people.person[row]))
    assert person.taught and person.id == people.person[row] and person.keypoints == COCO17.keypoints
    assert person.maps[0].shape == (2, 17, 8, 6)
    wrist = person.map("left_wrist", 1)
    k = COCO17.index("left_wrist")
    assert np.array_equal(wrist, block.levels["heatmaps"][0, 1, k] * (block.peak[0, 1, k].astype(np.float32) / 255))
    assert np.array_equal(person.scores, block.score[0].astype(np.float32))
    assert np.array_equal(person.image_from_target, block.image_from_target[0])


def test_positions_are_where_the_maps_peak(taught) -> None:
    person = pose_fusion.Targets(STORE).person(int(load_people("coco", "train").person[0]))
    for view in range(2):
        for k, keypoint in enumerate(person.keypoints):
            y, x = np.unravel_index(person.map(keypoint, view).argmax(), (8, 6))
            at = person.image_from_target[view] @ [x, y, 1]
            pixel = np.linalg.norm(person.image_from_target[view, :, 0])
            assert (
                np.abs(person.positions[view, k] - at).max() <= 1.5 * pixel
            )  # DARK moves it by at most one pixel in x and y


def test_a_person_that_was_not_taught_says_so(taught) -> None:
    crowd = pose_fusion.Targets(STORE).person(CROWD)
    assert not crowd.taught and not crowd.maps[0].any() and not crowd.scores.any()


def test_bins_are_distributions_and_multiply_to_a_map(taught) -> None:
    x, y = np.array([[[0.25, 0.75]]]), np.array([[[0.5, 0.5, 0.0]]])
    person = pose_fusion.PersonTargets(
        1, ("nose",), True, (x, y), np.ones((1, 1)), np.zeros((1, 2, 3)), np.zeros((1, 1, 2))
    )
    assert np.array_equal(person.map("nose"), [[0.125, 0.375], [0.125, 0.375], [0, 0]])


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda targets: targets.person(123456), "has no person 123456: some of its"),
        (lambda targets: targets.person(CROWD).map("tail"), "keypoint 'tail': expected one of nose"),
        (lambda targets: targets.person(CROWD).map("nose", 2), "view 2: expected one from 0 to 1"),
        (lambda targets: targets.person(CROWD).map("nose", -1), "view -1: expected one from 0 to 1"),
        (lambda targets: pose_fusion.Targets("data/none.zarr"), "no such target store: run `pipeline teach"),
    ],
)
def test_what_is_not_there_is_said(taught, ask, message: str) -> None:
    with pytest.raises(pose_fusion.UserError, match=message):
        ask(pose_fusion.Targets(STORE))


def test_the_spec_is_the_teachers(project) -> None:
    """With the partners of keypoints that their names do not tell."""
    names = [*COCO17.keypoints[:-2], "tip_a", "tip_b"]
    values = params(teachers__tiny__skeleton="own17") | {
        "skeletons": {"own17": {"keypoints": names, "mirror": {"tip_a": "tip_b"}}}
    }
    teach.run(project_of(values), "tiny", "cpu", check=False, log=lambda line: None)
    spec, expected = pose_fusion.Targets(STORE).spec, project_of(values).teacher("tiny").spec
    assert spec.skeleton.mirror.tolist() == expected.skeleton.mirror.tolist()
    assert spec.skeleton.sigmas.tolist() == expected.skeleton.sigmas.tolist()
    people = load_people("coco", "train")
    values["skeletons"]["own17"]["mirror"] = {"tip_a": "tip_a", "tip_b": "tip_b"}
    del values["skeletons"]["own17"]["mirror"]
    with pytest.raises(UserError, match="was made from other mirror than there are now"):
        open_target_store(project_of(values), "tiny", "coco", "train", people, load_views("coco", "train", people))
