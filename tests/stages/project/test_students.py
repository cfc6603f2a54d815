"""What a trained student records of its settings, read back."""

import json

import pytest

from pipeline.common.errors import UserError
from stages.project.students import STUDENTS, StudentConfig, recorded_config


@pytest.fixture
def record(tmp_path, monkeypatch):
    """Writes data/students/one/student.json with that content."""
    monkeypatch.chdir(tmp_path)
    (STUDENTS / "one").mkdir(parents=True)
    return lambda content: (STUDENTS / "one/student.json").write_text(json.dumps(content))


def test_a_record_is_read_as_it_was_written(record):
    written = StudentConfig(["coco"], ["tiny"], "replayed", 2, 0.5, 0.1, 2.0, {"width": 8})
    record({"arm": vars(written)})
    assert recorded_config(STUDENTS / "one") == written


def test_a_record_of_an_earlier_version_is_read(record):
    record({"arm": {"datasets": ["coco"], "missing": 0.5, "noisy": 0.1}})
    assert recorded_config(STUDENTS / "one") == StudentConfig(["coco"], label_drop=0.5, label_noise=0.1)


def test_a_record_with_what_was_removed_is_read(record):
    record({"arm": {"datasets": ["coco"], "views": "warped", "distill": {"consistency": 0.05}, "consistency": 0.0}})
    read = recorded_config(STUDENTS / "one")
    assert (read.datasets, read.views) == (["coco"], "replayed")


def test_a_student_without_a_record(record):
    record({})
    assert recorded_config(STUDENTS / "one") is None


def test_an_unknown_key_names_the_file(record):
    record({"arm": {"datasets": ["coco"], "mood": 1}})
    with pytest.raises(
        UserError, match=r"^data/students/one/student\.json: arm: unknown key `mood`: known are datasets"
    ):
        recorded_config(STUDENTS / "one")
