"""Stage `link`: a folder of links to the annotation files that params.yaml names of a dataset, which is what DVC tracks of it.

So a dataset's files may lie anywhere, beside any number of others: DVC reads those that are named, through the links.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from pipeline.common.files import replace_folder
from stages.project.datasets import TAUGHT_SPLITS, DatasetSettings, refuse_missing
from stages.project.project import Project
from stages.project.teachers import TARGETS

LINKS = Path("data/annotations")
"""Folder of the links, one folder per dataset."""
IMAGE_DIGEST = "pictures.sha256"
"""A file beside annotations that stands for the images, as the built-in sample has it, and is linked too."""


def run(project: Project, dataset: str | None = None, log: Callable[[str], None] = print) -> None:
    """Link the files of one dataset, or of all; UserError for one that is not there."""
    for name in [dataset] if dataset else project.datasets:
        links = named_files(name, project.dataset(name))
        aside = LINKS / f"{name}.partial"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        for link, file in links.items():
            (aside / link).symlink_to(file.resolve())
        replace_folder(aside, LINKS / name)
        log(f"{LINKS / name}: {', '.join(links)}")
    TARGETS.mkdir(parents=True, exist_ok=True)  # `evaluate` depends on it in DVC, with or without teachers


def named_files(name: str, dataset: DatasetSettings) -> dict[str, Path]:
    """Return the files that a dataset's entry names, by the names of their links, each file once; UserError for a missing one."""
    folder = Path(dataset.annotations)
    files: dict[str, Path] = {}
    for split in [split for split in dataset.splits if split != TAUGHT_SPLITS[1]]:
        part = dataset.annotation_file(split)
        named = {"annotations": part.file, "truth": part.truth, "detections": part.detections}
        paths = {what: folder / file for what, file in named.items() if file is not None}
        for what, path in (paths | ({"only": Path(part.only)} if part.only else {})).items():
            refuse_missing(f"datasets.{name}.{split}", path)
            files[f"{split}-{what}{path.suffix}"] = path
    digests = {file.with_name(IMAGE_DIGEST) for file in files.values()}
    files |= {
        f"images-{n}.sha256": digest for n, digest in enumerate(sorted(path for path in digests if path.is_file()))
    }
    first = {path.resolve(): link for link, path in reversed(files.items())}
    return {link: path for link, path in files.items() if first[path.resolve()] == link}
