"""Which stores are opened: those of today's teacher. Of today's people, spec and pictures: tests/stages/test_teach_forms.py."""

from pathlib import Path

import pytest

from pipeline.errors import UserError
from stages import teach
from stages.datasets import load_people, load_views
from stages.stores import open_store
from tests.fixtures import params, save_teacher


def test_a_store_of_another_file_of_the_teacher_is_refused_and_one_without_a_file_is_read(project):
    """The same spec and precision, other bytes. Targets may have travelled without the file."""
    teach.run(params(), "tiny", "cpu", say=lambda line: None)
    people = load_people("coco", "train")
    wanted = (params(), "tiny", "coco", "train", people, load_views("coco", "train", people))
    before = open_store(*wanted).fingerprint["teacher"]
    save_teacher(Path("tiny.onnx"), metadata={"made": "again"})
    with pytest.raises(UserError) as error:
        open_store(*wanted)
    assert str(error.value) == (
        "data/targets/tiny/coco-train.zarr: was made from another file of the teacher than there is now: "
        "run `pipeline teach --teacher tiny`"
    )
    Path("tiny.onnx").unlink()
    assert open_store(*wanted).fingerprint["teacher"] == before
