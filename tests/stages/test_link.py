"""`link`: which files of a dataset DVC tracks, and what is said where one is missing."""

from pathlib import Path

import pytest

from pipeline.common.errors import UserError
from stages import link
from stages.project.project import Project, project_of
from tests.fixtures import params

PART = {"file": "train.json", "images": "pictures"}


def project(**parts: dict[str, object]) -> Project:
    return project_of(params(datasets__coco={**params()["datasets"]["coco"], **parts}))


def links() -> dict[str, str]:
    return {file.name: file.resolve().name for file in sorted(Path("data/annotations/coco").iterdir())}


def test_every_named_file_is_linked_once(unprepared: Path) -> None:
    for name in ("test.json", "found.json", "unrelated.json", "pictures.sha256"):
        Path("annotations", name).write_text("{}")
    test = {"file": "test.json", "images": "pictures", "detections": "found.json"}
    said: list[str] = []
    link.run(project(train=PART, test=test), log=said.append)
    expected = {"train-annotations.json": "train.json", "test-annotations.json": "test.json"}
    expected |= {"test-detections.json": "found.json", "images-0.sha256": "pictures.sha256"}
    assert links() == expected
    assert said == [f"data/annotations/coco: {', '.join(expected)}"]
    Path("annotations/pictures.sha256").unlink()
    link.run(project(train=PART, test={"share": 0.2}), log=said.append)
    assert links() == {"train-annotations.json": "train.json"}


def test_a_list_of_images_is_linked_from_the_projects_folder(unprepared: Path) -> None:
    Path("some.txt").write_text("1.jpg\n")
    link.run(project(train={**PART, "only": "some.txt"}, test={"share": 0.2}), log=lambda line: None)
    assert links() == {"train-annotations.json": "train.json", "train-only.txt": "some.txt"}


def test_a_full_path_needs_no_folder(unprepared: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Path("annotations/train.json").rename(elsewhere / "people.json")
    entry = {"format": "coco", "score": "ap", "train": {"file": str(elsewhere / "people.json"), "images": "pictures"}}
    link.run(project_of(params(datasets={"coco": entry})), log=lambda line: None)
    assert links() == {"train-annotations.json": "people.json"}


def test_a_missing_file_is_named_and_earlier_links_stay(unprepared: Path) -> None:
    link.run(project(train=PART), log=lambda line: None)
    with pytest.raises(UserError, match=r"^datasets\.coco\.test: annotations/none\.json does not exist: "):
        link.run(project(train=PART, test={"file": "none.json", "images": "pictures"}), log=lambda line: None)
    assert links() == {"train-annotations.json": "train.json"}
