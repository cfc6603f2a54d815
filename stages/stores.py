"""What a teacher's store is made from, and opening one: complete, of these people and pictures, under the teacher's spec of today."""

import functools
import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from cache.remote import Remote
from cache.targets import TargetStore, open_targets
from pipeline.errors import UserError
from pipeline.people.manifest import Manifest, read_manifest
from pipeline.people.people import People
from pipeline.spec import NetworkSpec, spec_values
from pipeline.teachers import onnx_file
from pipeline.views import Views
from stages.datasets import table_path
from stages.params import remote_targets
from stages.pointers import pointer_path, read_pointer
from stages.teachers import TARGETS, store_path, teach_command, teacher_settings


def shown_to(spec: NetworkSpec, people: People, views: Views, manifest: Manifest) -> dict[str, Any]:
    """The part of a store's fingerprint that can be told without the teacher's file: its spec, and what it is shown."""
    return {
        "spec": spec_values(spec),
        "keypoints": list(spec.skeleton.keypoints),
        "people": digest(
            people.person, people.image, people.image_wh, people.use, views.center, views.size, views.rotation
        ),
        "pictures": digest(manifest.name, manifest.sha256),
    }


def digest(*arrays: np.ndarray) -> str:
    """sha256 over arrays of numbers or texts."""
    total = hashlib.sha256()
    for array in arrays:
        plain = np.ascontiguousarray(array.astype(str) if array.dtype == object else array)
        total.update(f"{plain.dtype.kind}{plain.shape}".encode())
        total.update("\0".join(plain.tolist()).encode() if plain.dtype.kind == "U" else plain.tobytes())
    return total.hexdigest()


def store_place(params: dict[str, Any], teacher: str, dataset: str, split: str) -> Path | Remote:
    """Where the store lies: in data/targets, or below the address that params.yaml names."""
    path, root = store_path(teacher, dataset, split), remote_targets(params)
    return path if root is None else Remote(f"{root}/{path.relative_to(TARGETS).as_posix()}")


def open_store(
    params: dict[str, Any], teacher: str, dataset: str, split: str, people: People, views: Views
) -> TargetStore:
    """The store; UserError, with the command that makes it, where it was made from something else than there is now."""
    path, again = store_place(params, teacher, dataset, split), teach_command(teacher)
    pointer = None if isinstance(path, Path) else read_pointer(pointer_path(store_path(teacher, dataset, split)), again)
    if pointer and pointer.store != path:
        raise UserError(f"{pointer.file}: expected {path}, as params.yaml says, found {pointer.store}: run `{again}`")
    store = open_targets(path, again, people.person)
    if pointer:
        pointer.check(store.store.digest, again)
    wanted = teacher_settings(params, teacher)
    shown = shown_to(wanted.spec, people, views, read_manifest(table_path(dataset, split, "pictures")))
    now = {"precision": wanted.precision, **shown}
    changed = [key for key, value in now.items() if store.fingerprint.get(key) != value]
    if changed:
        raise UserError(f"{path}: was made from other {' and '.join(changed)} than there are now: run `{again}`")
    if wanted.onnx.is_file() and store.fingerprint.get("teacher") != _digest_of_file(wanted.onnx):
        raise UserError(f"{path}: was made from another file of the teacher than there is now: run `{again}`")
    return store


def _digest_of_file(onnx: Path) -> str:
    """sha256 of a teacher, read once as long as nobody touches it. Targets may also have travelled without one."""
    found = onnx.stat()
    return _digest_of_bytes(onnx.absolute(), found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=16)
def _digest_of_bytes(onnx: Path, *_state: int) -> str:
    return onnx_file.digest(onnx)
