"""Stage `crops`: of every training person the part of the picture that all views show, so that `distill` opens no picture."""

import functools
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt, Le

from cache.crops import MOST_BYTES, CropLayout, CropStore, open_crops
from cache.lock import exclusive
from cache.reader import verify
from cache.writer import finish, open_for_writing, write_boundary
from pipeline.crops import compressed, seen
from pipeline.errors import UserError
from pipeline.frames import Regions
from pipeline.people.manifest import read_manifest
from pipeline.people.people import People
from pipeline.people.pictures import read_picture, safe_path
from pipeline.spec import NetworkSpec
from pipeline.views import Views
from stages.datasets import TRAIN, advised, dataset_settings, load_people, load_views, named, table_path
from stages.params import parse, settings
from stages.progress import progress
from stages.stores import digest
from stages.student_settings import settings_of, student_spec
from stages.students import arms
from stages.threads import cores, threads
from stages.training_settings import TrainingSettings

CROPS = Path("data/crops")
AGAIN = "pipeline crops"
SMALLEST = 0.05
"""Share of a view that is reckoned with; jitter may leave nothing of it."""


@dataclass(frozen=True)
class CropSettings:
    quality: Annotated[int, Ge(50), Le(100)] = 90
    """Of the JPEGs."""
    density: Annotated[float, Gt(0), Le(4)] = 1.0
    """Pixels for each of the student's input where a view is closest; never more than the picture has."""


@dataclass(frozen=True)
class Look:
    """How a student looks at views: what follows from it is which part of a picture it can ever see."""

    spec: NetworkSpec
    scale: float
    shift: float
    """Largest jitter, as a share of a view's size."""

    @property
    def values(self) -> list[Any]:
        """What tells two looks apart, as JSON values."""
        return [list(self.spec.input_wh), self.spec.padding, self.spec.affine, self.scale, self.shift]

    def widest(self, regions: Regions) -> np.ndarray:
        """Float (N, 4): left, top, right and bottom of all that crops of the regions can show, in image pixels."""
        largest = Regions(regions.center, regions.size * (1 + self.scale), regions.rotation)
        moved = self.shift * regions.size
        return seen(self.spec.input_from_image(largest), self.spec.input_wh) + np.concatenate([-moved, moved], axis=1)

    def density(self, regions: Regions) -> np.ndarray:
        """Float (N,): input pixels for each of the picture's, at most."""
        closest = Regions(regions.center, regions.size * max(1 - self.scale, SMALLEST), regions.rotation)
        linear = self.spec.input_from_image(closest)[:, :, :2]
        return np.sqrt(np.abs(np.linalg.det(linear)))


def look_of(spec: NetworkSpec, training: TrainingSettings) -> Look:
    """A student's."""
    return Look(spec, training.scale, training.shift)


def run(params: dict[str, Any], say: Callable[[str], None] = print) -> None:
    """Write or complete the crop stores of all datasets that a student learns from by way of crops."""
    chosen = settings(params, "crops", CropSettings)
    wanted = looks(params)
    CROPS.mkdir(parents=True, exist_ok=True)
    if not wanted:
        say("no student replays stored views by way of crops: nothing to make")
    with exclusive(CROPS):
        for path in sorted(set(CROPS.glob("*.zarr")) - {path_of(dataset) for dataset in wanted}):
            shutil.rmtree(path)
            say(f"{path}: removed, as no student reads it")
        for dataset, of_dataset in wanted.items():
            _write(params, dataset, of_dataset, chosen, say)


def path_of(dataset: str) -> Path:
    """The crop store of a dataset's training people."""
    return CROPS / f"{dataset}.zarr"


def verified(params: dict[str, Any], dataset: str, people: People, views: Views, look: Look) -> CropStore:
    """The same as `opened`, every byte as it was written."""
    store = opened(params, dataset, people, views, look)
    with progress(len(store.store.layout.files), f"verifying {store.path}", "files") as bar:
        problems = verify(store.store.path, functools.partial(bar.update, 1))
    if problems:
        more = " and more" if len(problems) > 1 else ""
        raise UserError(f"{store.path}: {problems[0]}{more}: run `{AGAIN}`, which rebuilds what is damaged")
    return store


def opened(params: dict[str, Any], dataset: str, people: People, views: Views, look: Look) -> CropStore:
    """The crops of a dataset's training people; UserError where they are not of these people or do not show enough."""
    path = path_of(dataset)
    if look.values not in [each.values for each in looks(params).get(dataset, [])]:
        raise UserError(
            f"{path}: `{AGAIN}` makes none for input, padding and jitter of this student: list it in params.yaml, "
            "or give it `pictures: files` under `distill`"
        )
    store = open_crops(path, AGAIN, people.person)
    made_from = _shown(dataset, people, views)
    changed = [key for key, value in made_from.items() if store.fingerprint.get(key) != value]
    if changed:
        raise UserError(f"{path}: was made from other {' and '.join(changed)} than there are now: run `{AGAIN}`")
    if look.values not in store.fingerprint["looks"]:
        raise UserError(f"{path}: was made for students that look at less of a picture: run `{AGAIN}`")
    return store


def looks(params: dict[str, Any]) -> dict[str, list[Look]]:
    """By dataset, how the students that read crops look at its people."""
    found: dict[str, list[Look]] = {}
    for name, arm in arms(params).items():
        chosen = settings_of(params, name, arm)
        if arm.draws_views or chosen.pictures != "crops":
            continue
        look = look_of(student_spec(params, chosen), parse(chosen.training, "distill.training", TrainingSettings))
        for dataset in arm.datasets:
            known = found.setdefault(dataset, [])
            if look.values not in [each.values for each in known]:
                known.append(look)
    return found


def _shown(dataset: str, people: People, views: Views) -> dict[str, str]:
    """The part of a store's fingerprint that says who and what is to be seen."""
    manifest = read_manifest(table_path(dataset, TRAIN, "pictures"))
    return {
        "people": digest(people.person, people.image, people.image_wh, people.use),
        "views": digest(views.center, views.size, views.rotation),
        "pictures": digest(manifest.name, manifest.sha256),
    }


def _write(
    params: dict[str, Any], dataset: str, looks: list[Look], chosen: CropSettings, say: Callable[[str], None]
) -> None:
    there = named(dataset_settings(params), dataset)
    if there.train is None:
        raise UserError(f"params.yaml: datasets.{dataset}: expected a `train` part, found none")
    people = load_people(dataset, TRAIN)
    views = load_views(dataset, TRAIN, people)
    path, layout = path_of(dataset), CropLayout(len(people))
    made_from = _shown(dataset, people, views)
    how = {"looks": sorted(look.values for look in looks), "quality": chosen.quality, "density": chosen.density}
    fingerprint = layout.fingerprint(made_from | how)
    plan = open_for_writing(path, layout, fingerprint)
    if plan.reason:
        say(f"{path}: {plan.reason}")
    total = sum(int(people.use[layout.rows(boundary)].sum()) for boundary in plan.pending)
    with progress(total, f"crops of {dataset}", "people") as bar, threads(cores()) as pool:
        for boundary in plan.pending:
            rows = np.arange(len(people))[layout.rows(boundary)]
            data = _boundary(dataset, there.images(TRAIN), people.rows(rows), _rows(views, rows), looks, chosen, pool)
            write_boundary(path, layout, boundary, data)
            bar.update(int(people.use[rows].sum()))
    if plan.pending or plan.reason != "complete":
        finish(path, layout, fingerprint)
    used = int(people.use.sum())
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    say(f"{path}: crops of {used} people, {size / max(used, 1) / 1000:.1f} kB each")


def _rows(views: Views, rows: np.ndarray) -> Views:
    return Views(views.person[rows], views.kinds, views.center[rows], views.size[rows], views.rotation[rows])


def _boundary(
    dataset: str,
    images: Path,
    people: People,
    views: Views,
    looks: list[Look],
    chosen: CropSettings,
    pool: ThreadPoolExecutor,
) -> dict[str, np.ndarray]:
    """The arrays of a boundary's people; each picture is read once."""
    count, of_each = len(people), len(views)
    regions = views.regions(slice(None), slice(None))
    boxes = np.stack([look.widest(regions) for look in looks]).reshape(len(looks), count, of_each, 4)
    box = np.concatenate([boxes[..., :2].min(axis=(0, 2)), boxes[..., 2:].max(axis=(0, 2))], axis=1)
    closest = np.stack([look.density(regions) for look in looks]).reshape(len(looks), count, of_each)
    density = closest.max(axis=(0, 2)) * chosen.density
    data: dict[str, np.ndarray] = {
        "jpeg": np.zeros((count, MOST_BYTES), np.uint8),
        "length": np.zeros(count, np.int32),
        "wh": np.zeros((count, 2), np.int32),
        "crop_from_image": np.zeros((count, 2, 3)),
        "person": people.person,
    }

    def fill(rows: np.ndarray) -> None:
        with advised(dataset):
            picture = read_picture(safe_path(images, people.image[rows[0]]), people.image_wh[rows[0]])
        for row in rows:
            jpeg, affine, wh = compressed(picture, box[row], float(density[row]), chosen.quality, MOST_BYTES)
            data["jpeg"][row, : len(jpeg)] = jpeg
            data["length"][row], data["wh"][row], data["crop_from_image"][row] = len(jpeg), wh, affine

    for _ in pool.map(fill, _by_picture(people)):
        pass
    return data


def _by_picture(people: People) -> Iterable[np.ndarray]:
    """Rows of the people in use, together where they are on the same picture."""
    used = np.flatnonzero(people.use)
    _, where = np.unique(people.image[used].astype(str), return_inverse=True)
    return [used[where == number] for number in range(where.max(initial=-1) + 1)]
