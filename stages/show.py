"""`pipeline show`: one person's views with the truth and the teachers' maps in one picture. Frame mistakes are seen here first."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cache.place import place_of
from pipeline.crops import crop
from pipeline.drawing import draw_maps, draw_pose, sheet
from pipeline.errors import UserError
from pipeline.files import write_atomically
from pipeline.frames import apply, compose, input_from_image
from pipeline.outputs import as_maps, keypoints
from pipeline.people.people import People
from pipeline.people.pictures import read_picture, safe_path
from stages.datasets import TAUGHT, DatasetSettings, dataset_settings, load_people, load_views, named
from stages.stores import open_store, store_place
from stages.teachers import listed_teachers, teach_command, teacher_settings

CROP_WH = (192, 256)
PADDING = 1.4


def run(
    params: dict[str, Any],
    person: int,
    dataset: str | None = None,
    out: Path | None = None,
    say: Callable[[str], None] = print,
    split: str | None = None,
) -> None:
    """Draw a person (of that dataset) and write the sheet; teachers without a store of the split are left out, with a line."""
    known = dataset_settings(params)
    dataset, split, people, row = _find({dataset: named(known, dataset)} if dataset else known, person, split)
    there = known[dataset]
    views = load_views(dataset, split, people)
    picture = read_picture(safe_path(there.images(split), people.image[row]), people.image_wh[row])
    display = input_from_image(views.regions(row, slice(None)), CROP_WH, PADDING, "classic")
    crops = crop(picture, display, CROP_WH)
    columns = {"truth": [_truth(people, row, crops[v], display[v]) for v in range(len(views))]}
    for teacher in listed_teachers(params):
        path = store_place(params, teacher, dataset, split)
        if not place_of(path).exists():
            if split in TAUGHT:
                say(f"{path} does not exist, so teacher {teacher} is left out: run `{teach_command(teacher)}`")
            continue
        block = open_store(params, teacher, dataset, split, people, views).read(slice(row, row + 1))
        spec = teacher_settings(params, teacher).spec
        arrays = block.maps(0, slice(None))
        points, maps = keypoints(arrays, block.image_from_target[0], spec), as_maps(arrays)
        columns[f"teacher {teacher}"] = [
            draw_pose(
                draw_maps(crops[v], spec.skeleton, maps[v], compose(display[v], block.image_from_target[0, v])),
                spec.skeleton,
                apply(display[v], np.nan_to_num(points[v])),
                block.score[0, v] > 0.2,
            )
            for v in range(len(views))
        ]
    rows = [[column[v] for column in columns.values()] for v in range(len(views))]
    labels = [f"view {v}, {kind}, {views.rotation[row, v]:.0f} degrees" for v, kind in enumerate(views.kinds)]
    place = out or Path(f"show-{dataset}-{person}.png")
    write_atomically(place, _encoded(place, sheet(rows, list(columns), labels)))
    say(f"{place}: person {person} of {dataset} {split}, {people.image[row]}")


def _encoded(place: Path, picture: np.ndarray) -> bytes:
    try:
        done, data = cv2.imencode(place.suffix, picture[:, :, ::-1])
    except cv2.error:
        done = False
    if not done:
        raise UserError(f"{place}: cannot be written: name a .png or .jpg file with --out")
    return bytes(data.tobytes())


def _truth(people: People, row: int, crop_: np.ndarray, crop_from_image: np.ndarray) -> np.ndarray:
    return draw_pose(crop_, people.skeleton, apply(crop_from_image, people.keypoints[row]), people.labelled[row])


def _find(datasets: dict[str, DatasetSettings], person: int, only: str | None) -> tuple[str, str, People, int]:
    """Dataset, split, people and row of a person; UserError where there is none of that id, or several."""
    found: list[tuple[str, str, People, int]] = []
    for name, dataset in datasets.items():
        for split in dataset.splits:
            if only in (None, split):
                people = load_people(name, split)
                found += [(name, split, people, int(row)) for row in np.flatnonzero(people.person == person)]
    if len(found) > 1:
        places = " and in ".join(f"{name} {split}" for name, split, *_ in found)
        raise UserError(f"person {person} is in {places}: say which with --dataset and --split")
    if not found:
        name, dataset = next(iter(datasets.items()))
        some = load_people(name, dataset.splits[0])
        examples = ", ".join(str(p) for p in some.person[some.use][:5])
        raise UserError(
            f"no person {person} in {', '.join(datasets)}: some of {name} {dataset.splits[0]} are {examples}"
        )
    return found[0]
