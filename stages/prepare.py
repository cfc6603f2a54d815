"""Stage `prepare`: from annotation files to tables of people, views and images, one of each per dataset and split."""

import dataclasses
import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.common.errors import UserError
from pipeline.common.files import replace_folder
from pipeline.common.locks import exclusive
from pipeline.common.progress import progress
from pipeline.datasets.aic import read_aic, read_aic_release
from pipeline.datasets.boxes import read_boxes
from pipeline.datasets.coco import read_coco
from pipeline.datasets.crowdpose import read_crowdpose
from pipeline.datasets.halpe import read_halpe
from pipeline.datasets.mpii import read_mpii_json
from pipeline.datasets.mpii_release import read_mpii_release
from pipeline.people.image_manifest import build_image_manifest, write_image_manifest
from pipeline.people.images import image_size, safe_path
from pipeline.people.people import People
from pipeline.people.split import split_by_image
from pipeline.people.table import write_people
from pipeline.people.views import draw_views, write_views
from stages.project.datasets import (
    PEOPLE_FOLDER,
    TEST,
    TRAIN,
    VALIDATION,
    AnnotationFile,
    DatasetSettings,
    PrepareSettings,
    with_prepare_hint,
)
from stages.project.project import Project

READERS: dict[str, Callable[[Path], People]] = {
    "aic": read_aic,
    "aic-release": read_aic_release,
    "coco": read_coco,
    "crowdpose": read_crowdpose,
    "halpe": read_halpe,
    "mpii-release": read_mpii_release,
}
"""Readers of the formats that are one file."""


def run(project: Project, dataset: str | None = None, log: Callable[[str], None] = print) -> None:
    """Prepare one dataset, or all. UserError for a file that cannot be used; the tables of an earlier run are then left unchanged."""
    datasets = project.datasets
    settings = project.section("prepare", PrepareSettings)
    for name in [dataset] if dataset else datasets:
        _prepare(name, project.dataset(name), settings, project.seed, log)


def read_annotation_file(dataset: DatasetSettings, file: AnnotationFile) -> People:
    """Read the people of an annotation file of the dataset's format."""
    folder = Path(dataset.annotations)
    path = folder / file.file
    if dataset.format == "boxes":
        return read_boxes(path, folder / file.detections if file.detections else None, file.box_score)
    if dataset.format == "mpii":
        return read_mpii_json(path, folder / file.truth if file.truth else None)
    return READERS[dataset.format](path)


def _prepare(
    name: str, dataset: DatasetSettings, settings: PrepareSettings, seed: int, log: Callable[[str], None]
) -> None:
    tables: dict[str, People] = {}
    if dataset.train:
        people = _read(name, dataset, TRAIN)
        train, validation = split_by_image(people, settings.validation, seed)
        tables[TRAIN], tables[VALIDATION] = people.rows(train), people.rows(validation)
    if dataset.test:
        tables[TEST] = _read(name, dataset, TEST)
    if not tables:
        raise UserError(f"params.yaml: datasets.{name}: expected a `train` or a `test` part, found neither")
    for split, people in tables.items():
        if split != VALIDATION and not people.use.any():
            raise UserError(
                f"datasets.{name}: expected people to learn from in its {split} part, found none of {len(people)} usable: "
                f"correct its annotations or params.yaml, then run `pipeline prepare --dataset {name}`"
            )
    with exclusive(PEOPLE_FOLDER / name, remove_lock_file=True):
        _write(name, dataset, tables, settings, seed)
    _report(name, dataset, tables, log)


def _write(
    name: str, dataset: DatasetSettings, tables: dict[str, People], settings: PrepareSettings, seed: int
) -> None:
    """Write people, views and image manifest of each split to a folder aside, then move that to its place."""
    place = PEOPLE_FOLDER / name
    aside = place.with_name(name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        for split, people in tables.items():
            write_people(people, aside / f"{split}-people.parquet")
            write_views(draw_views(people, settings.views, seed, settings.rotation), aside / f"{split}-views.parquet")
            names = np.unique(people.image).tolist()
            with with_prepare_hint(name), progress(len(names), f"{name} {split}: hashing images", "images") as bar:
                manifest = build_image_manifest(dataset.images(split), names, advance=functools.partial(bar.update, 1))
            write_image_manifest(manifest, aside / f"{split}-pictures.parquet")
        replace_folder(aside, place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _read(name: str, dataset: DatasetSettings, split: str) -> People:
    """Read the people of the file that a split comes from, with the sizes of their images."""
    file = dataset.annotation_file(split)
    path = Path(dataset.annotations) / file.file
    if not path.is_file():
        state = "is a folder, expected a file" if path.is_dir() else "does not exist"
        raise UserError(
            f"datasets.{name}.{split}: {path} {state}: for the built-in sample run `pipeline data sample`, else correct params.yaml"
        )
    with with_prepare_hint(name):
        people = read_annotation_file(dataset, file)
    if not dataset.images(split).is_dir():
        raise UserError(f"datasets.{name}: image folder {dataset.images(split)} does not exist: correct params.yaml")
    with with_prepare_hint(name):
        return _with_sizes(people, dataset.images(split), name)


def _with_sizes(people: People, folder: Path, name: str) -> People:
    """Return the people with image sizes, read from the image files if the annotations lack any."""
    if (people.image_wh > 0).all():
        return people
    names, where = np.unique(people.image, return_inverse=True)
    sizes = np.zeros((len(names), 2), np.int32)
    with progress(len(names), f"{name}: reading image sizes", "images") as bar:
        for n, image in enumerate(names):
            sizes[n] = image_size(safe_path(folder, image))
            bar.update(1)
    return dataclasses.replace(people, image_wh=sizes[where])


def _report(name: str, dataset: DatasetSettings, tables: dict[str, People], log: Callable[[str], None]) -> None:
    for split, people in tables.items():
        images = len(np.unique(people.image))
        log(f"{name} {split}: {int(people.use.sum())} people in use of {len(people)}, {images} images")
    if not dataset.labelled:
        log(f"{name}: boxes without labels: students learn from teachers only")
        return
    log(f"{name}: labelled keypoints of people in use ({', '.join(tables)})")
    width = max(map(len, dataset.skeleton.keypoints))
    for k, keypoint in enumerate(dataset.skeleton.keypoints):
        counts = " ".join(f"{int(people.labelled[people.use, k].sum()):>8}" for people in tables.values())
        log(f"  {keypoint:<{width}} {counts}")
