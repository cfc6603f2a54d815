"""The report's examples of stored targets: some people of each training set with their labels and the teachers' maps."""

import tempfile
from pathlib import Path

import numpy as np

from pipeline.common.errors import UserError
from pipeline.people.images import read_image
from pipeline.report.figures import ReportImage
from pipeline.report.page import jpeg_uri
from stages import show
from stages.project.datasets import TRAIN, VALIDATION, load_people
from stages.project.project import Project
from stages.report.provenance import Log


def target_examples(project: Project, count: int, log: Log) -> list[ReportImage]:
    """Return the sheets that `pipeline show` draws of `count` people of each dataset with a training part."""
    images: list[ReportImage] = []
    messages: list[str] = []
    for name in project.trained_datasets if count else ():
        try:
            split, persons = _some_people(name, count)
            for person in persons:
                with tempfile.TemporaryDirectory() as folder:
                    sheet = Path(folder) / "sheet.png"
                    of_show: list[str] = []
                    show.run(project, person, name, sheet, of_show.append, split)
                    messages += [line for line in of_show if not line.startswith(folder)]
                    images.append(ReportImage(f"person {person} of {name} {split}", jpeg_uri(read_image(sheet))))
        except UserError as error:
            messages.append(str(error))
    for line in dict.fromkeys(messages):
        log(line)
    return images


def _some_people(dataset: str, count: int) -> tuple[str, list[int]]:
    """Return a split and ids of people in use, spread evenly over it. Validation people are preferred to training people."""
    for split in (VALIDATION, TRAIN):
        people = load_people(dataset, split)
        used = people.person[people.use]
        if len(used):
            positions = np.linspace(0, len(used) - 1, count + 2).astype(int)[1:-1]
            return split, [int(person) for person in np.unique(used[positions])]
    raise UserError(f"{dataset}: expected people in use, found none: run `pipeline prepare --dataset {dataset}`")
