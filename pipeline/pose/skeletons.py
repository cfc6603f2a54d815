"""Skeletons: which keypoints a dataset labels, how they mirror, and how they map onto another dataset's. Everything by name."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from pipeline.common.errors import UserError
from pipeline.pose.flip import flipped_name

ALIASES = {"head": "head_top", "neck": "upper_neck", "hip": "pelvis"}
"""Names that Halpe, AIC and CrowdPose have for keypoints, and the names of MPII that are used here."""

SIGMAS = {
    "nose": 0.026,
    "eye": 0.025,
    "ear": 0.035,
    "shoulder": 0.079,
    "elbow": 0.072,
    "wrist": 0.062,
    "hip": 0.107,
    "knee": 0.087,
    "ankle": 0.089,
    "pelvis": 0.066,
    "thorax": 0.026,
    "upper_neck": 0.026,
    "head_top": 0.026,
    "big_toe": 0.079,
    "small_toe": 0.079,
    "heel": 0.079,
}
"""OKS sigma per body part. COCO's own for its parts (cocodataset.org, keypoint evaluation); COCO has none for the
others: those are the values of MMPose's halpe26 and (thorax) mpii dataset descriptions."""

GUESSED_SIGMA = 0.067
"""OKS sigma of a body part that SIGMAS lacks and for which nobody gives one: the mean over COCO's 17 keypoints (0.0669). A guess."""

LIMBS = (
    ("nose", "left_eye"),
    ("nose", "right_eye"),
    ("left_eye", "left_ear"),
    ("right_eye", "right_ear"),
    ("upper_neck", "head_top"),
    ("thorax", "upper_neck"),
    ("thorax", "pelvis"),
    ("left_shoulder", "right_shoulder"),
    ("left_shoulder", "left_hip"),
    ("right_shoulder", "right_hip"),
    ("left_hip", "right_hip"),
    ("left_shoulder", "left_elbow"),
    ("left_elbow", "left_wrist"),
    ("right_shoulder", "right_elbow"),
    ("right_elbow", "right_wrist"),
    ("left_hip", "left_knee"),
    ("left_knee", "left_ankle"),
    ("right_hip", "right_knee"),
    ("right_knee", "right_ankle"),
    ("left_ankle", "left_heel"),
    ("right_ankle", "right_heel"),
    ("left_heel", "left_big_toe"),
    ("right_heel", "right_big_toe"),
    ("left_big_toe", "left_small_toe"),
    ("right_big_toe", "right_small_toe"),
)

HEAD_ENDS = ("head_top", "upper_neck")
"""Keypoints whose distance stands in for MPII's head size where there is no head box."""
TORSO = ("left_shoulder", "right_hip")
"""Keypoints whose distance is the torso's diameter (Sapp & Taskar 2013, MODEC; MMPose's JHMDB metric)."""

LOWER_BODY = ("hip", "knee", "ankle", "pelvis", "big_toe", "small_toe", "heel")


def plain_keypoint_name(name: str) -> str:
    """Return a keypoint's name as it is written here, `left_big_toe`, of `Left Big-Toe`, `leftBigToe`, `LBigToe` or `l_big_toe`."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", re.sub(r"^([LR])(?=[A-Z][a-z])", r"\1_", name.strip()))
    plain = re.sub(r"[\s\-_]+", "_", words).lower()
    return re.sub(r"^([lr])_", lambda side: {"l": "left_", "r": "right_"}[side[1]], plain)


def body_part(keypoint: str) -> str:
    """Return the body part of a keypoint without its side: `left_knee` and `right_knee` are both `knee`."""
    return keypoint.removeprefix("left_").removeprefix("right_")


@dataclass(frozen=True)
class Skeleton:
    """An ordered tuple of keypoint names, from which mirror partners, limbs and OKS sigmas follow unless it has its own."""

    name: str
    keypoints: tuple[str, ...]
    own_sigmas: tuple[float, ...] = ()
    """OKS sigmas of the dataset's own evaluation, one per keypoint; empty if those of SIGMAS apply."""
    own_limbs: tuple[tuple[str, str], ...] = ()
    """Pairs of keypoints to join when drawing; empty if those of LIMBS apply."""
    own_mirror: tuple[tuple[str, str], ...] = ()
    """Keypoints with their mirror partners, each pair in both directions, where these do not follow from `left_` and `right_`."""
    aliases: tuple[tuple[str, str], ...] = ()
    """Names that annotation files have for keypoints, and their names here, besides ALIASES."""

    def __len__(self) -> int:
        return len(self.keypoints)

    def index(self, keypoint: str) -> int:
        """Return the position of a keypoint by its name."""
        return self.keypoints.index(keypoint)

    def positions_in(self, other: "Skeleton") -> np.ndarray:
        """Return, int (K,), the position in `other` of each keypoint of this skeleton, -1 where `other` lacks it."""
        return np.array([other.index(k) if k in other.keypoints else -1 for k in self.keypoints], dtype=np.int64)

    def arranged(self, values: np.ndarray, other: "Skeleton") -> np.ndarray:
        """Return values (N, K of `other`, ...) in the order of this skeleton (N, K, ...), 0 for keypoints that `other` lacks."""
        positions = self.positions_in(other)
        known = positions >= 0
        ordered = np.zeros((len(values), len(self), *values.shape[2:]), values.dtype)
        ordered[:, known] = values[:, positions[known]]
        return ordered

    def named(self, spelling: str) -> str:
        """Return the name here of a keypoint that an annotation file spells so; the plain name where the skeleton lacks it."""
        plain = plain_keypoint_name(spelling)
        return plain if plain in self.keypoints else (ALIASES | dict(self.aliases)).get(plain, plain)

    def flipped(self, keypoint: str) -> str:
        """Return the name that a keypoint has in the mirror image: its partner's, or its own on the midline."""
        return dict(self.own_mirror).get(keypoint) or flipped_name(keypoint)

    @cached_property
    def mirror(self) -> np.ndarray:
        """The position of each keypoint's mirror partner, int (K,); its own for keypoints on the midline."""
        return np.array([self.index(self.flipped(k)) for k in self.keypoints], dtype=np.int64)

    @cached_property
    def limbs(self) -> tuple[tuple[str, str], ...]:
        """Pairs of keypoints to join when drawing."""
        return self.own_limbs or tuple(pair for pair in LIMBS if {*pair} <= {*self.keypoints})

    @cached_property
    def upper_body(self) -> np.ndarray:
        """Which keypoints lie above the hips, bool (K,); those of unknown body parts count among them."""
        return np.array([body_part(k) not in LOWER_BODY for k in self.keypoints], dtype=bool)

    @cached_property
    def sigmas(self) -> np.ndarray:
        """The OKS sigmas, float (K,): the dataset's own, or else those of SIGMAS, or else GUESSED_SIGMA."""
        return np.array(self.own_sigmas or [SIGMAS.get(body_part(k), GUESSED_SIGMA) for k in self.keypoints])

    @property
    def guessed_sigmas(self) -> tuple[str, ...]:
        """The keypoints whose OKS sigma is GUESSED_SIGMA for want of a better one."""
        return () if self.own_sigmas else tuple(k for k in self.keypoints if body_part(k) not in SIGMAS)


ARMS_AND_LEGS = tuple(
    f"{side}_{part}" for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for side in ("left", "right")
)
"""Keypoints of COCO's and CrowdPose's skeletons, in their order."""

COCO17 = Skeleton(
    "coco17",
    (
        "nose",
        "left_eye",
        "right_eye",
        "left_ear",
        "right_ear",
        *ARMS_AND_LEGS,
    ),
)

MPII16 = Skeleton(
    "mpii16",
    (
        "right_ankle",
        "right_knee",
        "right_hip",
        "left_hip",
        "left_knee",
        "left_ankle",
        "pelvis",
        "thorax",
        "upper_neck",
        "head_top",
        "right_wrist",
        "right_elbow",
        "right_shoulder",
        "left_shoulder",
        "left_elbow",
        "left_wrist",
    ),
)

HALPE26 = Skeleton(
    "halpe26",
    (
        *COCO17.keypoints,
        "head_top",
        "upper_neck",
        "pelvis",
        "left_big_toe",
        "right_big_toe",
        "left_small_toe",
        "right_small_toe",
        "left_heel",
        "right_heel",
    ),
)

AIC14 = Skeleton(
    "aic14",
    (
        "right_shoulder",
        "right_elbow",
        "right_wrist",
        "left_shoulder",
        "left_elbow",
        "left_wrist",
        "right_hip",
        "right_knee",
        "right_ankle",
        "left_hip",
        "left_knee",
        "left_ankle",
        "head_top",
        "upper_neck",
    ),
    (
        *(0.01388152, 0.01515228, 0.01057665),
        *(0.01417709, 0.01497891, 0.01402144),
        *(0.03909642, 0.03686941, 0.01981803),
        *(0.03843971, 0.03412318, 0.02415081),
        *(0.01291456, 0.01236173),
    ),
)
"""AI Challenger's keypoints in its order. The sigmas are half of the `delta` of its evaluation, which differs by side
(AIChallenger/AI_Challenger_2017, Evaluation/keypoint_eval/keypoint_eval.py; MMPose's aic dataset has the same)."""

CROWDPOSE14 = Skeleton(
    "crowdpose14",
    (
        *ARMS_AND_LEGS,
        "head_top",
        "upper_neck",
    ),
    (0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089, 0.079, 0.079),
)
"""CrowdPose's keypoints in its order. The sigmas are those of its evaluation: COCO's, and the shoulder's for head and neck
(Jeff-sjtu/CrowdPose, crowdpose-api; jin-s13/xtcocoapi, demos/demo_crowdpose.py; MMPose's crowdpose dataset)."""

SKELETONS = {skeleton.name: skeleton for skeleton in (COCO17, MPII16, HALPE26, AIC14, CROWDPOSE14)}

NO_SKELETON = Skeleton("none", ())
"""The skeleton of people who have boxes and no labels."""


def skeleton_named(name: str, known: Mapping[str, Skeleton] = SKELETONS) -> Skeleton:
    """Return the skeleton of that name among those that are known; UserError lists them."""
    if name not in known:
        raise UserError(f"unknown skeleton `{name}`: expected one of {', '.join(known)}")
    return known[name]


def union(skeletons: Iterable[Skeleton]) -> Skeleton:
    """Return the unified skeleton: the keypoints of the first in its order, then those that each further one adds, in its order.

    Its sigmas are those of SIGMAS; of a keypoint that SIGMAS lacks, the first skeleton's that has one of its own. To its limbs by
    LIMBS come the skeletons' own.
    """
    skeletons = tuple(skeletons)
    keypoints = tuple(dict.fromkeys(k for skeleton in skeletons for k in skeleton.keypoints))
    plain = Skeleton("+".join(dict.fromkeys(skeleton.name for skeleton in skeletons)), keypoints)
    given: dict[str, float] = {}
    for skeleton in skeletons:
        own = dict(zip(skeleton.keypoints, skeleton.own_sigmas, strict=False))
        given |= {k: own[k] for k in plain.guessed_sigmas if k in own and k not in given}
    drawn: dict[frozenset[str], tuple[str, str]] = {}
    for pair in (*plain.limbs, *(pair for skeleton in skeletons for pair in skeleton.own_limbs)):
        drawn.setdefault(frozenset(pair), pair)
    limbs = tuple(drawn.values())
    return replace(
        plain,
        own_sigmas=tuple(given.get(k, s) for k, s in zip(keypoints, plain.sigmas.tolist(), strict=True))
        if given
        else (),
        own_limbs=limbs if limbs != plain.limbs else (),
        own_mirror=tuple(dict.fromkeys(pair for skeleton in skeletons for pair in skeleton.own_mirror)),
    )
