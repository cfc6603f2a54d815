"""Converts drawn people to the annotation formats of COCO, MPII (as HRNet and MMPose read it) and Halpe. Writes no files."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.pose.skeletons import COCO17, HALPE26, MPII16, Skeleton
from pipeline.sample.body import BODY
from pipeline.sample.scene import Person

COCO_LIMBS = (
    ("left_ankle", "left_knee"),
    ("left_knee", "left_hip"),
    ("right_ankle", "right_knee"),
    ("right_knee", "right_hip"),
    ("left_hip", "right_hip"),
    ("left_shoulder", "left_hip"),
    ("right_shoulder", "right_hip"),
    ("left_shoulder", "right_shoulder"),
    ("left_shoulder", "left_elbow"),
    ("right_shoulder", "right_elbow"),
    ("left_elbow", "left_wrist"),
    ("right_elbow", "right_wrist"),
    ("left_eye", "right_eye"),
    ("nose", "left_eye"),
    ("nose", "right_eye"),
    ("left_eye", "left_ear"),
    ("right_eye", "right_ear"),
    ("left_ear", "left_shoulder"),
    ("right_ear", "right_shoulder"),
)
"""The `skeleton` of COCO's person category, in its order."""

HALPE_KEYPOINTS = 136
"""Keypoints of Halpe's whole body. All but the first 26 are zeros here."""

MPII_JOINTS = {
    "ankle": "ank",
    "knee": "kne",
    "hip": "hip",
    "pelvis": "pelv",
    "thorax": "thor",
    "upper_neck": "neck",
    "head_top": "head",
    "wrist": "wri",
    "elbow": "elb",
    "shoulder": "sho",
}
"""Names of body parts in `dataset_joints` of MPII's evaluation file."""

MPII_MARGIN = 1.15
"""Side of MPII's square, as a multiple of the longer side of the person in it."""


@dataclass(frozen=True)
class Drawn:
    """An image that was drawn: its number in the dataset, its file name, its side in pixels, and its people."""

    number: int
    file_name: str
    size: int
    people: tuple[Person, ...]


def flat_keypoints(person: Person, skeleton: Skeleton) -> list[float]:
    """Return x, y and v of each keypoint as COCO has them: v is 0 for not labelled, 1 for hidden, 2 for visible."""
    numbers: list[float] = []
    for keypoint in skeleton.keypoints:
        k = BODY.index(keypoint)
        if person.labelled[k]:
            x, y = person.keypoints[k]
            numbers += [round(float(x), 2), round(float(y), 2), 2 if person.visible[k] else 1]
        else:
            numbers += [0, 0, 0]
    return numbers


def coco_annotation(person: Person, annotation_id: int, image_id: int, skeleton: Skeleton, padded_to: int) -> dict:
    """Return an entry of `annotations`. `padded_to` is the number of keypoints that the format has; the last ones are zeros."""
    keypoints = flat_keypoints(person, skeleton)
    return {
        "num_keypoints": sum(v > 0 for v in keypoints[2::3]),
        "area": round(person.area, 2),
        "iscrowd": int(person.crowd),
        "keypoints": keypoints + [0] * (3 * (padded_to - len(skeleton))),
        "image_id": image_id,
        "bbox": [round(float(number), 2) for number in person.box],
        "category_id": 1,
        "id": annotation_id,
    }


def coco_like(images: Sequence[Drawn], skeleton: Skeleton, padded_to: int, category: dict, description: str) -> dict:
    """Return the content of a file in COCO's format. A person's id depends on the image's number alone."""
    return {
        "info": {"description": description, "version": "1.0", "year": 2024, "contributor": "pipeline data sample"},
        "licenses": [{"url": "https://creativecommons.org/publicdomain/zero/1.0/", "id": 1, "name": "CC0 1.0"}],
        "images": [
            {"license": 1, "file_name": drawn.file_name, "height": drawn.size, "width": drawn.size, "id": drawn.number}
            for drawn in images
        ],
        "annotations": [
            coco_annotation(person, 100 * drawn.number + place, drawn.number, skeleton, padded_to)
            for drawn in images
            for place, person in enumerate(drawn.people, start=1)
        ],
        "categories": [{"supercategory": "person", "id": 1, "name": "person", **category}],
    }


def coco_file(images: Sequence[Drawn]) -> dict:
    """Return the content of COCO's `person_keypoints_*.json`."""
    limbs = [[COCO17.index(start) + 1, COCO17.index(end) + 1] for start, end in COCO_LIMBS]
    category = {"keypoints": list(COCO17.keypoints), "skeleton": limbs}
    content = coco_like(images, COCO17, len(COCO17), category, "Drawn people, labelled as COCO labels them")
    return content | {"annotations": [{"segmentation": []} | annotation for annotation in content["annotations"]]}


def halpe_file(images: Sequence[Drawn]) -> dict:
    """Return the content of a Halpe annotation file: 136 keypoints, of which the first 26 are the body."""
    category: dict = {"keypoints": [], "skeleton": []}
    return coco_like(images, HALPE26, HALPE_KEYPOINTS, category, "Drawn people, labelled as Halpe labels them")


def mpii_person(person: Person, image: str) -> dict:
    """Return a person in HRNet's format, counted from 1. The square of side 200 x scale around (x, y + 15 x scale) covers the box."""
    order = MPII16.positions_in(BODY)
    inside = person.inside[order]
    joints = np.where(inside[:, None], person.keypoints[order] + 1, -1.0)
    left, top, width, height = person.box
    scale = MPII_MARGIN * max(width, height) / 200
    centre = np.array([left + (width - 1) / 2, top + (height - 1) / 2 - 15 * scale]) + 1
    return {
        "joints_vis": inside.astype(int).tolist(),
        "joints": joints.round(4).tolist(),
        "image": image,
        "scale": round(float(scale), 6),
        "center": centre.round(4).tolist(),
    }


def mpii_people(images: Sequence[Drawn]) -> list[tuple[Drawn, Person]]:
    """Return the people of MPII's files in their order: everyone with a joint inside the image."""
    order = MPII16.positions_in(BODY)
    return [(drawn, person) for drawn in images for person in drawn.people if person.inside[order].any()]


def mpii_file(images: Sequence[Drawn]) -> list[dict]:
    """Return the content of `mpii_*.json`: one entry per person."""
    return [mpii_person(person, drawn.file_name) for drawn, person in mpii_people(images)]


def mpii_joint_name(keypoint: str) -> str:
    """Return the name of a keypoint in MPII's evaluation file: `rank` is the right ankle."""
    side, _, part = keypoint.partition("_")
    return side[0] + MPII_JOINTS[part] if side in ("left", "right") else MPII_JOINTS[keypoint]


def mpii_truth_arrays(images: Sequence[Drawn]) -> dict[str, np.ndarray]:
    """Return the arrays of `mpii_gt_val.mat`, counted from 1. Column n is entry n of the JSON file.

    pos_gt_src (16, 2, N) zeros where missing, headboxes_src (2, 2, N) with the corners x1, y1 and x2, y2 as rows,
    jnt_missing (16, N), dataset_joints (1, 16)."""
    people = [person for _, person in mpii_people(images)]
    entries = mpii_file(images)
    missing = 1 - np.array([entry["joints_vis"] for entry in entries], dtype=np.uint8).T
    joints = np.array([entry["joints"] for entry in entries], dtype=np.float64).transpose(1, 2, 0)
    names = np.empty((1, len(MPII16)), dtype=object)
    names[0] = [mpii_joint_name(keypoint) for keypoint in MPII16.keypoints]
    return {
        "jnt_missing": missing,
        "pos_gt_src": np.where(missing[:, None] == 1, 0.0, joints),
        "headboxes_src": np.array([person.head_box.reshape(2, 2) + 1 for person in people]).transpose(1, 2, 0),
        "dataset_joints": names,
    }
