"""Opens files that `pipeline export` wrote. Their metadata hold the spec and the names of the keypoints of any skeleton."""

import json
from pathlib import Path

import onnx

from pipeline.common.errors import UserError
from pipeline.inference.session import Teacher, open_teacher
from pipeline.pose.options import Device
from pipeline.pose.own_skeletons import skeleton_from
from pipeline.pose.spec import METADATA_KEY, NetworkSpec, parse_spec

EXPORT_HINT = "`pipeline export` writes such a file"


def exported_spec(path: Path) -> NetworkSpec:
    """Return the spec in a file's metadata; UserError if the file is absent, not ONNX, or carries no spec."""
    if path.is_dir():
        raise UserError(f"{path} is a folder, expected an ONNX file: run `pipeline export --student {path.name}`")
    if not path.is_file():
        raise UserError(f"{path} does not exist: {EXPORT_HINT}")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise UserError(f"{path}: not a readable ONNX file (truncated, or another format): {EXPORT_HINT}") from error
    carried = {entry.key.removeprefix(METADATA_KEY): entry.value for entry in model.metadata_props}
    if not {"spec", "keypoints"} <= carried.keys():
        raise UserError(
            f"{path}: expected an exported student, which carries its spec and its keypoints' names, found an ONNX file "
            f"without: {EXPORT_HINT}; another network can be a teacher, see `pipeline teacher spec {path}`"
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
    skeleton = skeleton_from(values.get("skeleton"), tuple(map(str, names)), f"{path}: spec.skeleton")
    return parse_spec(values, f"{path}: spec", skeleton)


def open_exported(path: Path, device: Device = "auto", threads: int = 0) -> Teacher:
    """Open an exported student, and compare it with its own spec; UserError if it does not fit."""
    return open_teacher(path.stem, path, exported_spec(path), device, threads)
