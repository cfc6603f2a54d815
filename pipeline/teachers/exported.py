"""Opening a file that `pipeline export` wrote: its spec and its keypoints' names are in its metadata, whatever skeleton it has."""

import json
from pathlib import Path

import onnx

from pipeline.errors import UserError
from pipeline.skeletons import Skeleton
from pipeline.spec import METADATA_KEY, NetworkSpec, parse_spec
from pipeline.teachers.providers import Device
from pipeline.teachers.session import Teacher, open_teacher

NEXT = "`pipeline export` writes such a file"


def exported_spec(path: Path) -> NetworkSpec:
    """The spec in the file's metadata; UserError where the file is absent, no ONNX, or another's, which carry none."""
    if path.is_dir():
        raise UserError(f"{path} is a folder, expected an ONNX file: run `pipeline export --student {path.name}`")
    if not path.is_file():
        raise UserError(f"{path} does not exist: {NEXT}")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise UserError(f"{path}: not a readable ONNX file (truncated, or another format): {NEXT}") from error
    carried = {entry.key.removeprefix(METADATA_KEY): entry.value for entry in model.metadata_props}
    if not {"spec", "keypoints"} <= carried.keys():
        raise UserError(
            f"{path}: expected a student of ours, which carries its spec and its keypoints' names, found an ONNX file "
            f"without: {NEXT}; somebody else's network can be a teacher, see `pipeline teacher spec {path}`"
        )
    try:
        values, names = json.loads(carried["spec"]), json.loads(carried["keypoints"])
    except ValueError as error:
        raise UserError(f"{path}: the spec it carries is not readable: export it again") from error
    if (
        not isinstance(values, dict)
        or not isinstance(names, list)
        or not names
        or len(set(map(str, names))) < len(names)
    ):
        raise UserError(f"{path}: expected a spec and different names of keypoints in its metadata: export it again")
    skeleton = Skeleton(str(values.get("skeleton")), tuple(map(str, names)))
    return parse_spec(values, f"{path}: spec", skeleton)


def open_exported(path: Path, device: Device = "auto", threads: int = 0) -> Teacher:
    """The exported student, checked against its own spec; UserError says what is wrong."""
    return open_teacher(path.stem, path, exported_spec(path), device, threads)
