"""Stage `prepare`: annotation files to tables of people, views and pictures, one set per dataset and split."""

import dataclasses
import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cache.lock import exclusive
from pipeline.errors import UserError
from pipeline.files import replace_folder
from pipeline.people.aic import read_aic, read_aic_release
from pipeline.people.boxes import read_boxes
from pipeline.people.coco import read_coco
from pipeline.people.crowdpose import read_crowdpose
from pipeline.people.halpe import read_halpe
from pipeline.people.manifest import picture_manifest, write_manifest
from pipeline.people.mpii import read_mpii_json
from pipeline.people.mpii_release import read_mpii_release
from pipeline.people.people import People
from pipeline.people.pictures import picture_size, safe_path
from pipeline.people.split import split_by_picture
from pipeline.people.table import write_people
from pipeline.views import draw_views, write_views
from stages.datasets import (
    PEOPLE,
    TEST,
    TRAIN,
    VALIDATION,
    DatasetSettings,
    Part,
    PrepareSettings,
    advised,
    dataset_settings,
    named,
)
from stages.params import settings
from stages.progress import progress


def run(params: dict[str, Any], dataset: str | None = None, say: Callable[[str], None] = print) -> None:
    """Prepare one dataset, or all. UserError for a file that cannot be used; what an earlier run prepared is then left as it is."""
    datasets = dataset_settings(params)
    chosen = settings(params, "prepare", PrepareSettings)
    seed = int(params.get("seed", 0))
    for name in [dataset] if dataset else datasets:
        _prepare(name, named(datasets, name), chosen, seed, say)


def read_part(dataset: DatasetSettings, part: Part) -> People:
    """The people of one annotation file."""
    folder = Path(dataset.annotations)
    path = folder / part.file
    if dataset.format == "coco":
        return read_coco(path)
    if dataset.format == "halpe":
        return read_halpe(path)
    if dataset.format == "aic":
        return read_aic(path)
    if dataset.format == "aic-release":
        return read_aic_release(path)
    if dataset.format == "crowdpose":
        return read_crowdpose(path)
    if dataset.format == "boxes":
        return read_boxes(path, folder / part.detections if part.detections else None, part.box_score)
    if dataset.format == "mpii-release":
        return read_mpii_release(path)
    return read_mpii_json(path, folder / part.truth if part.truth else None)


def _prepare(
    name: str, dataset: DatasetSettings, chosen: PrepareSettings, seed: int, say: Callable[[str], None]
) -> None:
    tables: dict[str, People] = {}
    if dataset.train:
        people = _read(name, dataset, TRAIN)
        train, validation = split_by_picture(people, chosen.validation, seed)
        tables[TRAIN], tables[VALIDATION] = people.rows(train), people.rows(validation)
    if dataset.test:
        tables[TEST] = _read(name, dataset, TEST)
    if not tables:
        raise UserError(f"params.yaml: datasets.{name}: expected a `train` or a `test` part, found neither")
    for split, people in tables.items():
        if split != VALIDATION and not people.use.any():
            raise UserError(
                f"datasets.{name}: expected people to learn from in its {split} part, found none of {len(people)} usable: "
                f"mend its annotations or params.yaml, then run `pipeline prepare --dataset {name}`"
            )
    with exclusive(PEOPLE / name, passing=True):
        _write(name, dataset, tables, chosen, seed)
    _report(name, dataset, tables, say)


def _write(name: str, dataset: DatasetSettings, tables: dict[str, People], chosen: PrepareSettings, seed: int) -> None:
    """People, views and pictures of each split, aside and then in place."""
    place = PEOPLE / name
    aside = place.with_name(name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        for split, people in tables.items():
            write_people(people, aside / f"{split}-people.parquet")
            write_views(draw_views(people, chosen.views, seed, chosen.rotation), aside / f"{split}-views.parquet")
            names = np.unique(people.image).tolist()
            with advised(name), progress(len(names), f"{name} {split}: hashing pictures", "pictures") as bar:
                manifest = picture_manifest(dataset.images(split), names, advance=functools.partial(bar.update, 1))
            write_manifest(manifest, aside / f"{split}-pictures.parquet")
        replace_folder(aside, place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _read(name: str, dataset: DatasetSettings, split: str) -> People:
    """The people of the file that a split is from, with the sizes of their pictures."""
    part = dataset.test if split == TEST else dataset.train
    assert part is not None
    path = Path(dataset.annotations) / part.file
    if not path.is_file():
        state = "is a folder, expected a file" if path.is_dir() else "does not exist"
        raise UserError(
            f"datasets.{name}.{split}: {path} {state}: for the built-in sample run `pipeline data sample`, else mend params.yaml"
        )
    with advised(name):
        people = read_part(dataset, part)
    if not dataset.images(split).is_dir():
        raise UserError(f"datasets.{name}: picture folder {dataset.images(split)} does not exist: mend params.yaml")
    with advised(name):
        return _with_sizes(people, dataset.images(split), name)


def _with_sizes(people: People, folder: Path, name: str) -> People:
    """Picture sizes from the files where the annotations state none."""
    if (people.image_wh > 0).all():
        return people
    names, where = np.unique(people.image, return_inverse=True)
    sizes = np.zeros((len(names), 2), np.int32)
    with progress(len(names), f"{name}: reading picture sizes", "pictures") as bar:
        for n, image in enumerate(names):
            sizes[n] = picture_size(safe_path(folder, image))
            bar.update(1)
    return dataclasses.replace(people, image_wh=sizes[where])


def _report(name: str, dataset: DatasetSettings, tables: dict[str, People], say: Callable[[str], None]) -> None:
    for split, people in tables.items():
        pictures = len(np.unique(people.image))
        say(f"{name} {split}: {int(people.use.sum())} people in use of {len(people)}, {pictures} pictures")
    if not dataset.labelled:
        say(f"{name}: boxes without labels: a student learns from the teachers alone here")
        return
    say(f"{name}: labelled keypoints of people in use ({', '.join(tables)})")
    width = max(map(len, dataset.skeleton.keypoints))
    for k, keypoint in enumerate(dataset.skeleton.keypoints):
        counts = " ".join(f"{int(people.labelled[people.use, k].sum()):>8}" for people in tables.values())
        say(f"  {keypoint:<{width}} {counts}")
