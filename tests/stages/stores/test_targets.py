"""Which stores are opened: those of today's teacher. Of today's people, spec and images: tests/stages/teach/test_teach_forms.py."""

from pathlib import Path

import pytest

from pipeline.common.errors import UserError
from stages.project.datasets import load_people, load_views
from stages.project.project import project_of
from stages.stores.targets import open_target_store
from stages.teach import run as teach
from tests.fixtures import params, save_teacher


def test_a_store_of_another_file_of_the_teacher_is_refused_and_one_without_a_file_is_read(project):
    """The same spec and precision, other bytes. Targets may have travelled without the file."""
    teach.run(project_of(params()), "tiny", "cpu", log=lambda line: None)
    people = load_people("coco", "train")
    wanted = (project_of(params()), "tiny", "coco", "train", people, load_views("coco", "train", people))
    before = open_target_store(*wanted).fingerprint["teacher"]
    save_teacher(Path("tiny.onnx"), metadata={"made": "again"})
    with pytest.raises(UserError) as error:
        open_target_store(*wanted)
    assert str(error.value) == (
        "data/targets/tiny/coco-train.zarr: was made from another file of the teacher than there is now: "
        "run `pipeline teach --teacher tiny`"
    )
    Path("tiny.onnx").unlink()
    assert open_target_store(*wanted).fingerprint["teacher"] == before
