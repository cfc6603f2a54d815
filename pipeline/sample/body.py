"""A body in three dimensions: its lengths, and the position of every keypoint in a pose. Knows no camera and no colours."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pipeline.pose.skeletons import COCO17, HALPE26, MPII16, union
from pipeline.sample.pose import Pose

BODY = union((COCO17, MPII16, HALPE26))
"""All keypoints of a body: the union of the three skeletons (27, including the thorax)."""

SIDE_SIGNS = (("left", 1.0), ("right", -1.0))
"""The body's own axes: x to its left, y up, z forward; so the left side is at positive x."""

HEAD_POINTS = {
    "nose": (0.0, 0.092, 0.112),
    "left_eye": (0.039, 0.128, 0.092),
    "right_eye": (-0.039, 0.128, 0.092),
    "left_ear": (0.094, 0.112, -0.008),
    "right_ear": (-0.094, 0.112, -0.008),
    "head_top": (0.0, 0.262, -0.005),
}
"""Positions in metres from the upper neck in the head's axes, for a body 1.73 m tall."""


@dataclass(frozen=True)
class Build:
    """Build of a person: stature in metres, and factors (around 1) for girth, shoulders and hips."""

    stature: float
    girth: float
    shoulders: float
    hips: float


@dataclass(frozen=True)
class Body:
    """A posed body in metres and its own axes (x left, y up, z forward), the pelvis at the origin."""

    keypoints: np.ndarray
    """float64 (27, 3) in the order of BODY."""
    hands: np.ndarray
    """float64 (2, 3): left and right fingertips."""
    chest: np.ndarray
    """float64 (3, 3): columns are the chest's left, up and forward."""
    head: np.ndarray
    """float64 (3, 3): columns are the head's left, up and forward."""
    build: Build

    @property
    def unit(self) -> float:
        """Factor on the lengths of a body that is 1.73 m tall."""
        return self.build.stature / 1.73

    def at(self, keypoint: str) -> np.ndarray:
        """Return the position, float (3,), of a keypoint."""
        return self.keypoints[BODY.index(keypoint)]

    def on_head(self, points: ArrayLike) -> np.ndarray:
        """Return points, float (N, 3), that are given in the head's axes from the upper neck, for a body 1.73 m tall."""
        return self.at("upper_neck") + self.unit * np.asarray(points) @ self.head.T

    def on_chest(self, points: ArrayLike) -> np.ndarray:
        """Return points, float (N, 3), that are given in the chest's axes from the thorax, for a body 1.73 m tall."""
        return self.at("thorax") + self.unit * np.asarray(points) @ self.chest.T


def sample_build(rng: np.random.Generator) -> Build:
    """Draw a random build. One in ten is a child."""
    stature = rng.uniform(1.2, 1.5) if rng.random() < 0.1 else rng.normal(1.72, 0.08)
    return Build(stature, girth=rng.uniform(0.88, 1.22), shoulders=rng.uniform(0.9, 1.12), hips=rng.uniform(0.9, 1.12))


def about_left(degrees: float) -> np.ndarray:
    """Return the rotation (3, 3) about the x axis: up goes forward."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def about_up(degrees: float) -> np.ndarray:
    """Return the rotation (3, 3) about the y axis: forward goes left."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def about_forward(degrees: float) -> np.ndarray:
    """Return the rotation (3, 3) about the z axis: left goes up."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def pose_body(build: Build, pose: Pose) -> Body:
    """Return the body of a person with that build in that pose."""
    unit = build.stature / 1.73
    pelvis = about_left(pose.pitch) @ about_forward(pose.lean)
    chest = pelvis @ about_left(pose.bend) @ about_forward(pose.sway) @ about_up(pose.twist)
    head = chest @ about_up(pose.turn) @ about_left(pose.nod - 0.4 * pose.bend) @ about_forward(pose.tilt)

    points = {"pelvis": np.zeros(3)}
    points["thorax"] = unit * (pelvis @ (0, 0.10, 0) + chest @ (0, 0.38, 0))
    points["upper_neck"] = points["thorax"] + unit * (chest @ (0, 0.06, 0.005) + head @ (0, 0.04, 0.015))
    for name, offset in HEAD_POINTS.items():
        points[name] = points["upper_neck"] + unit * (head @ offset)

    hands = []
    for (side, sign), arm, leg in zip(SIDE_SIGNS, pose.arms, pose.legs, strict=True):
        swing, spread, twist, elbow = arm
        upper_arm = chest @ about_left(-swing) @ about_forward(sign * spread) @ about_up(-sign * twist)
        forearm = upper_arm @ about_left(-elbow)
        # Shoulder blades follow an arm that goes up.
        shrug = 0.05 * np.clip((max(swing, spread) - 60) / 120, 0, 1)
        shoulder = points["thorax"] + unit * (chest @ (sign * (0.185 * build.shoulders - 0.3 * shrug), shrug - 0.01, 0))
        points[f"{side}_shoulder"] = shoulder
        points[f"{side}_elbow"] = shoulder + unit * (upper_arm @ (0, -0.285, 0))
        points[f"{side}_wrist"] = points[f"{side}_elbow"] + unit * (forearm @ (0, -0.25, 0))
        hands.append(points[f"{side}_wrist"] + unit * (forearm @ (0, -0.085, 0.01)))

        swing, spread, twist, knee = leg
        thigh = pelvis @ about_left(-swing) @ about_forward(sign * spread) @ about_up(sign * twist)
        shin = thigh @ about_left(knee)
        # An ankle keeps the foot level as far as an ankle can.
        foot = shin @ about_left(np.clip(swing - knee, -22, 45))
        points[f"{side}_hip"] = unit * (pelvis @ (sign * 0.105 * build.hips, -0.02, 0))
        points[f"{side}_knee"] = points[f"{side}_hip"] + unit * (thigh @ (0, -0.43, 0))
        points[f"{side}_ankle"] = points[f"{side}_knee"] + unit * (shin @ (0, -0.41, 0))
        for name, offset in (
            ("heel", (0, -0.06, -0.055)),
            ("big_toe", (-sign * 0.022, -0.07, 0.175)),
            ("small_toe", (sign * 0.042, -0.07, 0.135)),
        ):
            points[f"{side}_{name}"] = points[f"{side}_ankle"] + unit * (foot @ offset)

    return Body(np.array([points[name] for name in BODY.keypoints]), np.array(hands), chest, head, build)
