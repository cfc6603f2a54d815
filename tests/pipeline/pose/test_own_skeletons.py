"""Skeletons that are no built-in ones: partners, sigmas and limbs by hand, and the way through a file."""

import numpy as np
import pytest

from pipeline.common.errors import UserError
from pipeline.pose.own_skeletons import (
    checked_skeleton,
    guessed_sigmas_note,
    named_details,
    refuse_sides_without_partners,
    skeleton_details,
    skeleton_from,
)
from pipeline.pose.skeletons import COCO17, CROWDPOSE14, GUESSED_SIGMA, MPII16, SKELETONS, Skeleton, union

FISH = ("left_eye", "right_eye", "tail", "port_fin", "starboard_fin")


def fish(**changes: object) -> Skeleton:
    given = {"mirror": {"port_fin": "starboard_fin"}, "limbs": [("port_fin", "tail")], **changes}
    return checked_skeleton("fish", FISH, "here", **given)  # type: ignore[arg-type]


def test_partners_are_those_given_and_those_of_the_names() -> None:
    assert fish().mirror.tolist() == [1, 0, 2, 4, 3]
    assert fish(mirror={"starboard_fin": "port_fin", "port_fin": "starboard_fin"}).mirror.tolist() == [1, 0, 2, 4, 3]
    assert fish(mirror={"left_eye": "left_eye", "right_eye": "right_eye"}).mirror.tolist() == [0, 1, 2, 3, 4]
    assert fish(mirror={"left_eye": "right_eye"}).own_mirror == ()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("shoulder_left", "shoulder_right"),
        ("wrist_l", "wrist_r"),
        ("lankle", "rankle"),
        ("hip.L", "hip.R"),
        ("kneeL", "kneeR"),
        ("LeftEye", "RightEye"),
    ],
)
def test_sides_in_another_spelling_are_asked_for(one: str, other: str) -> None:
    names = ("nose", one, other)
    with pytest.raises(
        UserError, match=rf"mirror: expected a partner of `{one}`, as `{other}` looks like its other side"
    ):
        refuse_sides_without_partners(names, {}, "here")
    refuse_sides_without_partners(names, {one: other}, "here")
    refuse_sides_without_partners(names, {one: one}, "here")
    plain = checked_skeleton("own", names, "here", mirror={one: one})
    assert skeleton_from(named_details(plain), names, "a file") == plain and plain.mirror.tolist() == [0, 1, 2]
    refuse_sides_without_partners((*COCO17.keypoints, *MPII16.keypoints, "lip", "navel"), {}, "here")


def test_sigmas_are_known_or_guessed_or_given() -> None:
    assert fish().sigmas.tolist() == [0.025, 0.025, GUESSED_SIGMA, GUESSED_SIGMA, GUESSED_SIGMA]
    assert fish().guessed_sigmas == ("tail", "port_fin", "starboard_fin")
    note = guessed_sigmas_note(fish())
    assert note is not None and "no OKS sigma of tail, port_fin, starboard_fin, so it is 0.067" in note
    given = fish(sigmas=[0.1, 0.1, 0.2, 0.3, 0.3])
    assert given.sigmas.tolist() == [0.1, 0.1, 0.2, 0.3, 0.3] and guessed_sigmas_note(given) is None
    assert all(guessed_sigmas_note(skeleton) is None for skeleton in SKELETONS.values())


def test_the_guess_is_the_mean_of_coco() -> None:
    assert np.isclose(SKELETONS["coco17"].sigmas.mean(), GUESSED_SIGMA, atol=1e-4)


def test_names_are_matched_by_alias_in_any_spelling() -> None:
    skeleton = checked_skeleton("own", ("upper_neck", "left_hip"), "here", mirror={"left_hip": "left_hip"})
    assert skeleton.named("Neck") == "upper_neck" and skeleton.named("LHip") == "left_hip"
    renamed = checked_skeleton("own", ("upper_neck",), "here", aliases={"throat": "upper_neck"})
    assert renamed.named("Throat") == "upper_neck" and renamed.named("tail") == "tail"


def test_a_union_keeps_what_names_do_not_tell() -> None:
    unified = union([MPII16, fish(sigmas=[0.1, 0.1, 0.2, 0.3, 0.3])])
    assert unified.keypoints == (*MPII16.keypoints, *FISH)
    assert unified.sigmas[-5:].tolist() == [0.025, 0.025, 0.2, 0.3, 0.3]  # eyes are COCO's
    assert unified.sigmas[:16].tolist() == MPII16.sigmas.tolist()
    assert unified.flipped("starboard_fin") == "port_fin" and unified.flipped("left_knee") == "right_knee"
    assert unified.limbs == (*MPII16.limbs, ("port_fin", "tail"))
    assert union([MPII16, fish()]).own_sigmas == ()


def test_built_in_skeletons_have_nothing_of_their_own_in_a_union() -> None:
    unified = union(SKELETONS.values())
    assert (unified.own_sigmas, unified.own_limbs, unified.own_mirror) == ((), (), ())
    assert skeleton_details(unified) == {} and named_details(CROWDPOSE14) == "crowdpose14"


def test_a_file_gives_the_same_skeleton_back() -> None:
    for skeleton in (fish(sigmas=[0.1, 0.1, 0.2, 0.3, 0.3], aliases={"caudal": "tail"}), fish(), *SKELETONS.values()):
        assert skeleton_from(named_details(skeleton), skeleton.keypoints, "there") == skeleton
    assert skeleton_from("coco17", ("nose",), "there") == Skeleton("coco17", ("nose",))


@pytest.mark.parametrize(
    "described",
    [
        {},
        {"name": "a", "legs": 4},
        {"name": "a", "sigmas": 3},
        {"name": "a", "mirror": ["nose"]},
        {"name": "a", "limbs": [1]},
    ],
)
def test_a_description_that_is_none(described: dict[str, object]) -> None:
    with pytest.raises(UserError, match="there: expected a skeleton's name and details"):
        skeleton_from(described, ("nose",), "there")
