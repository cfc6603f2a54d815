"""Small annotation files, random damage to them, and people without a file behind them."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from pipeline.people.people import People
from pipeline.people.poses import Poses
from pipeline.pose.skeletons import COCO17, Skeleton


@pytest.fixture
def write_json(tmp_path):
    """Write a document and return its path."""

    def write(document, name="file.json") -> Path:
        path = tmp_path / name
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return path

    return write


@pytest.fixture
def coco_document():
    """Two pictures; a person with nose and left eye, a crowd, a person without labels, a dog."""
    keypoints = [0] * 51
    keypoints[:6] = [10, 20, 2, 30.5, 40.25, 1]
    return {
        "images": [
            {"id": 7, "file_name": "a.jpg", "width": 640, "height": 480},
            {"id": 9, "file_name": "sub/b.jpg", "width": 50, "height": 60},
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO17.keypoints)}, {"id": 18, "name": "dog"}],
        "annotations": [
            {
                "id": 100,
                "image_id": 9,
                "category_id": 1,
                "bbox": [1.5, 2, 30, 40],
                "area": 700.5,
                "iscrowd": 0,
                "num_keypoints": 2,
                "keypoints": keypoints,
            },
            {"id": 101, "image_id": 7, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 5, "iscrowd": 1},
            {"id": 102, "image_id": 7, "category_id": 1, "bbox": [0, 0, 9, 8], "keypoints": [0] * 51},
            {"id": 103, "image_id": 7, "category_id": 18, "bbox": [0, 0, 9, 9], "area": 5, "iscrowd": 0},
        ],
    }


@pytest.fixture
def fourteen_document():
    """Skeleton of 14 -> a picture with a person whose first two and last keypoints are labelled, and one with nothing labelled."""

    def document(skeleton):
        keypoints = [0] * 42
        keypoints[:6] = [10, 20, 2, 30.5, 40.25, 1]
        keypoints[39:] = [15, 5, 1]
        spelled = {"head_top": "Head", "upper_neck": "Neck"}
        names = [spelled.get(name, name.replace("_", " ").title()) for name in skeleton.keypoints]
        known = {"image_id": 7, "category_id": 1, "iscrowd": 0}
        return {
            "images": [{"id": 7, "file_name": "a.jpg", "width": 640, "height": 480, "crowdIndex": 0.33}],
            "categories": [{"id": 1, "name": "person", "keypoints": names}],
            "annotations": [
                {"id": 100, **known, "bbox": [1.5, 2, 30, 40], "num_keypoints": 1, "keypoints": keypoints},
                {"id": 101, **known, "bbox": [0, 0, 9, 8], "num_keypoints": 0, "keypoints": [0] * 42},
            ],
        }

    return document


@pytest.fixture
def mpii_document():
    """One whole person and one without ankles, 1-based as in the format."""
    joints = [[101.0 + 10 * k, 201.0 + 5 * k] for k in range(16)]
    other = [[x + 300, y + 100] for x, y in joints]
    other[0] = other[5] = [-1.0, -1.0]
    return [
        {"image": "p.jpg", "joints": joints, "joints_vis": [1] * 16, "center": [180.0, 240.0], "scale": 1.5},
        {
            "image": "q.jpg",
            "joints": other,
            "joints_vis": [0, 1, 1, 1, 1, 0] + [1] * 10,
            "center": [-1.0, -1.0],
            "scale": 2.0,
        },
    ]


LISTS = [[], {}, [[]], [1, [2]], [None], {"id": 1}, ["1"] * 51, [1e300] * 51, [True] * 51, [0] * 17]

VALUES = st.sampled_from(
    (
        None,
        True,
        -1,
        0,
        3,
        2**70,
        1e300,
        -1e300,
        float("nan"),
        float("inf"),
        "",
        "text",
        "../x",
        "/x",
        "\0",
        "\ud800",
        *LISTS,
    )
)


def spots(node, path=()):
    """Paths of all values inside a document."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from spots(child, (*path, key))


@st.composite
def damaged(draw, document):
    """The document with one to three values dropped, replaced or repeated."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        places = list(spots(document))
        if not places:
            break
        *path, key = draw(st.sampled_from(places))
        parent = document
        for step in path:
            parent = parent[step]
        action = draw(st.sampled_from(["drop", "replace", "repeat"]))
        if action == "drop":
            del parent[key]
        elif action == "replace" or isinstance(parent, dict):
            parent[key] = copy.deepcopy(draw(VALUES))
        else:
            parent.append(copy.deepcopy(parent[key]))
    return document


@pytest.fixture
def damage():
    """document -> strategy of damaged copies."""
    return damaged


@pytest.fixture
def make_people():
    """People with the given keypoints (N, K, 2), NaN = not labelled, in boxes of 100 x 200, one to a picture."""

    def make(skeleton: Skeleton, keypoints, **others) -> People:
        keypoints = np.array(keypoints, float)
        n = len(keypoints)
        labelled = ~np.isnan(keypoints).any(axis=2)
        arrays = {
            "person": np.arange(n) + 10,
            "image": np.array([f"{i}.jpg" for i in range(n)]),
            "image_id": np.arange(n) + 500,
            "image_wh": np.zeros((n, 2), np.int32),
            "box": np.tile([0.0, 0, 100, 200], (n, 1)),
            "area": np.full(n, 20_000.0),
            "crowd": np.zeros(n, bool),
            "use": labelled.any(axis=1),
            "keypoints": np.nan_to_num(keypoints),
            "labelled": labelled,
            "head_box": np.full((n, 4), np.nan),
        }
        return People(skeleton=skeleton, **(arrays | others))

    return make


@pytest.fixture
def make_poses():
    """Poses with the given keypoints (M, K, 2) for people 10, 11, .. on pictures 500, 501, .."""

    def make(skeleton: Skeleton, keypoints, **others) -> Poses:
        keypoints = np.array(keypoints, float)
        m = len(keypoints)
        arrays = {
            "image_id": np.arange(m) + 500,
            "keypoints": keypoints,
            "confidence": np.ones(keypoints.shape[:2]),
            "score": np.ones(m),
            "person": np.arange(m) + 10,
        }
        return Poses(skeleton=skeleton, **(arrays | others))

    return make
