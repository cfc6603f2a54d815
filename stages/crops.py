"""Stage `crops`: of every training person, the region of the image that all views show, so that `distill` opens no image file."""

import shutil
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le

from cache.crops import MOST_BYTES, CropLayout
from cache.writer import finish, open_for_writing, write_shard
from pipeline.common.errors import UserError
from pipeline.common.locks import exclusive
from pipeline.common.progress import progress
from pipeline.common.threads import cores, threads
from pipeline.people.image_manifest import read_image_manifest
from pipeline.people.images import read_prepared_image, safe_path
from pipeline.people.people import People
from pipeline.people.views import Views
from pipeline.pose.crops import region_jpeg
from stages.project.datasets import TRAIN, load_people, load_views, table_path, with_prepare_hint
from stages.project.project import Project
from stages.stores.crop_views import CROPS_FOLDER, CropView, crop_store_path, crop_views_of_students, people_fingerprint


@dataclass(frozen=True)
class CropSettings:
    """The section `crops` of params.yaml."""

    quality: Annotated[int, Ge(50), Le(100)] = 90
    """Quality of the JPEGs, 50 to 100."""
    density: Annotated[float, Gt(0), Le(4)] = 1.0
    """Stored pixels per pixel of the student's input, in the view with the smallest region; never more than the image has."""


def run(project: Project, log: Callable[[str], None] = print) -> None:
    """Write or complete the crop stores of all datasets whose crops a student reads, and remove the other stores."""
    settings = project.section("crops", CropSettings)
    views_of_datasets = crop_views_of_students(project)
    CROPS_FOLDER.mkdir(parents=True, exist_ok=True)
    if not views_of_datasets:
        log("no student replays stored views from crops: nothing to write")
    with exclusive(CROPS_FOLDER):
        for path in sorted(
            set(CROPS_FOLDER.glob("*.zarr")) - {crop_store_path(dataset) for dataset in views_of_datasets}
        ):
            path.unlink() if path.is_symlink() else shutil.rmtree(path)
            log(f"{path}: removed, as no student reads it")
        for dataset, crop_views in views_of_datasets.items():
            _write(project, dataset, crop_views, settings, log)


def _write(
    project: Project, name: str, crop_views: list[CropView], settings: CropSettings, log: Callable[[str], None]
) -> None:
    dataset = project.dataset(name)
    if dataset.train is None:
        raise UserError(f"params.yaml: datasets.{name}: expected a `train` part, found none")
    people = load_people(name, TRAIN)
    views = load_views(name, TRAIN, people)
    path, layout = crop_store_path(name), CropLayout(len(people))
    crop_settings = {
        "looks": sorted(view.values for view in crop_views),
        "quality": settings.quality,
        "density": settings.density,
    }
    fingerprint = layout.fingerprint(people_fingerprint(name, people, views) | crop_settings)
    plan = open_for_writing(path, layout, fingerprint)
    if plan.reason:
        log(f"{path}: {plan.reason}")
    sizes = read_image_manifest(table_path(name, TRAIN, "pictures")).sizes()
    total = sum(int(people.use[layout.rows(shard)].sum()) for shard in plan.pending)
    with progress(total, f"crops of {name}", "people") as bar, threads(cores()) as pool:
        for shard in plan.pending:
            rows = np.arange(len(people))[layout.rows(shard)]
            data = _shard_arrays(
                name, dataset.images(TRAIN), sizes, people.rows(rows), views.rows(rows), crop_views, settings, pool
            )
            write_shard(path, layout, shard, data)
            bar.update(int(people.use[rows].sum()))
    if plan.pending or plan.reason != "complete":
        finish(path, layout, fingerprint)
    used = int(people.use.sum())
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    log(f"{path}: crops of {used} people, {size / max(used, 1) / 1000:.1f} kB each")


def _shard_arrays(
    dataset: str,
    images: Path,
    sizes: Mapping[str, int],
    people: People,
    views: Views,
    crop_views: list[CropView],
    settings: CropSettings,
    pool: ThreadPoolExecutor,
) -> dict[str, np.ndarray]:
    """Return the arrays of a shard's people; each image is read once. `sizes` are the bytes of the prepared images."""
    count, views_each = len(people), len(views)
    regions = views.regions(slice(None), slice(None))
    boxes = np.stack([view.widest(regions) for view in crop_views]).reshape(len(crop_views), count, views_each, 4)
    box = np.concatenate([boxes[..., :2].min(axis=(0, 2)), boxes[..., 2:].max(axis=(0, 2))], axis=1)
    closest = np.stack([view.density(regions) for view in crop_views]).reshape(len(crop_views), count, views_each)
    density = closest.max(axis=(0, 2)) * settings.density
    data: dict[str, np.ndarray] = {
        "jpeg": np.zeros((count, MOST_BYTES), np.uint8),
        "length": np.zeros(count, np.int32),
        "wh": np.zeros((count, 2), np.int32),
        "crop_from_image": np.zeros((count, 2, 3)),
        "person": people.person,
    }

    def fill(rows: np.ndarray) -> None:
        with with_prepare_hint(dataset):
            name = str(people.image[rows[0]])
            image = read_prepared_image(safe_path(images, name), people.image_wh[rows[0]], sizes.get(name))
        for row in rows:
            jpeg, affine, wh = region_jpeg(image, box[row], float(density[row]), settings.quality, MOST_BYTES)
            data["jpeg"][row, : len(jpeg)] = jpeg
            data["length"][row], data["wh"][row], data["crop_from_image"][row] = len(jpeg), wh, affine

    for _ in pool.map(fill, _rows_by_image(people)):
        pass
    return data


def _rows_by_image(people: People) -> Iterable[np.ndarray]:
    """Return the rows of the people in use, one array per image."""
    used = np.flatnonzero(people.use)
    _, image = np.unique(people.image[used].astype(str), return_inverse=True)
    return [used[image == number] for number in range(image.max(initial=-1) + 1)]
