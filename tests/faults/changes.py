"""What is done to the project by rows of the table of bad input that need more than another value in a file."""

import io
import json
import os
import shutil
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx

from pipeline.pose.spec import OPTIONAL_KEYS
from tests.faults import readers
from tests.faults.table import Change
from tests.fixtures import IMAGE_WH, save_teacher


def boxes_of(*boxes: list[float]) -> Change:
    """Those boxes in turn for everybody in `coco`."""

    def change(folder: Path) -> None:
        path = folder / "annotations/train.json"
        document = json.loads(path.read_text())
        for number, one in enumerate(document["annotations"]):
            one["bbox"] = boxes[number % len(boxes)]
        path.write_text(json.dumps(document))

    return change


def boxes_in_form(form: Callable[[float, float, float, float], list[float]]) -> Change:
    """Everybody's box in `coco` in the form that x, y, width and height have there."""

    def change(folder: Path) -> None:
        path = folder / "annotations/train.json"
        document = json.loads(path.read_text())
        for one in document["annotations"]:
            one["bbox"] = form(*one["bbox"])
        path.write_text(json.dumps(document))

    return change


def linked(name: str, target: str) -> Change:
    """A link in the place of a file."""

    def change(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(folder / target)

    return change


def folder_instead(name: str) -> Change:
    """A folder in the place of a file."""

    def change(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return change


def bit(name: str, byte: int, place: int) -> Change:
    """One bit flipped."""

    def change(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[byte] ^= 1 << place
        (folder / name).write_bytes(data)

    return change


def half_missing(name: str) -> Change:
    """A JPEG without its rest, but with an end mark."""

    def change(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) * 6 // 10] + b"\xff\xd9")

    return change


def copied(source: str, target: str) -> Change:
    """One file in another's place."""
    return lambda folder: shutil.copyfile(folder / source, folder / target)


def jpeg(width: int, height: int) -> bytes:
    """Return a grey JPEG of that size."""
    done, data = cv2.imencode(".jpg", np.full((height, width, 3), 99, np.uint8))
    assert done
    return bytes(data.tobytes())


def pillow(kind: str, mode: str, frames: int = 1) -> Callable[[], bytes]:
    """Return a function that makes an image of the project's size with Pillow, of that many frames."""

    def made() -> bytes:
        from PIL import Image

        stream, random = io.BytesIO(), np.random.default_rng(0)
        width, height = IMAGE_WH
        noise = random.integers(0, 256, (frames, height // 8, width // 8, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
        each = [Image.fromarray(one).convert(mode) for one in noise]
        more = {"save_all": True, "append_images": each[1:]} if frames > 1 else {}
        each[0].save(stream, kind, **more)
        return stream.getvalue()

    return made


def png(width: int, height: int) -> Callable[[], bytes]:
    """A PNG of black, one bit a pixel: 20,000 x 20,000 are 60 kB."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    def made() -> bytes:
        header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
        machine = zlib.compressobj()
        body = b"".join(machine.compress(bytes(1 + (width + 7) // 8)) for _ in range(height)) + machine.flush()
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")

    return made


def teacher(**options: Any) -> Change:
    """Another teacher, see tests.fixtures."""
    return lambda folder: save_teacher(folder / "tiny.onnx", **options)


def weights_elsewhere(location: str) -> Change:
    """The teacher's weights in a file of their own, at that place."""

    def change(folder: Path) -> None:
        model = onnx.load(folder / "tiny.onnx")
        for tensor in model.graph.initializer:
            if tensor.name == "weights":
                tensor.ClearField("raw_data")
                tensor.data_location = onnx.TensorProto.EXTERNAL
                entry = tensor.external_data.add()
                entry.key, entry.value = "location", location
        (folder / "tiny.onnx").write_bytes(model.SerializeToString())

    return change


def student(folder: Path) -> None:
    """An exported student, student.onnx."""
    values = {key: value for key, value in readers.spec_values().items() if key not in OPTIONAL_KEYS}
    carried = {
        "spec": json.dumps(values | {"skeleton": "unified"}),
        "keypoints": json.dumps([f"k{n}" for n in range(17)]),
    }
    save_teacher(folder / "student.onnx", metadata={f"pose_fusion.{key}": value for key, value in carried.items()})


def poses(**changes: Any) -> str:
    """COCO results of two poses, the first with other values, or without those that are None."""
    document = readers.results()
    document[0] = {key: value for key, value in (document[0] | changes).items() if value is not None}
    return json.dumps(document)


class Touching:
    """What unpickles by running a command."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch ran",)


def torch_saved(document: Any) -> Callable[[], bytes]:
    """A file of torch's own."""

    def made() -> bytes:
        import torch

        stream = io.BytesIO()
        torch.save(document, stream)
        return stream.getvalue()

    return made


def tar_of(name: str, link: str = "", length: int | None = None) -> Callable[[], bytes]:
    """An archive of MPII's annotations, of which one file has that name or is a link; or its first bytes."""

    def made() -> bytes:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for each in ("mpii_val.json", "mpii_gt_val.mat", name):
                info = tarfile.TarInfo(each)
                if link and each == name:
                    info.type, info.linkname = tarfile.SYMTYPE, link
                archive.addfile(info)
        return stream.getvalue()[:length]

    return made


def box_of(box: Any) -> str:
    """Return a COCO file of one image with one person in that box."""
    person = {"id": 1, "image_id": 1, "category_id": 1, "bbox": box}
    return json.dumps(
        {
            "images": [{"id": 1, "file_name": "00.jpg"}],
            "categories": [{"id": 1, "name": "person"}],
            "annotations": [person],
        }
    )


def bomb() -> str:
    """YAML of nine lines and a hundred million values."""
    lines = ["seed: 1", "students:", "  a: &a [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]"]
    for this, last in zip("bcdefgh", "abcdefg", strict=True):
        lines.append(f"  {this}: &{this} [{', '.join([f'*{last}'] * 10)}]")
    return "\n".join(lines) + "\n"
