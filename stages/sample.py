"""Draws the sample dataset: which pictures there are, in parallel, written aside and put in place at the end."""

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

from cache.lock import exclusive
from pipeline.errors import UserError
from pipeline.files import replace_folder, sha256
from pipeline.sample.annotations import Drawn, coco_file, halpe_file, mpii_file, mpii_truth
from pipeline.sample.pose import Style
from pipeline.sample.scene import render_scene
from stages.progress import progress

JPEG_QUALITY = 90
LARGEST_PART = 500_000
DATASETS = ("coco", "mpii", "halpe")


@dataclass(frozen=True)
class SampleSettings:
    """What is drawn. The same settings give the same bytes, whatever `workers` is."""

    folder: str = "data/sample"
    seed: int = 1
    size: int = 256
    """Side of a picture in pixels."""
    train: int = 1100
    """Pictures in each of the two training parts (about 1.9 people each)."""
    test: int = 300
    """Pictures in each of the three test parts."""
    mixing: float = 0.1
    """How likely place, pose and look of a scene are each taken from the other set's style."""
    workers: int = 0
    """Processes; 0 means one per core."""

    def __post_init__(self) -> None:
        """UserError where a value makes no sense."""
        bounds: tuple[tuple[str, float, float], ...] = (
            ("seed", 0, 2**63 - 1),
            ("size", 64, 1024),
            ("train", 1, LARGEST_PART),
            ("test", 1, LARGEST_PART),
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
class Part:
    """A part of one dataset: its pictures are numbered from `first` in `pictures`, a folder inside the sample's."""

    name: str
    pictures: str
    styles: tuple[Style, ...]
    """Picture n is drawn in style n modulo their number."""
    first: int


COCO_TRAIN = Part("coco/train", "coco/train", ("everyday",), 1)
COCO_TEST = Part("coco/val", "coco/val", ("everyday",), LARGEST_PART + 1)
MPII_TRAIN = Part("mpii/train", "mpii/images", ("sport",), 1)
MPII_TEST = Part("mpii/val", "mpii/images", ("sport",), LARGEST_PART + 1)
HALPE_TEST = Part("halpe/val", "halpe/val", ("everyday", "sport"), LARGEST_PART + 1)
TRAIN, TEST = (COCO_TRAIN, MPII_TRAIN), (COCO_TEST, MPII_TEST, HALPE_TEST)


def draw_picture(job: tuple[Part, int], settings: SampleSettings, folder: Path) -> Drawn:
    """Draw picture `index` of a part and write it. Depends on seed, part and index, on nothing drawn before."""
    part, index = job
    entropy = [settings.seed, zlib.crc32(part.name.encode()), index]
    geometry, appearance = (np.random.default_rng(s) for s in np.random.SeedSequence(entropy).spawn(2))
    style = part.styles[index % len(part.styles)]
    scene = render_scene(style, settings.mixing, settings.size, geometry, appearance)
    drawn = Drawn(part.first + index, f"{part.first + index:012d}.jpg", settings.size, scene.people)
    encoded, jpeg = cv2.imencode(".jpg", scene.picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not encoded:
        raise RuntimeError(f"OpenCV could not encode {drawn.file_name}")
    (folder / part.pictures / drawn.file_name).write_bytes(jpeg.tobytes())
    return drawn


def start_worker() -> None:
    """Draw on one thread, leave Ctrl-C to the main process, and do not outlive it."""
    # OpenCV's own threads would only fight for the cores that the other processes use.
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """Wait until the main process is gone, however it went, and end this one."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def draw_parts(settings: SampleSettings, folder: Path) -> dict[Part, list[Drawn]]:
    """Every picture of every part, written below `folder`; parts and pictures in a fixed order."""
    jobs = [(part, index) for part in TRAIN for index in range(settings.train)]
    jobs += [(part, index) for part in TEST for index in range(settings.test)]
    for part in (*TRAIN, *TEST):
        (folder / part.pictures).mkdir(parents=True, exist_ok=True)

    workers = min(settings.workers or os.cpu_count() or 1, len(jobs))
    parts: dict[Part, list[Drawn]] = {part: [] for part in (*TRAIN, *TEST)}
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=start_worker)
    try:
        results = pool.map(partial(draw_picture, settings=settings, folder=folder), jobs, chunksize=16)
        with progress(len(jobs), "sample", "pictures") as bar:
            for (part, _), drawn in zip(jobs, results, strict=True):
                parts[part].append(drawn)
                bar.update()
    finally:
        # After an error or Ctrl-C nobody wants the pictures that still wait.
        pool.shutdown(cancel_futures=True)
    return parts


def write_json(path: Path, content: object) -> None:
    """Write a JSON file and the folder it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")


def write_annotations(folder: Path, parts: dict[Part, list[Drawn]]) -> None:
    """Write the annotation files of the three datasets below `folder`."""
    write_json(folder / "coco/annotations/person_keypoints_train.json", coco_file(parts[COCO_TRAIN]))
    write_json(folder / "coco/annotations/person_keypoints_val.json", coco_file(parts[COCO_TEST]))
    write_json(folder / "mpii/annotations/mpii_train.json", mpii_file(parts[MPII_TRAIN]))
    write_json(folder / "mpii/annotations/mpii_val.json", mpii_file(parts[MPII_TEST]))
    write_json(folder / "halpe/annotations/halpe_val.json", halpe_file(parts[HALPE_TEST]))
    write_mat(folder / "mpii/annotations/mpii_gt_val.mat", mpii_truth(parts[MPII_TEST]))
    for dataset in DATASETS:
        write_picture_digest(folder / dataset)


def write_picture_digest(dataset: Path) -> None:
    """One hash over a dataset's pictures beside its annotations, so that pictures drawn anew reach whatever depends on these."""
    pictures = sorted(dataset.rglob("*.jpg"))
    digest = hashlib.sha256("".join(f"{path.name} {sha256(path)}\n" for path in pictures).encode()).hexdigest()
    (dataset / "annotations/pictures.sha256").write_text(digest + "\n")


def write_mat(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a MATLAB 5 file without the date SciPy puts into its header: the same arrays give the same bytes."""
    scipy.io.savemat(path, arrays, do_compression=True)
    header = b"MATLAB 5.0 MAT-file, written by pipeline data sample".ljust(116)
    path.write_bytes(header + path.read_bytes()[len(header) :])


def check_place(folder: Path) -> None:
    """UserError where the folder exists and is not a sample, because it is going to be replaced."""
    if folder.exists() and not folder.is_dir():
        raise UserError(
            f"sample: {folder} is a file, expected a folder or nothing: name another sample.folder in params.yaml"
        )
    foreign = sorted(entry.name for entry in folder.iterdir() if entry.name not in DATASETS) if folder.is_dir() else []
    if foreign:
        raise UserError(
            f"sample: {folder} would be replaced, but holds `{foreign[0]}`, which is no part of a sample: "
            "name another sample.folder in params.yaml"
        )


def people_of(pictures: Sequence[Drawn]) -> int:
    """How many people with labelled keypoints there are."""
    return sum(bool(person.labelled.any()) for drawn in pictures for person in drawn.people)


def run(settings: SampleSettings) -> None:
    """Draw the sample into `settings.folder`; an interrupted run leaves what was there before."""
    start = time.monotonic()
    folder = Path(settings.folder)
    check_place(folder)
    with exclusive(folder, passing=True):
        partial_folder = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial_folder, ignore_errors=True)
        partial_folder.mkdir(parents=True)
        parts = draw_parts(settings, partial_folder)
        write_annotations(partial_folder, parts)
        replace_folder(partial_folder, folder)

    pictures = sum(len(drawn) for drawn in parts.values())
    people = sum(people_of(drawn) for drawn in parts.values())
    print(f"{folder}: {pictures} pictures, {people} people, {time.monotonic() - start:.1f} s")
