"""Stage `prepare`: from annotation files to tables of people, views and images, one of each per dataset and split."""

import functools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
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
from pipeline.people.images import image_size, is_turned_by_exif, safe_path
from pipeline.people.people import People
from pipeline.people.plausibility import refuse_implausible
from pipeline.people.table import write_people
from pipeline.people.views import draw_views, write_views
from pipeline.pose.own_skeletons import guessed_sigmas_note
from stages.project.datasets import (
    PEOPLE_FOLDER,
    TEST,
    TRAIN,
    VALIDATION,
    AnnotationFile,
    DatasetSettings,
    PrepareSettings,
    refuse_missing,
    with_prepare_hint,
)
from stages.project.project import Project

READERS: dict[str, Callable[[Path, Callable[[str], None]], People]] = {
    "aic": read_aic,
    "aic-release": lambda path, warn: read_aic_release(path),
    "crowdpose": read_crowdpose,
    "halpe": read_halpe,
    "mpii-release": lambda path, warn: read_mpii_release(path),
}
"""Readers of the formats that are one file and have one skeleton. They call the second argument with a line for what they replace."""


def run(project: Project, dataset: str | None = None, log: Callable[[str], None] = print) -> None:
    """Prepare one dataset, or all. UserError for a file that cannot be used; the tables of an earlier run are then left unchanged."""
    datasets = project.datasets
    settings = project.section("prepare", PrepareSettings)
    for name in [dataset] if dataset else datasets:
        _prepare(name, project.dataset(name), settings, project.seed, log)


def read_annotation_file(dataset: DatasetSettings, file: AnnotationFile, log: Callable[[str], None]) -> People:
    """Read the people of an annotation file of the dataset's format, on the images of `only` where it has that. No image is asked for."""
    people = _read_whole_file(dataset, file, log)
    if file.only is None:
        return people
    annotations, images = Path(dataset.annotations) / file.file, people.image.tolist()
    listed = on_listed_images(images, file.only)
    lines = listed_images(file.only)
    if not listed.any():
        raise UserError(f"{file.only}: expected images of {annotations}, found none among {len(lines)} lines")
    found = len(set(people.image[listed].tolist()))
    log(f"{annotations}: people on {found} of the {len(lines)} images of {file.only}, others are left out")
    return people.rows(listed)


def on_listed_images(images: Sequence[str], listing: str) -> np.ndarray:
    """Return for each image, bool (N,), whether a text file lists it, with the same folders as far as both state any.

    UserError for a line that fits images of several folders.
    """
    lines = listed_images(listing)
    ends = {end for line in lines for end in _ends(line)}
    listed: set[str] = set()
    by_line: dict[str, str] = {}
    for image in dict.fromkeys(images):
        line = next((end for end in _ends(image) if end in lines), None)
        if line is not None and by_line.setdefault(line, image) != image:
            raise UserError(
                f"{listing}: {line}: expected one image of that name, found {by_line[line]} and {image}: list them so"
            )
        if line is not None or image in ends:
            listed.add(image)
    return np.array([image in listed for image in images], bool)


def listed_images(listing: str) -> set[str]:
    """Return the images that a text file lists, one a line. UserError for anything else."""
    try:
        lines = Path(listing).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{listing}: expected a text file with a line for each image, found none") from error
    return {line.strip().replace("\\", "/") for line in lines} - {""}


def _ends(path: str) -> list[str]:
    """Return a path, and it without its first folder, and so on to the name of the file."""
    parts = path.split("/")
    return ["/".join(parts[n:]) for n in range(len(parts))]


def _read_whole_file(dataset: DatasetSettings, file: AnnotationFile, log: Callable[[str], None]) -> People:
    folder = Path(dataset.annotations)
    path = folder / file.file
    if dataset.format == "boxes":
        detections = folder / file.detections if file.detections else None
        return read_boxes(path, detections, file.box_score, log, dataset.people_categories)
    if dataset.format == "coco":
        return read_coco(path, dataset.skeleton, log, dataset.people_categories)
    if dataset.format == "mpii":
        return read_mpii_json(path, folder / file.truth if file.truth else None)
    return READERS[dataset.format](path, log)


def _prepare(
    name: str, dataset: DatasetSettings, settings: PrepareSettings, seed: int, log: Callable[[str], None]
) -> None:
    tables: dict[str, People] = {}
    notes: dict[str, list[str]] = {TRAIN: [], VALIDATION: [], TEST: []}
    whole: dict[AnnotationFile, People] = {}
    for split in dataset.splits:
        file = replace(dataset.annotation_file(split), labels=True, share=None)  # of which several splits can be parts
        if file not in whole:
            whole[file] = _read(name, dataset, split, notes[split].append)
        tables[split] = dataset.people_of(split, whole[file], settings.validation, seed)
    if not tables:
        raise UserError(f"params.yaml: datasets.{name}: expected a `train` or a `test` part, found neither")
    for split, people in tables.items():
        if split != VALIDATION and not people.use.any():
            raise UserError(
                f"datasets.{name}: expected people to learn from in its {split} part, found none of {len(people)} usable: "
                f"correct its annotations or params.yaml, then run `pipeline prepare --dataset {name}`"
            )
    if line := _tested_and_trained_on(dataset, tables):
        notes[TEST].append(f"{name}: {line}")
    with exclusive(PEOPLE_FOLDER / name, remove_lock_file=True):
        complaints = _write(name, dataset, tables, settings, seed)
    _report(name, dataset, tables, notes, log)
    if complaints:
        log(f"{name}: the decoder complains about {len(complaints)} images, used as decoded; first {complaints[0]}")


def _tested_and_trained_on(dataset: DatasetSettings, tables: dict[str, People]) -> str | None:
    """Return the line about test images that are images of another split too; None without any."""
    images = {
        split: {(dataset.images(split).resolve(), image) for image in set(people.image.tolist())}
        for split, people in tables.items()
    }
    test = images.pop(TEST, set())
    both = sorted(image for folder, image in test & set().union(*images.values()))
    if not both:
        return None
    return (
        f"{len(both)} of {len(test)} test images are trained or validated on, too (first {both[0]}), so scores say how well they are "
        "remembered: name another file, or `test: {share: 0.2}`"
    )


def _read_as_stored(people: People, folder: Path) -> str | None:
    """Return the line about images that EXIF would turn, and whose stated size fits only as they are stored; None without any.

    Sizes cannot tell whether the labels are on the image as stored or as shown.
    """
    turned = []
    for name, (width, height) in dict(zip(people.image.tolist(), people.image_wh.tolist(), strict=True)).items():
        path = safe_path(folder, name)
        if width != height and is_turned_by_exif(path) and image_size(path) != (width, height):
            turned.append(f"{name}, {width} x {height}")
    if not turned:
        return None
    return (
        f"{len(turned)} images are read as stored, though EXIF turns them, as the stated size fits only so (first {turned[0]}): "
        "look with `pipeline show` whether their labels are on the image as stored"
    )


def _write(
    name: str, dataset: DatasetSettings, tables: dict[str, People], settings: PrepareSettings, seed: int
) -> list[str]:
    """Write people, views and image manifest of each split to a folder aside, move that to its place, return what the decoder said."""
    complaints: list[str] = []
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
                manifest = build_image_manifest(
                    dataset.images(split), names, advance=functools.partial(bar.update, 1), warn=complaints.append
                )
            write_image_manifest(manifest, aside / f"{split}-pictures.parquet")
        replace_folder(aside, place)
        return complaints
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _read(name: str, dataset: DatasetSettings, split: str, log: Callable[[str], None]) -> People:
    """Read the people of the file that a split comes from, with the sizes of their images."""
    file = dataset.annotation_file(split)
    path = Path(dataset.annotations) / file.file
    refuse_missing(f"datasets.{name}.{split}", path)
    with with_prepare_hint(name):
        people = read_annotation_file(dataset, file, log)
    if not dataset.images(split).is_dir():
        raise UserError(f"datasets.{name}: image folder {dataset.images(split)} does not exist: correct params.yaml")
    with with_prepare_hint(name):
        people = _with_sizes(people, dataset.images(split), name)
        if line := _read_as_stored(people, dataset.images(split)):
            log(f"{path}: {line}")
        refuse_implausible(people, str(path), log)
    return people


def _with_sizes(people: People, folder: Path, name: str) -> People:
    """Return the people with image sizes: those that the annotations lack are read from the image files.

    UserError where two sizes are stated of one file, as it can be read in one way only.
    """
    names, where = np.unique(people.image, return_inverse=True)
    sizes = np.zeros((len(names), 2), np.int32)
    stated = (people.image_wh > 0).all(axis=1)
    sizes[where[stated]] = people.image_wh[stated]
    other = np.flatnonzero(stated & (people.image_wh != sizes[where]).any(axis=1))
    if len(other):
        found = [f"{width} x {height}" for width, height in (people.image_wh[other[0]], sizes[where[other[0]]])]
        raise UserError(f"{people.image[other[0]]}: expected one size of the image, found {' and '.join(found)}")
    unknown = np.flatnonzero((sizes == 0).any(axis=1))
    with progress(len(unknown), f"{name}: reading image sizes", "images") as bar:
        for n in unknown:
            sizes[n] = image_size(safe_path(folder, names[n]))
            bar.update(1)
    return replace(people, image_wh=sizes[where])


def _report(
    name: str,
    dataset: DatasetSettings,
    tables: dict[str, People],
    notes: dict[str, list[str]],
    log: Callable[[str], None],
) -> None:
    for split, people in tables.items():
        images = len(np.unique(people.image))
        log(f"{name} {split}: {int(people.use.sum())} people in use of {len(people)}, {images} images")
        for note in notes[split]:
            log(note)
        if not people.use.all():
            log(f"{name} {split}: not in use are {_why_not_in_use(people, len(people.skeleton) > 0)}")
    if dataset.train and not dataset.labels_train:
        log(f"{name}: boxes without labels: students learn from teachers only")
    labelled = {split: people for split, people in tables.items() if len(people.skeleton)}
    if not labelled:
        return
    if dataset.score == "ap" and (guess := guessed_sigmas_note(dataset.skeleton)):
        log(f"{name}: {guess}")
    log(f"{name}: labelled keypoints of people in use ({', '.join(labelled)})")
    width = max(map(len, dataset.skeleton.keypoints))
    for k, keypoint in enumerate(dataset.skeleton.keypoints):
        counts = " ".join(f"{int(people.labelled[people.use, k].sum()):>8}" for people in labelled.values())
        log(f"  {keypoint:<{width}} {counts}")


def _why_not_in_use(people: People, labelled: bool) -> str:
    """Return how many people are not in use for which reason, the first that holds for each."""
    empty = (people.box[:, 2:] <= 0).any(axis=1)
    reasons = {
        "crowds (`iscrowd`)": people.crowd,
        "without labelled keypoints": ~people.labelled.any(axis=1) & labelled,
        "with a box without width or height": empty,
    }
    left, counts = ~people.use, []
    for reason, holds in reasons.items():
        if count := int((left & holds).sum()):
            counts.append(f"{count} {reason}")
        left = left & ~holds
    if count := int(left.sum()):
        counts.append(f"{count} " + ("for other reasons" if labelled else "below the limit of box scores"))
    return ", ".join(counts)
