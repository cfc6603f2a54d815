import numpy as np
import pytest

from pipeline.common.errors import UserError
from pipeline.pose.flip import flipped_name
from pipeline.pose.skeletons import (
    AIC14,
    COCO17,
    CROWDPOSE14,
    HALPE26,
    MPII16,
    NO_SKELETON,
    SKELETONS,
    Skeleton,
    skeleton_named,
    union,
)

UNION = union([COCO17, MPII16])


def test_union_is_coco_and_then_what_mpii_adds():
    assert len(UNION) == 21
    assert UNION.keypoints[:17] == COCO17.keypoints
    assert UNION.keypoints[17:] == ("pelvis", "thorax", "upper_neck", "head_top")
    assert UNION.name == "coco17+mpii16"


def test_orders_of_the_official_files():
    # cocodataset.org, format; human-pose.mpi-inf.mpg.de, README of the annotations.
    assert COCO17.keypoints[:7] == (
        "nose",
        "left_eye",
        "right_eye",
        "left_ear",
        "right_ear",
        "left_shoulder",
        "right_shoulder",
    )
    assert [MPII16.index(k) for k in ("right_ankle", "left_ankle", "pelvis", "head_top", "left_wrist")] == [
        0,
        5,
        6,
        9,
        15,
    ]


def test_shared_and_own_keypoints():
    coco, mpii = set(COCO17.keypoints), set(MPII16.keypoints)
    assert len(coco & mpii) == 12
    assert coco - mpii == {"nose", "left_eye", "right_eye", "left_ear", "right_ear"}
    assert mpii - coco == {"pelvis", "thorax", "upper_neck", "head_top"}


def test_aic_and_crowdpose_add_nothing_to_the_union_of_coco_and_mpii():
    assert union([COCO17, MPII16, AIC14, CROWDPOSE14]).keypoints == UNION.keypoints
    assert set(AIC14.keypoints) == set(CROWDPOSE14.keypoints) and AIC14.keypoints != CROWDPOSE14.keypoints
    assert set(AIC14.keypoints) < set(MPII16.keypoints)
    assert union([COCO17, AIC14]).keypoints == (*COCO17.keypoints, "head_top", "upper_neck")
    # challenger.ai, table 1 (counted from 1); CrowdPose's own categories.
    assert [AIC14.index(k) + 1 for k in ("right_shoulder", "left_shoulder", "right_hip", "left_ankle")] == [1, 4, 7, 12]
    assert [CROWDPOSE14.index(k) for k in ("left_shoulder", "right_shoulder", "right_ankle", "head_top")] == [
        *(0, 1, 11, 12)
    ]
    assert AIC14.keypoints[12:] == CROWDPOSE14.keypoints[12:] == ("head_top", "upper_neck")


def test_halpe_shares_all_but_the_thorax():
    positions = UNION.positions_in(HALPE26)
    assert (positions >= 0).sum() == 20
    assert positions[UNION.index("thorax")] == -1
    assert union([COCO17, HALPE26]).keypoints == HALPE26.keypoints


@pytest.mark.parametrize("skeleton", [*SKELETONS.values(), UNION], ids=lambda s: s.name)
def test_mirror_twice_is_the_identity(skeleton):
    assert np.array_equal(skeleton.mirror[skeleton.mirror], np.arange(len(skeleton)))
    moved = {skeleton.keypoints[k] for k in np.flatnonzero(skeleton.mirror != np.arange(len(skeleton)))}
    assert moved == {k for k in skeleton.keypoints if k.startswith(("left_", "right_"))}


def test_mirror_by_name():
    assert UNION.keypoints[UNION.mirror[UNION.index("left_wrist")]] == "right_wrist"
    assert flipped_name("right_big_toe") == "left_big_toe"
    assert flipped_name("upper_neck") == "upper_neck"


def test_positions_are_found_by_name():
    ours, other = Skeleton("a", ("nose", "pelvis", "left_hip")), Skeleton("b", ("left_hip", "nose"))
    assert ours.positions_in(other).tolist() == [1, -1, 0]
    assert MPII16.positions_in(UNION).tolist() == [UNION.index(k) for k in MPII16.keypoints]


@pytest.mark.parametrize("skeleton", [*SKELETONS.values(), UNION], ids=lambda s: s.name)
def test_limbs_join_own_keypoints_alike_on_both_sides(skeleton):
    limbs = {frozenset(limb) for limb in skeleton.limbs}
    assert {k for limb in limbs for k in limb} <= set(skeleton.keypoints)
    assert {frozenset(map(flipped_name, limb)) for limb in limbs} == limbs


def test_every_keypoint_of_the_union_has_a_limb():
    assert {k for limb in UNION.limbs for k in limb} == set(UNION.keypoints)


def test_upper_body_ends_above_the_hips():
    lower = {k for k, upper in zip(UNION.keypoints, UNION.upper_body, strict=True) if not upper}
    assert lower == {
        "left_hip",
        "right_hip",
        "left_knee",
        "right_knee",
        "left_ankle",
        "right_ankle",
        "pelvis",
    }
    assert not HALPE26.upper_body[HALPE26.index("left_heel")]


def test_sigmas():
    # pycocotools, Params.setKpParams.
    official = [0.26, 0.25, 0.25, 0.35, 0.35, 0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89]
    assert np.allclose(COCO17.sigmas, np.array(official) / 10, rtol=0, atol=1e-15)
    # MMPose 1.3.2, configs/_base_/datasets/halpe26.py: head, neck, hip and the six of the feet.
    assert HALPE26.sigmas[17:].tolist() == [0.026, 0.026, 0.066, *[0.079] * 6]


def test_sigmas_of_the_makers_are_kept_apart_from_the_others():
    # AI Challenger's evaluation: `delta` is twice the sigma, and the sides differ.
    assert 2 * AIC14.sigmas[AIC14.index("right_shoulder")] == pytest.approx(0.02776304, abs=1e-12)
    assert 2 * AIC14.sigmas[AIC14.index("left_ankle")] == pytest.approx(0.04830162, abs=1e-12)
    # CrowdPose's: COCO's body, and the shoulder's 0.079 for head and neck, which MMPose's halpe26 has at 0.026.
    assert CROWDPOSE14.sigmas[:12].tolist() == [COCO17.sigmas[COCO17.index(k)] for k in CROWDPOSE14.keypoints[:12]]
    assert CROWDPOSE14.sigmas[12:].tolist() == [0.079, 0.079]
    assert union([CROWDPOSE14]).sigmas[12:].tolist() == [0.026, 0.026]
    assert all(len(skeleton.sigmas) == len(skeleton) for skeleton in SKELETONS.values())


def test_values_are_arranged_by_name():
    ours, other = Skeleton("a", ("nose", "pelvis", "left_hip")), Skeleton("b", ("left_hip", "nose"))
    values = np.array([[[1.0, 2.0], [3.0, 4.0]]])
    assert ours.arranged(values, other).tolist() == [[[3, 4], [0, 0], [1, 2]]]
    assert ours.arranged(np.array([[True, True]]), other).tolist() == [[True, False, True]]
    assert ours.arranged(np.zeros((2, 0, 2)), NO_SKELETON).shape == (2, 3, 2)
    assert NO_SKELETON.arranged(values, other).shape == (1, 0, 2)


def test_no_skeleton_has_nothing():
    assert (len(NO_SKELETON), NO_SKELETON.limbs) == (0, ())
    assert NO_SKELETON.mirror.shape == NO_SKELETON.upper_body.shape == NO_SKELETON.sigmas.shape == (0,)
    assert NO_SKELETON.name not in SKELETONS


def test_unknown_name_lists_the_known_ones():
    assert skeleton_named("mpii16") is MPII16
    with pytest.raises(UserError, match="unknown skeleton `coco`: expected one of coco17, mpii16, halpe26"):
        skeleton_named("coco")
