"""A small project folder for tests: images of noise, a hand-made COCO file, params.yaml, and teachers of one convolution."""

import copy
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

IMAGES = 12
PEOPLE_PER_IMAGE = 4
IMAGE_WH = (96, 80)
INPUT_WH = (24, 32)
TARGET_WH = (6, 8)

CROWD, UNLABELLED = 9001, 9002
"""Ids of the two people who are not in use; both are in `unused.jpg`, a training image."""

PARAMS: dict[str, Any] = {
    "seed": 0,
    "datasets": {
        "coco": {
            "format": "coco",
            "annotations": "annotations",
            "score": "ap",
            "train": {"file": "train.json", "images": "pictures"},
        }
    },
    "prepare": {"validation": 0.2, "views": 2},
    "teachers": {
        "tiny": {
            "onnx": "tiny.onnx",
            "dataset": "coco",
            "skeleton": "coco17",
            "input": [INPUT_WH[1], INPUT_WH[0]],
            "color": "rgb",
            "mean": [120.0, 115.0, 100.0],
            "std": [58.0, 57.0, 56.0],
            "padding": 1.25,
            "affine": "udp",
            "kind": "heatmap",
        }
    },
    "teach": {"shard": 16, "check": 0},
}


def params(**changes: Any) -> dict[str, Any]:
    """Return PARAMS with values replaced; `teachers__tiny__kind=...` reaches into it."""
    changed = copy.deepcopy(PARAMS)
    for path, value in changes.items():
        *inner, last = path.split("__")
        place = changed
        for key in inner:
            place = place[key]
        place[last] = value
    return changed


def make_project(folder: Path, images: int = IMAGES, people: int = PEOPLE_PER_IMAGE) -> None:
    """Write params.yaml, annotations/train.json, pictures/ and tiny.onnx, with the same bytes each time."""
    (folder / "params.yaml").write_text(yaml.safe_dump(PARAMS, sort_keys=False))
    (folder / "annotations").mkdir()
    (folder / "pictures").mkdir()
    (folder / "annotations/train.json").write_text(json.dumps(coco_document(images, people)))
    for name in [*(f"{n:02d}.jpg" for n in range(images)), "unused.jpg"]:
        write_image(folder / "pictures" / name, name)
    save_teacher(folder / "tiny.onnx")


def write_image(path: Path, seed: str) -> None:
    """Write a JPEG of smooth coloured noise."""
    random = np.random.default_rng(list(seed.encode()))
    coarse = random.integers(0, 256, (10, 12, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), cv2.resize(coarse, IMAGE_WH, interpolation=cv2.INTER_CUBIC))


def with_orientation(jpeg: bytes, orientation: int, thumbnail: bytes = b"") -> bytes:
    """Return the JPEG with an EXIF segment that says so (tag 0x0112, EXIF 2.3 section 4.6.4)."""
    tiff = b"MM\0*" + struct.pack(">IH", 8, 1) + struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0) + bytes(4)
    body = b"Exif\0\0" + tiff + thumbnail
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def coco_document(images: int, people: int) -> dict[str, Any]:
    """Return a COCO document of that many people per image, with all keypoints, plus the CROWD and the UNLABELLED in `unused.jpg`."""
    width, height = IMAGE_WH
    names = [*(f"{n:02d}.jpg" for n in range(images)), "unused.jpg"]
    random = np.random.default_rng(7)
    annotations = []
    for n in range(images):
        for m in range(people):
            box = np.array(
                [random.integers(0, 40), random.integers(0, 30), random.integers(20, 50), random.integers(25, 50)]
            )
            points = box[:2] + random.uniform(0, 1, (17, 2)) * box[2:]
            triplets = np.column_stack([points.round(2), np.full(17, 2)])
            annotations.append(annotation(n * people + m, n, box.tolist(), triplets.ravel().tolist(), 0))
    annotations.append(annotation(CROWD, images, [5, 5, 40, 40], [0] * 51, 1))
    annotations.append(annotation(UNLABELLED, images, [5, 5, 40, 40], [0] * 51, 0))
    return {
        "images": [{"id": n, "file_name": name, "width": width, "height": height} for n, name in enumerate(names)],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": annotations,
    }


def annotation(person: int, image: int, box: list[float], keypoints: list[float], crowd: int) -> dict[str, Any]:
    """Return an annotation of a COCO file."""
    known = {"id": person, "image_id": image, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": crowd}
    return {**known, "keypoints": keypoints}


def save_teacher(
    path: Path,
    keypoints: int = 17,
    batch: int | None = None,
    input_wh: tuple[int, int] = INPUT_WH,
    output: str = "maps",
    metadata: dict[str, str] | None = None,
) -> None:
    """Write a network from (N, 3, h, w) to (N, K, h/4, w/4): one convolution, then an operation named by `output`.

    `maps`: nothing; `constant`, `flat`: no weights, so one value, or one per keypoint; `nan`: the root of what is negative;
    `nan on white`: the same, negative for white crops only; `mean`: the mean over the batch; `reshape`: a shape no crop has.
    """
    random = np.random.default_rng(3)
    weights = random.normal(0, 0.1, (keypoints, 3, 4, 4)).astype(np.float32)
    offsets = random.uniform(0.2, 0.6, keypoints).astype(np.float32)
    if output in ("constant", "flat"):
        weights[:] = 0
    if output == "constant":
        offsets[:] = 0.5
    if output == "nan on white":
        weights[:] = -1 / 48
        offsets[:] = 2.3
    after = {
        "nan": helper.make_node("Sqrt", ["raw"], ["maps"]),
        "nan on white": helper.make_node("Sqrt", ["raw"], ["maps"]),
        "mean": helper.make_node("ReduceMean", ["raw"], ["maps"], axes=[0]),
        "reshape": helper.make_node("Reshape", ["raw", "shape"], ["maps"]),
    }
    nodes = [helper.make_node("Conv", ["crops", "weights", "offsets"], ["raw"], kernel_shape=[4, 4], strides=[4, 4])]
    nodes.append(after.get(output, helper.make_node("Identity", ["raw"], ["maps"])))
    shape = numpy_helper.from_array(np.array([7, 7]), "shape")
    size: int | str = batch or "batch"
    shape_in, shape_out = [size, 3, input_wh[1], input_wh[0]], [size, keypoints, input_wh[1] // 4, input_wh[0] // 4]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, shape_in)],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, shape_out)],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(offsets, "offsets"), shape],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path)


def tree(folder: Path) -> dict[str, str]:
    """Return relative path and SHA-256 of every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def flip_bit(path: Path, at: float = 0.5) -> None:
    """Flip one bit at a share of the file's length."""
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 1
    path.write_bytes(data)
