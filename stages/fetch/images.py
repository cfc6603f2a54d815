"""`data fetch coco --images LIST`: single images of COCO, each from its own address, for projects that need a few of them."""

import re
from collections.abc import Callable
from pathlib import Path

from pipeline.common.errors import UserError, short_repr
from pipeline.common.locks import exclusive
from pipeline.common.progress import progress
from stages.fetch.catalogue import COCO, Dataset
from stages.fetch.download import download, mirrored
from stages.fetch.places import expect_folder

LINE = re.compile(r"(?:train|val)2017/[0-9]{12}\.jpg")
"""A line of a list: the folder of an image below data/coco, and below COCO's address, with its name."""


def fetch_images(
    dataset: Dataset, listing: Path, root: Path, mirror: str | None, log: Callable[[str], object] = print
) -> None:
    """Download the images that a text file lists, a line each like `val2017/000000000139.jpg`, to the same place below data/coco.

    Images that exist are left as they are. UserError for a list that cannot be read, and for datasets other than COCO, whose images
    have no addresses of their own.
    """
    if dataset.name != "coco":
        raise UserError(
            f"{dataset.name}: its images lie in archives, not at addresses of their own: run `pipeline data fetch {dataset.name}`"
        )
    places = {name: root / "coco" / name for name in _names(listing)}
    for folder in {place.parent for place in places.values()}:
        expect_folder(folder)
    missing = {name: place for name, place in places.items() if not place.is_file()}
    with progress(len(missing), "fetch images", "images") as bar:
        for name, place in missing.items():
            with exclusive(place, remove_lock_file=True):
                if not place.is_file():
                    download(mirrored(COCO + name, mirror), place, log=log)
            bar.update(1)
    log(f"{root / 'coco'}: {len(missing):,} of {len(places):,} images of {listing} fetched, the others were there")


def _names(listing: Path) -> list[str]:
    try:
        lines = listing.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--images {listing}: expected a text file, a line for each image, found none") from error
    names = [line.strip() for line in lines if line.strip()]
    for number, name in enumerate(names, 1):
        if not LINE.fullmatch(name):
            raise UserError(
                f"{listing}: line {number}: expected an image like val2017/000000000139.jpg, found {short_repr(name)}"
            )
    if not names:
        raise UserError(f"{listing}: expected a line for each image, found none")
    return list(dict.fromkeys(names))
