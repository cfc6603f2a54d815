"""`pipeline show`: one person's views with the truth and the teachers' maps in one image. Wrong coordinate frames show up here."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from cache.backend import backend_of
from pipeline.common.errors import UserError
from pipeline.common.files import write_atomically
from pipeline.common.image_encoding import encode_image
from pipeline.drawing import FIGURE_PADDING, contact_sheet, draw_maps, draw_pose
from pipeline.people.images import read_image, safe_path
from pipeline.people.people import People
from pipeline.pose.crops import crop
from pipeline.pose.geometry import apply, compose, input_from_image
from pipeline.pose.outputs import as_maps, decode_keypoints
from stages.project.datasets import TAUGHT_SPLITS, DatasetSettings, load_people, load_views
from stages.project.project import Project
from stages.project.teachers import teach_command
from stages.stores.targets import open_target_store, store_location

VIEW_SIZE = (192, 256)
"""Width and height in pixels of a view in the sheet."""


def run(
    project: Project,
    person: int,
    dataset: str | None = None,
    out: Path | None = None,
    log: Callable[[str], None] = print,
    split: str | None = None,
) -> None:
    """Draw a person (of that dataset) and write the sheet. Teachers without a store of the split are left out, with a message."""
    datasets = {dataset: project.dataset(dataset)} if dataset else project.datasets
    dataset, split, people, row = _find(datasets, person, split)
    views = load_views(dataset, split, people)
    image = read_image(safe_path(datasets[dataset].images(split), people.image[row]), people.image_wh[row])
    display = input_from_image(views.regions(row, slice(None)), VIEW_SIZE, FIGURE_PADDING, "classic")
    crops = crop(image, display, VIEW_SIZE)
    columns = {"truth": [_truth(people, row, crops[v], display[v]) for v in range(len(views))]}
    for teacher in project.teacher_names:
        path = store_location(project, teacher, dataset, split)
        if not backend_of(path).exists():
            if split in TAUGHT_SPLITS:
                log(f"{path} does not exist, so teacher {teacher} is left out: run `{teach_command(teacher)}`")
            continue
        block = open_target_store(project, teacher, dataset, split, people, views).read(slice(row, row + 1))
        spec = project.teacher(teacher).spec
        arrays = block.maps(0, slice(None))
        points, maps = decode_keypoints(arrays, block.image_from_target[0], spec), as_maps(arrays)
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
    path = out or Path(f"show-{dataset}-{person}.png")
    try:
        encoded = encode_image(contact_sheet(rows, list(columns), labels), path.suffix)
    except UserError as error:
        raise UserError(f"{path}: {error}: name a .png or .jpg file with --out") from error
    write_atomically(path, encoded)
    log(f"{path}: person {person} of {dataset} {split}, {people.image[row]}")


def _truth(people: People, row: int, view: np.ndarray, view_from_image: np.ndarray) -> np.ndarray:
    return draw_pose(view, people.skeleton, apply(view_from_image, people.keypoints[row]), people.labelled[row])


def _find(datasets: dict[str, DatasetSettings], person: int, split: str | None) -> tuple[str, str, People, int]:
    """Return dataset, split, people and row of a person; UserError where several people have that id, or none has."""
    matches: list[tuple[str, str, People, int]] = []
    for name, dataset in datasets.items():
        for known_split in dataset.splits:
            if split in (None, known_split):
                people = load_people(name, known_split)
                matches += [(name, known_split, people, int(row)) for row in np.flatnonzero(people.person == person)]
    if len(matches) > 1:
        where = " and in ".join(f"{name} {known_split}" for name, known_split, *_ in matches)
        raise UserError(f"person {person} is in {where}: choose one with --dataset and --split")
    if not matches:
        name, dataset = next(iter(datasets.items()))
        people = load_people(name, dataset.splits[0])
        examples = ", ".join(str(number) for number in people.person[people.use][:5])
        raise UserError(
            f"no person {person} in {', '.join(datasets)}: some of {name} {dataset.splits[0]} are {examples}"
        )
    return matches[0]
