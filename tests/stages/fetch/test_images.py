"""`data fetch coco --images`: single images to where the whole dataset has them, once, and lists that are refused."""

from pathlib import Path

import pytest

from stages.fetch.datasets import fetch_dataset
from tests.stages.fetch.offered import files, refusal

pytestmark = pytest.mark.usefixtures("offered")

TRAIN, VAL = "train2017/000000000009.jpg", "val2017/000000000139.jpg"


def fetch(site, listing: str, name: str = "coco") -> list[str]:
    Path("list.txt").write_text(listing)
    messages: list[str] = []
    fetch_dataset(name, mirror=site.address, log=messages.append, images=Path("list.txt"))
    return messages


def test_listed_images_and_the_annotations_come_and_no_archive_of_images(site, tmp_path):
    site.files |= {f"/{TRAIN}": b"nine", f"/{VAL}": b"139"}
    messages = fetch(site, f"{TRAIN}\n{VAL}\n\n{VAL}\n")
    expected = {
        f"coco/{TRAIN}": b"nine",
        f"coco/{VAL}": b"139",
        "coco/annotations/train.json": b'"train"',
        "coco/annotations/val.json": b'"val"',
    }
    assert files(tmp_path / "data") == expected
    assert "data/coco: 2 of 2 images of list.txt fetched, the others were there" in messages
    requests = len(site.requests)
    assert "data/coco: 0 of 2 images of list.txt fetched, the others were there" in fetch(site, f"{TRAIN}\n{VAL}\n")
    assert (files(tmp_path / "data"), len(site.requests)) == (expected, requests)


def test_an_image_that_the_server_lacks_is_named(site):
    assert "000000000009.jpg: " in refusal(fetch, site, TRAIN)


@pytest.mark.parametrize(
    ("listing", "message"),
    [
        ("", "list.txt: expected a line for each image, found none"),
        (f"{VAL}\n../escape.jpg\n", "list.txt: line 2: expected an image like val2017/000000000139.jpg, found"),
        ("000000000139.jpg", "line 1: expected an image like"),
    ],
)
def test_other_lists_are_refused(site, tmp_path, listing, message):
    assert message in refusal(fetch, site, listing)
    assert not (tmp_path / "data/coco").exists()


def test_a_missing_list_and_datasets_of_archives_are_refused(site):
    message = refusal(fetch_dataset, "coco", mirror=site.address, images=Path("none.txt"))
    assert message == "--images none.txt: expected a text file, a line for each image, found none"
    assert "run `pipeline data fetch mpii`" in refusal(fetch, site, VAL, "mpii")
