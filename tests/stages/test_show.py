"""`show`: one person's views in one image, and the messages where something is missing."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.common.errors import UserError
from stages import prepare, show
from stages.project.project import project_of
from tests.fixtures import CROWD, params

CROP_WH = (192, 256)


def shown(person: int = 0, out: str | None = None, changed: dict | None = None) -> tuple[np.ndarray, list[str]]:
    """The image and the messages."""
    lines: list[str] = []
    show.run(project_of(changed or params()), person, "coco", Path(out) if out else None, lines.append)
    return cv2.imread(out or f"show-coco-{person}.png"), lines


def refusal(*arguments) -> str:
    with pytest.raises(UserError) as error:
        shown(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_row_per_view_and_a_column_per_teacher(taught):
    image, lines = shown()
    assert lines == ["show-coco-0.png: person 0 of coco train, 00.jpg"]
    (height, width), columns, rows = image.shape[:2], 2, 2
    assert columns * CROP_WH[0] < width < columns * (CROP_WH[0] + 10) and rows * CROP_WH[1] < height < rows * (
        CROP_WH[1] + 40
    )


def test_a_teacher_without_a_store_is_left_out_with_a_line(project):
    image, lines = shown()
    assert lines[0] == (
        "data/targets/tiny/coco-train.zarr does not exist, so teacher tiny is left out: run `pipeline teach --teacher tiny`"
    )
    assert CROP_WH[0] < image.shape[1] < CROP_WH[0] + 20


def test_the_teachers_column_differs_from_the_truths(taught):
    image, _ = shown()
    half = image.shape[1] // 2
    left, right = image[30 : CROP_WH[1], 10 : half - 10], image[30 : CROP_WH[1], half + 10 : half + 10 + half - 20]
    assert np.abs(left.astype(int) - right).mean() > 5


def test_out_makes_its_folder(taught):
    image, lines = shown(4, "deep/down/four.png")
    assert image is not None and lines[0].startswith("deep/down/four.png: person 4 of coco ")


@pytest.mark.parametrize("person", [CROWD])
def test_people_not_in_use_can_be_looked_at(taught, person):
    assert shown(person)[1] == [f"show-coco-{person}.png: person {person} of coco train, unused.jpg"]


def test_an_unknown_person_names_some(taught):
    assert refusal(999) == "no person 999 in coco: some of coco train are 0, 1, 2, 3, 4"


@pytest.mark.parametrize("out", ["a.xyz", "noextension"])
def test_a_file_that_is_no_image(taught, out):
    message = refusal(0, out)
    assert message.startswith(f"{out}: ") and message.endswith(": name a .png or .jpg file with --out")


def test_without_tables_it_names_prepare(unprepared):
    assert refusal().endswith("run `pipeline prepare`")


def test_a_store_of_other_views_is_refused(taught):
    """The same people in other regions: its maps belong to crops that are no longer there."""
    prepare.run(project_of(params(prepare__rotation=10)), log=lambda line: None)
    assert refusal().endswith("run `pipeline teach --teacher tiny`")


def test_a_store_of_fewer_views_is_refused(taught):
    prepare.run(project_of(params(prepare__views=4)), log=lambda line: None)
    assert refusal().endswith("run `pipeline teach --teacher tiny`")
