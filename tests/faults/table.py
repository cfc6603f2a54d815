"""The rows of the table of bad input: what they consist of, and the project of which each damages a copy."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stages.project.project import project_of
from tests.faults import readers
from tests.fixtures import make_project, params, write_image

Change = Callable[[Path], object]
"""A change of a project folder, which is the current folder too."""


@dataclass(frozen=True)
class Row:
    """One bad input."""

    wrong: str
    """What is wrong, in words for the page."""
    change: Change
    command: str
    """The command, without `pipeline`, that finds the error."""
    message: str
    """The line on stderr after `error: `, up to the remedy."""
    remedy: str
    """What the user has to do."""
    printed: bool = True
    """Whether the line ends with the remedy. It does not if it names a key of params.yaml or one file, which is enough."""

    @property
    def line(self) -> str:
        """The whole line."""
        return f"error: {self.message}: {self.remedy}" if self.printed else f"error: {self.message}"


ANNOTATIONS = Path("annotations")
PREPARE = "prepare --dataset coco"
TEACH = "teach --teacher tiny --device cpu"
DISTILL = "distill --student one --device cpu"

OTHERS = {
    "mpii": ("mpii", "mpii.json", "pckh"),
    "release": ("mpii-release", "release.mat", "pckh"),
    "halpe": ("halpe", "halpe.json", "ap"),
    "aic": ("aic-release", "aic.json", "ap"),
    "crowdpose": ("crowdpose", "crowdpose.json", "ap"),
}
"""Format, file and score of the datasets beside `coco`. They are not prepared."""

BOXES = {
    "format": "boxes",
    "annotations": "annotations",
    "train": {"file": "train.json", "images": "pictures", "detections": "detections.json"},
}
"""A dataset of boxes, for the rows about them."""


def project_params(**changes: Any) -> dict[str, Any]:
    """Return the project's params.yaml as a mapping, with values replaced as in tests.fixtures.params."""
    datasets = {
        name: {
            "format": form,
            "annotations": "annotations",
            "score": score,
            "test": {"file": file, "images": "pictures"} | ({"truth": "truth.mat"} if name == "mpii" else {}),
        }
        for name, (form, file, score) in OTHERS.items()
    }
    changed = params(
        students={"one": {"datasets": ["coco"], "teachers": ["tiny"]}},
        baselines={"alone": {"datasets": ["coco"]}},
        distill={
            "width": 8,
            "input": [64, 32],
            "terms": {"truth": 0.5, "tiny": 0.5},
            "training": {"steps": 2, "batch": 2},
        },
    )
    changed["datasets"] |= datasets
    for path, value in changes.items():
        *inner, last = path.split("__")
        place = changed
        for key in inner:
            place = place.setdefault(key, {})
        place[last] = value
    return changed


def make(folder: Path) -> None:
    """Make the project: `coco` with tables and stores, an untrained student, and files of every other format."""
    from pipeline.networks.build import Student, build_network, save_student
    from stages import prepare
    from stages.students.settings import network_settings, settings_of, student_spec
    from stages.teach import run as teach

    make_project(folder, images=4, people=4)
    write_params()(folder)
    files = {
        "mpii.json": json.dumps(readers.mpii()).encode(),
        "truth.mat": readers.truth(),
        "release.mat": readers.release(),
        "halpe.json": json.dumps(readers.halpe()).encode(),
        "aic.json": json.dumps(readers.aic_release()).encode(),
        "crowdpose.json": json.dumps(readers.crowdpose()).encode(),
        "detections.json": json.dumps(readers.detections()).encode(),
    }
    for name, content in files.items():
        (folder / ANNOTATIONS / name).write_bytes(content)
    for name in ("p.jpg", "q.jpg", "a.jpg", "b.jpg", "abc.jpg"):
        write_image(folder / "pictures" / name, name)
    project = project_of(project_params())
    prepare.run(project, "coco", log=lambda line: None)
    teach.run(project, "tiny", "cpu", log=lambda line: None)
    name, student = project.student("one")
    settings = settings_of(project, name, student)
    network, spec = network_settings(settings), student_spec(project, settings)
    place = folder / "data/students/one"
    place.mkdir(parents=True)
    save_student(Student(build_network(network, spec).eval(), network, spec), place, {"arm": vars(student)})


def write_params(**changes: Any) -> Change:
    """Write params.yaml with values replaced."""
    return lambda folder: (folder / "params.yaml").write_text(
        yaml.safe_dump(project_params(**changes), sort_keys=False)
    )


def write(name: str, content: bytes | str | Callable[[], bytes]) -> Change:
    """Write a file with that content."""

    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        data = content() if callable(content) else content
        (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)

    return change


def remove(name: str) -> Change:
    """Remove a file or folder."""
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def recoded(name: str, encoding: str) -> Change:
    """Write a text file in another encoding than UTF-8."""
    return lambda folder: (folder / name).write_text((folder / name).read_text(encoding="utf-8"), encoding=encoding)


def cut(name: str, share: float) -> Change:
    """Cut a file to that share of its bytes."""

    def change(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * share)])

    return change


def put(name: str, *place: Any) -> Change:
    """Put a value, the last argument, into a JSON file at the keys before it."""
    *path, key, value = place
    return _edited(name, path, lambda parent: parent.__setitem__(key, value))


def drop(name: str, *place: Any) -> Change:
    """Remove from a JSON file the value at those keys."""
    *path, key = place
    return _edited(name, path, lambda parent: parent.__delitem__(key))


def _edited(name: str, path: Sequence[Any], edit: Callable[[Any], None]) -> Change:
    """Edit what is at `path` in a JSON file."""

    def change(folder: Path) -> None:
        document = parent = json.loads((folder / name).read_text())
        for step in path:
            parent = parent[step]
        edit(parent)
        (folder / name).write_text(json.dumps(document))

    return change


def after(*changes: Change) -> Change:
    """Make several changes, one after the other."""

    def change(folder: Path) -> None:
        for part in changes:
            part(folder)

    return change
