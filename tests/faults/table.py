"""What a row of the table of bad input is, and the project that every row damages a copy of."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.faults import readers
from tests.fixtures import make_project, params, write_picture

Change = Callable[[Path], object]
"""What is done to a project folder, which is the current one too."""


@dataclass(frozen=True)
class Row:
    """One bad input."""

    wrong: str
    """In words, for the page."""
    change: Change
    command: str
    """Behind `pipeline`; it is the one that notices."""
    said: str
    """The line on stderr after `error: `, up to what to do."""
    next: str
    """What to do."""
    printed: bool = True
    """Does the line end with that? Where it names a key of params.yaml or one file and nothing else, it needs no more."""

    @property
    def line(self) -> str:
        """All of it."""
        return f"error: {self.said}: {self.next}" if self.printed else f"error: {self.said}"


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
"""Datasets beside `coco`: format, file and score. They are not prepared."""


BOXES = {
    "format": "boxes",
    "annotations": "annotations",
    "train": {"file": "train.json", "images": "pictures", "detections": "detections.json"},
}
"""One more, of rows of its own."""


def project_params(**changes: Any) -> dict[str, Any]:
    """The parameters of the project, with values replaced as in tests.fixtures.params."""
    datasets = {
        name: {
            "format": form,
            "annotations": "annotations",
            "score": score,
            "test": {"file": file, "images": "pictures"} | ({"truth": "truth.mat"} if name == "mpii" else {}),
        }
        for name, (form, file, score) in OTHERS.items()
    }
    found = params(
        students={"one": {"datasets": ["coco"], "teachers": ["tiny"]}},
        baselines={"alone": {"datasets": ["coco"]}},
        distill={
            "width": 8,
            "input": [64, 32],
            "terms": {"truth": 0.5, "tiny": 0.5},
            "training": {"steps": 2, "batch": 2},
        },
    )
    found["datasets"] |= datasets
    for path, value in changes.items():
        *inner, last = path.split("__")
        place = found
        for key in inner:
            place = place.setdefault(key, {})
        place[last] = value
    return found


def make(folder: Path) -> None:
    """The project: `coco` prepared and taught, a student that has learned nothing, files of every other format."""
    from pipeline.networks.build import Student, build, save_student
    from stages import prepare, teach
    from stages.student_settings import network_settings, settings_of, student_spec
    from stages.students import arm_named

    make_project(folder, pictures=4, people=4)
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
        write_picture(folder / "pictures" / name, name)
    silent = {"say": lambda line: None}
    prepare.run(project_params(), "coco", **silent)
    teach.run(project_params(), "tiny", "cpu", **silent)
    name, arm = arm_named(project_params(), "one")
    chosen = settings_of(project_params(), name, arm)
    network, spec = network_settings(chosen), student_spec(project_params(), chosen)
    (folder / "data/students/one").mkdir(parents=True)
    save_student(Student(build(network, spec).eval(), network, spec), folder / "data/students/one", {"arm": vars(arm)})


def write_params(**changes: Any) -> Change:
    """params.yaml with values replaced."""
    return lambda folder: (folder / "params.yaml").write_text(
        yaml.safe_dump(project_params(**changes), sort_keys=False)
    )


def write(name: str, content: bytes | str | Callable[[], bytes]) -> Change:
    """A file with that content."""

    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        found = content() if callable(content) else content
        (folder / name).write_bytes(found.encode() if isinstance(found, str) else found)

    return change


def remove(name: str) -> Change:
    """Without that file or folder."""
    import shutil

    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def recoded(name: str, encoding: str) -> Change:
    """A text file in another encoding than UTF-8."""
    return lambda folder: (folder / name).write_text((folder / name).read_text(encoding="utf-8"), encoding=encoding)


def cut(name: str, share: float) -> Change:
    """A file of which that share is left."""

    def change(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * share)])

    return change


def put(name: str, *place: Any) -> Change:
    """A JSON file with another value, the last one given, where the keys before lead."""
    *path, key, value = place

    def change(folder: Path) -> None:
        document = parent = json.loads((folder / name).read_text())
        for step in path:
            parent = parent[step]
        parent[key] = value
        (folder / name).write_text(json.dumps(document))

    return change


def drop(name: str, *place: Any) -> Change:
    """A JSON file without what those keys lead to."""
    *path, key = place

    def change(folder: Path) -> None:
        document = parent = json.loads((folder / name).read_text())
        for step in path:
            parent = parent[step]
        del parent[key]
        (folder / name).write_text(json.dumps(document))

    return change


def after(*changes: Change) -> Change:
    """One after the other."""

    def change(folder: Path) -> None:
        for each in changes:
            each(folder)

    return change
