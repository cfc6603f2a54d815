"""Opens a teacher's target store: complete, from these people and images, under the teacher's present spec. Also where it is."""

import functools
from pathlib import Path
from typing import Any

from cache.fingerprint import array_digest
from cache.remote import Remote
from cache.targets import TargetStore, open_targets
from pipeline.common.errors import UserError
from pipeline.inference.onnx_file import onnx_digest
from pipeline.people.image_manifest import ImageManifest, read_image_manifest
from pipeline.people.people import People
from pipeline.people.views import Views
from pipeline.pose.spec import NetworkSpec, spec_values
from stages.project.datasets import table_path
from stages.project.project import Project
from stages.project.teachers import TARGETS, store_path, teach_command
from stages.stores.checks import refuse_other_inputs
from stages.stores.pointers import pointer_path, read_pointer


def input_fingerprint(spec: NetworkSpec, people: People, views: Views, manifest: ImageManifest) -> dict[str, Any]:
    """Return the part of a store's fingerprint that does not need the teacher's file: its spec, and a digest of its inputs."""
    skeleton = spec.skeleton
    return {
        "spec": {**spec_values(spec), "skeleton": skeleton.name},
        "keypoints": list(skeleton.keypoints),
        **({"mirror": dict(skeleton.own_mirror)} if skeleton.own_mirror else {}),
        "people": array_digest(
            people.person, people.image, people.image_wh, people.use, views.center, views.size, views.rotation
        ),
        # Stores say "pictures".
        "pictures": array_digest(manifest.name, manifest.sha256),
    }


def store_location(project: Project, teacher: str, dataset: str, split: str) -> Path | Remote:
    """Return where the store is: in data/targets, or under the address that params.yaml names."""
    path, root = store_path(teacher, dataset, split), project.remote_targets
    return path if root is None else Remote(f"{root}/{path.relative_to(TARGETS).as_posix()}")


def open_target_store(
    project: Project, teacher: str, dataset: str, split: str, people: People, views: Views
) -> TargetStore:
    """Open the store; UserError, with the command that makes it, if it was made from other inputs than there are now."""
    path, rebuild_command = store_location(project, teacher, dataset, split), teach_command(teacher)
    pointer = None
    if isinstance(path, Remote):
        pointer = read_pointer(pointer_path(store_path(teacher, dataset, split)), rebuild_command)
        if pointer.store != path:
            raise UserError(
                f"{pointer.file}: expected {path}, as params.yaml says, found {pointer.store}: run `{rebuild_command}`"
            )
    store = open_targets(path, rebuild_command, people.person)
    if pointer:
        pointer.check(store.store.digest, rebuild_command)
    settings = project.teacher(teacher)
    manifest = read_image_manifest(table_path(dataset, split, "pictures"))
    inputs = {"precision": settings.precision, **input_fingerprint(settings.spec, people, views, manifest)}
    refuse_other_inputs(store.store, {"mirror": None, **inputs}, rebuild_command)
    if settings.onnx.is_file() and store.fingerprint.get("teacher") != _digest_of_file(settings.onnx):
        raise UserError(f"{path}: was made from another file of the teacher than there is now: run `{rebuild_command}`")
    return store


def _digest_of_file(onnx: Path) -> str:
    """Return the sha256 of a teacher's file, which is read again only after a change."""
    state = onnx.stat()
    return _digest_of_bytes(onnx.absolute(), state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=16)
def _digest_of_bytes(onnx: Path, *_state: int) -> str:
    return onnx_digest(onnx)
