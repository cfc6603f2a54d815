"""What params.yaml names: each gap with its next command, and one bad entry never hides another."""

import shutil
from pathlib import Path

import pytest

from stages import prepare
from stages.doctor.inventory import inventory
from stages.project.project import project_of
from stages.teach import run as teach
from tests.fixtures import params, save_teacher

FILES, TABLES, TEACHER, STORES = "dataset coco", "dataset coco, prepared", "teacher tiny", "teacher tiny, stores"
ARMS = {"students": {"a": {"datasets": ["coco"], "teachers": ["tiny"]}}, "baselines": {"b": {"datasets": ["coco"]}}}


def found(values) -> dict[str, str]:
    """What of each entry there is, gaps after a `gap: `."""
    return {entry.name: ("" if entry.complete else "gap: ") + entry.state for entry in inventory(project_of(values))}


def test_everything_is_there(taught):
    for name in "ab":
        Path("data/students", name).mkdir(parents=True)
        Path("data/students", name, "student.safetensors").touch()
    size = Path("tiny.onnx").stat().st_size / 1e6
    assert found(params(**ARMS)) == {
        FILES: "1 annotation file, 1 image folder",
        TABLES: "6 tables",
        TEACHER: f"tiny.onnx, {size:.1f} MB",
        STORES: "2 stores complete",
        "student a": "data/students/a",
        "student b": "data/students/b",
    }


def test_nothing_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert found(params(**ARMS)) == {
        FILES: "gap: annotations/train.json is missing (and 1 more): "
        "run `pipeline data fetch coco`, or correct datasets.coco in params.yaml",
        TABLES: "gap: data/people/coco/train-people.parquet is missing (and 5 more): run `pipeline prepare --dataset coco`",
        TEACHER: "gap: tiny.onnx is missing: "
        "put the file there, or run `pipeline teacher fetch` for the list of published ones",
        STORES: "gap: 0 of 2 complete: data/targets/tiny/coco-train.zarr: no such target store: "
        "run `pipeline teach --teacher tiny`",
        "student a": "gap: data/students/a is missing: run `pipeline distill --student a`",
        "student b": "gap: data/students/b is missing: run `pipeline distill --student b`",
    }


def test_the_sample_is_drawn_and_other_data_is_brought(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changed = params(datasets__coco__annotations="data/sample/coco/annotations")
    assert found(changed)[FILES].endswith(
        "coco/annotations/train.json is missing (and 1 more): run `pipeline data sample`"
    )
    changed["sample"] = {"folder": "elsewhere"}
    assert found(changed)[FILES].endswith("run `pipeline data fetch coco`, or correct datasets.coco in params.yaml")
    changed["datasets"] = {"mine": changed["datasets"]["coco"]}
    assert found(changed)["dataset mine"].endswith(": put it there, or correct datasets.mine in params.yaml")


def test_every_file_of_a_dataset_counts(unprepared):
    part = {"file": "train.json", "images": "pictures", "truth": "heads.mat", "detections": "boxes.json"}
    changed = params(datasets__coco__test=part)
    assert found(changed)[FILES].startswith("gap: annotations/heads.mat is missing (and 1 more): ")
    for name in ("heads.mat", "boxes.json"):
        Path("annotations", name).touch()
    assert found(changed)[FILES] == "4 annotation files, 1 image folder"
    assert found(changed)[TABLES].startswith("gap: data/people/coco/train-people.parquet is missing (and 8 more)")
    for image in Path("pictures").iterdir():
        image.unlink()
    assert found(changed)[FILES].startswith("gap: pictures is missing or empty: ")


def test_a_teacher_that_is_fitted_here(unprepared):
    Path("tiny.onnx").unlink()
    assert (
        found(params(fit={"teachers": ["tiny"]}))[TEACHER]
        == "gap: tiny.onnx is missing: run `pipeline fit --teacher tiny`"
    )


RTMPOSE = {"teachers__tiny__kind": "simcc", "teachers__tiny__affine": "classic"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {**RTMPOSE, "teachers__tiny__skeleton": "mpii16", "teachers__tiny__input": [256, 256]},
            "fetch rtmpose-m-mpii` and",
        ),
        (
            {**RTMPOSE, "teachers__tiny__input": [256, 192]},
            "fetch rtmpose-t-coco` (or rtmpose-s-coco, rtmpose-m-coco, rtmpose-l-coco) and",
        ),
        (
            {"teachers__tiny__input": [256, 192]},
            "fetch hrnet-w32-coco` (or hrnet-w48-coco, resnet-50-coco, resnet-101-coco) and",
        ),
    ],
    ids=["one", "SimCC", "heatmaps"],
)
def test_a_teacher_that_is_published_like_that(unprepared, changes, message):
    Path("tiny.onnx").unlink()
    assert found(params(**changes))[TEACHER] == (
        f"gap: tiny.onnx is missing: put the file there, or run `pipeline teacher {message} then the import that it prints"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "tiny.onnx is empty: put the file there again"),
        (b"junk" * 10, "tiny.onnx: not a readable ONNX file (truncated, or another format): put it there again"),
    ],
)
def test_a_file_that_is_no_teacher(unprepared, content, message):
    Path("tiny.onnx").write_bytes(content)
    assert found(params())[TEACHER] == f"gap: {message}"


def test_a_teacher_of_a_dataset_that_is_not_there(unprepared):
    row = found(params(teachers__tiny__dataset="cooco"))[TEACHER]
    assert row == "gap: params.yaml: unknown dataset `cooco`: expected one of coco"


def test_stores_of_another_file_of_the_teacher(taught):
    save_teacher(Path("tiny.onnx"), metadata={"note": "exported again"})
    assert found(params())[STORES] == (
        "gap: 0 of 2 complete: data/targets/tiny/coco-train.zarr: was made from another file of the teacher than there is now: "
        "run `pipeline teach --teacher tiny`"
    )
    Path("tiny.onnx").unlink()
    assert found(params())[STORES] == "2 stores complete"


def test_a_split_of_nobody_needs_no_store(unprepared):
    nobody = params(prepare__validation=0)
    prepare.run(project_of(nobody), log=lambda line: None)
    teach.run(project_of(nobody), "tiny", "cpu", log=lambda line: None)
    assert not Path("data/targets/tiny/coco-validation.zarr").exists()
    assert found(nobody)[STORES] == "1 store complete"


@pytest.mark.parametrize(
    ("spoil", "changes", "message"),
    [
        (lambda store: (store / "manifest.json").unlink(), {}, "coco-train.zarr: it is not finished: run `pipeline teach"),
        (lambda store: None, {"teachers__tiny__padding": 1.0}, "coco-train.zarr: was made from other spec than there are now"),
        (lambda store: shutil.rmtree("data/people"), {}, "coco/train-people.parquet: expected a people table, found no file: run"),
        (lambda store: Path("data/people/coco/train-people.parquet").write_bytes(b"PAR1"), {}, "found a file that is no Parquet"),
    ],
    ids=["unfinished", "other spec", "no tables", "damaged table"],
)  # fmt: skip
def test_stores_that_are_not_what_they_should_be(taught, spoil, changes, message):
    spoil(Path("data/targets/tiny/coco-train.zarr"))
    row = found(params(**changes))[STORES]
    assert row.startswith("gap: ") and message in row


def test_one_bad_entry_hides_no_other(unprepared):
    teachers = {"bad": {"onnx": 3}, **params()["teachers"], "worse": "text"}
    rows = found(params(teachers=teachers, students={"a": 1}))
    assert rows["teacher bad"].startswith("gap: params.yaml: teachers.bad.onnx: expected a text")
    assert rows["teacher worse"].startswith("gap: params.yaml: teachers.worse: expected a mapping")
    assert rows[TEACHER].startswith("tiny.onnx") and rows[FILES] == "1 annotation file, 1 image folder"
    assert rows["students"].startswith("gap: params.yaml: students.a: expected a mapping")


@pytest.mark.parametrize(
    ("changes", "what", "message"),
    [
        ({"datasets": {"coco": {"format": "yolo"}}}, "datasets", "params.yaml: datasets.coco."),
        ({"datasets": None}, "datasets", "params.yaml: datasets: expected at least one dataset"),
        (
            {"teachers": ["tiny"]},
            "teachers",
            "params.yaml: teachers: expected names with their settings, found ['tiny']",
        ),
        ({"students": None}, "students", "params.yaml: students: expected at least one"),
    ],
)
def test_a_section_that_cannot_be_read(unprepared, changes, what, message):
    rows = found(params(**changes))
    assert rows[what].startswith(f"gap: {message}")
    assert (TEACHER in rows) == ("teachers" not in changes)


def test_what_no_reader_foresees_is_one_line(unprepared, monkeypatch):
    def fail(*_):
        raise RuntimeError("a\nb")

    monkeypatch.setattr("stages.project.project.parse_teacher", fail)
    assert found(params())[TEACHER] == "gap: RuntimeError: a b"
