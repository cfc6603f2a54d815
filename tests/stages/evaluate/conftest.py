"""The project of colours_project.py, made once."""

import shutil
from pathlib import Path

import pytest
import torch

from pipeline.networks.build import save_student
from stages import prepare
from stages.project.project import project_of
from tests.colours import make_colour_dataset, save_colour_teacher
from tests.fixtures import make_project
from tests.stages.evaluate.colours_project import PEOPLE, PICTURES, tiny_student, with_test_part, write_boxes


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        make_project(place)
        make_colour_dataset(place, PICTURES, PEOPLE)
        save_colour_teacher(place / "tiny.onnx")
        write_boxes(place, PICTURES)
        prepare.run(project_of(with_test_part()), log=lambda line: None)
        for n, name in enumerate(("one", "two")):
            (place / "data/students" / name).mkdir(parents=True)
            save_student(tiny_student(n), place / "data/students" / name, {})
    return place


@pytest.fixture
def colours(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(made, tmp_path, dirs_exist_ok=True)
