"""Stage `data`: draws the sample dataset in parallel, writes it aside, and puts it in place at the end."""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import scipy.io

from pipeline.common.documents import json_bytes
from pipeline.common.errors import UserError
from pipeline.common.files import replace_folder, sha256, write_atomically
from pipeline.common.image_encoding import encode_image
from pipeline.common.locks import exclusive
from pipeline.common.progress import progress
from pipeline.common.threads import cores
from pipeline.sample.annotations import Drawn, coco_file, halpe_file, mpii_file, mpii_truth_arrays
from pipeline.sample.pose import Style
from pipeline.sample.scene import render_scene

SAMPLE_QUALITY = 90
"""JPEG quality, 0 to 100, of the sample's images."""
MAX_IMAGES_PER_PART = 500_000
"""Training images are numbered below it and test images above it, where both lie in one folder."""
SAMPLE_DATASETS = ("coco", "mpii", "halpe")
RECORD = Path("results/data/sample.json")


@dataclass(frozen=True)
class SampleSettings:
    """What is drawn. Equal settings give equal bytes, whatever `workers` is."""

    folder: str = "data/sample"
    seed: int = 1
    size: int = 256
    """Side of an image in pixels."""
    train: int = 1100
    """Images in each of the two training parts (about 1.9 people each)."""
    test: int = 300
    """Images in each of the three test parts."""
    mixing: float = 0.1
    """Probability with which place, pose and look of a scene are each taken from the style of the other set."""
    workers: int = 0
    """Number of processes; 0 is one per core."""

    def __post_init__(self) -> None:
        """Raise UserError for a value of the wrong type or out of bounds."""
        bounds: tuple[tuple[str, float, float], ...] = (
            ("seed", 0, 2**63 - 1),
            ("size", 64, 1024),
            ("train", 1, MAX_IMAGES_PER_PART),
            ("test", 1, MAX_IMAGES_PER_PART),
            ("mixing", 0, 1),
            ("workers", 0, 1024),
        )
        for name, low, high in bounds:
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or (name != "mixing" and not isinstance(value, int)) or not low <= value <= high:
                kind = "a number" if name == "mixing" else "a whole number"
                raise UserError(f"sample: `{name}` must be {kind} from {low} to {high}, found {value!r}")
        if not isinstance(self.folder, str) or Path(self.folder).name in ("", ".."):
            raise UserError(f"sample: `folder` must be a folder to create, found {self.folder!r}")


@dataclass(frozen=True)
class SamplePart:
    """A part of one dataset of the sample."""

    name: str
    images: str
    """Folder of the images inside the sample's."""
    styles: tuple[Style, ...]
    """Image n is drawn in style n modulo the number of styles."""
    first: int
    """Number of the first image."""


COCO_TRAIN = SamplePart("coco/train", "coco/train", ("everyday",), 1)
COCO_TEST = SamplePart("coco/val", "coco/val", ("everyday",), MAX_IMAGES_PER_PART + 1)
MPII_TRAIN = SamplePart("mpii/train", "mpii/images", ("sport",), 1)
MPII_TEST = SamplePart("mpii/val", "mpii/images", ("sport",), MAX_IMAGES_PER_PART + 1)
HALPE_TEST = SamplePart("halpe/val", "halpe/val", ("everyday", "sport"), MAX_IMAGES_PER_PART + 1)
TRAIN, TEST = (COCO_TRAIN, MPII_TRAIN), (COCO_TEST, MPII_TEST, HALPE_TEST)


def draw_image(job: tuple[SamplePart, int], settings: SampleSettings, folder: Path) -> Drawn:
    """Draw image `index` of a part and write it. It depends on seed, part and index, and on nothing that was drawn before."""
    part, index = job
    entropy = [settings.seed, zlib.crc32(part.name.encode()), index]
    geometry, appearance = (np.random.default_rng(s) for s in np.random.SeedSequence(entropy).spawn(2))
    style = part.styles[index % len(part.styles)]
    scene = render_scene(style, settings.mixing, settings.size, geometry, appearance)
    drawn = Drawn(part.first + index, f"{part.first + index:012d}.jpg", settings.size, scene.people)
    rgb = scene.image[:, :, ::-1]
    (folder / part.images / drawn.file_name).write_bytes(encode_image(rgb, ".jpg", SAMPLE_QUALITY))
    return drawn


def start_worker() -> None:
    """Make a worker draw on one thread, leave Ctrl-C to the main process, and end with it."""
    # OpenCV's own threads would only compete for the cores that the other processes use.
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """Wait until the main process has ended for any reason, and end this one."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def draw_parts(settings: SampleSettings, folder: Path) -> dict[SamplePart, list[Drawn]]:
    """Draw every image of every part below `folder`, and return what was drawn; parts and images are in a fixed order."""
    jobs = [(part, index) for part in TRAIN for index in range(settings.train)]
    jobs += [(part, index) for part in TEST for index in range(settings.test)]
    for part in (*TRAIN, *TEST):
        (folder / part.images).mkdir(parents=True, exist_ok=True)

    workers = min(settings.workers or cores(), len(jobs))
    parts: dict[SamplePart, list[Drawn]] = {part: [] for part in (*TRAIN, *TEST)}
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=start_worker)
    try:
        results = pool.map(partial(draw_image, settings=settings, folder=folder), jobs, chunksize=16)
        with progress(len(jobs), "sample", "images") as bar:
            for (part, _), drawn in zip(jobs, results, strict=True):
                parts[part].append(drawn)
                bar.update()
    finally:
        # After an error or Ctrl-C the images that still wait are not needed.
        pool.shutdown(cancel_futures=True)
    return parts


def write_json(path: Path, content: object) -> None:
    """Write a JSON file and the folder it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")


def write_annotations(folder: Path, parts: dict[SamplePart, list[Drawn]]) -> None:
    """Write the annotation files of the three datasets below `folder`."""
    write_json(folder / "coco/annotations/person_keypoints_train.json", coco_file(parts[COCO_TRAIN]))
    write_json(folder / "coco/annotations/person_keypoints_val.json", coco_file(parts[COCO_TEST]))
    write_json(folder / "mpii/annotations/mpii_train.json", mpii_file(parts[MPII_TRAIN]))
    write_json(folder / "mpii/annotations/mpii_val.json", mpii_file(parts[MPII_TEST]))
    write_json(folder / "halpe/annotations/halpe_val.json", halpe_file(parts[HALPE_TEST]))
    write_mat(folder / "mpii/annotations/mpii_gt_val.mat", mpii_truth_arrays(parts[MPII_TEST]))
    for dataset in SAMPLE_DATASETS:
        write_image_digest(folder / dataset)


def write_image_digest(dataset: Path) -> None:
    """Write a hash of a dataset's images beside its annotations, so that new images change what depends on the annotations."""
    images = sorted(dataset.rglob("*.jpg"))
    digest = hashlib.sha256("".join(f"{path.name} {sha256(path)}\n" for path in images).encode()).hexdigest()
    (dataset / "annotations/pictures.sha256").write_text(digest + "\n")


def write_mat(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a MATLAB 5 file without the date that SciPy puts into its header, so that equal arrays give equal bytes."""
    scipy.io.savemat(path, arrays, do_compression=True)
    header = b"MATLAB 5.0 MAT-file, written by pipeline data sample".ljust(116)
    path.write_bytes(header + path.read_bytes()[len(header) :])


def record(settings: SampleSettings) -> None:
    """Write the hashes of the sample's annotation files to RECORD; in DVC, links to these files wait for it."""
    folder = Path(settings.folder)
    files = sorted(file for dataset in SAMPLE_DATASETS for file in (folder / dataset / "annotations").iterdir())
    hashes = {file.relative_to(folder).as_posix(): sha256(file) for file in files}
    write_atomically(RECORD, json_bytes({"sample": vars(settings), "sha256": hashes}))


def refuse_foreign_folder(folder: Path) -> None:
    """Raise UserError where the folder exists and is no sample, because it is going to be replaced."""
    if folder.exists() and not folder.is_dir():
        raise UserError(
            f"sample: {folder} is a file, expected a folder or nothing: name another sample.folder in params.yaml"
        )
    foreign = (
        sorted(entry.name for entry in folder.iterdir() if entry.name not in SAMPLE_DATASETS) if folder.is_dir() else []
    )
    if foreign:
        raise UserError(
            f"sample: {folder} would be replaced, but holds `{foreign[0]}`, which is no part of a sample: "
            "name another sample.folder in params.yaml"
        )


def labelled_people(images: Sequence[Drawn]) -> int:
    """Return the number of people with labelled keypoints."""
    return sum(bool(person.labelled.any()) for drawn in images for person in drawn.people)


def run(settings: SampleSettings) -> None:
    """Draw the sample into `settings.folder`. An interrupted run leaves the earlier folder as it was."""
    start = time.monotonic()
    folder = Path(settings.folder)
    refuse_foreign_folder(folder)
    with exclusive(folder, remove_lock_file=True):
        partial_folder = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial_folder, ignore_errors=True)
        partial_folder.mkdir(parents=True)
        parts = draw_parts(settings, partial_folder)
        write_annotations(partial_folder, parts)
        replace_folder(partial_folder, folder)

    images = sum(len(drawn) for drawn in parts.values())
    people = sum(labelled_people(drawn) for drawn in parts.values())
    print(f"{folder}: {images} images, {people} people, {time.monotonic() - start:.1f} s")
