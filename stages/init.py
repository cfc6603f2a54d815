"""`pipeline init`: a params.yaml from folders of COCO and MPII and from teachers' ONNX files, with comments where something is guessed."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.common.errors import UserError, short_repr
from pipeline.common.files import write_atomically
from pipeline.datasets.coco import images_by_id
from pipeline.people.validation import field, file_name, read_json
from pipeline.pose.options import ScoreKind
from pipeline.pose.skeletons import SKELETONS
from stages.project.datasets import DatasetSettings, parse_dataset
from stages.project.parsing import PARAMS_FILE
from stages.project.project import project_of
from stages.project.yaml_files import read_yaml_text, yaml_text
from stages.teacher_spec import EntryLine, entry_text, teacher_entry

SCORES: dict[str, ScoreKind] = {"coco": "ap", "mpii": "pckh"}
"""The score of each format that `init` finds the files of."""
TRAIN_WORDS, TEST_WORDS = ("train",), ("val", "test")
"""Words in the names of files and folders of training people, and of test people."""
DEPTH = 3
"""Levels of folders in which images are looked for."""
LABEL_SHARE = 0.4
"""Weight of the labels in the loss; teachers share the rest equally."""
TEMPLATE = """\
# Written by `pipeline init`. Every section and key: docs/settings.md. Comments in `teachers` name what is guessed.
seed: 0

data: []

skeletons: {{}}                       # keypoints of your own: docs/skeletons.md

datasets:
{datasets}

prepare:
  validation: 0.1                   # share of the training images that validate
  views: 8                          # regions per person that every teacher is run on
  rotation: 80                      # largest, in degrees

crops:
  quality: 90                       # of the JPEGs that students read

teachers:{teachers}

fit:
  teachers: []                      # teachers to train from labels, if you have no file of them

targets: data/targets               # folder of the teachers' stores; or s3://bucket/prefix, see docs/remote.md

teach:
  shard: 128                        # people that are written, and resumed, together

distill:
  width: 96
  depth: 2
  input: [256, 192]                 # height, width
  weights: fixed
  terms: {terms}
  min_score: 0.2                    # a teacher's keypoint with a lower score is left out
  training: {{steps: 20000, batch: 64, learning_rate: 0.004, average: 0.9998, sigma: 1.5}}   # steps: more people, more steps

students:
  unified: {{datasets: [{names}], teachers: [{teacher_names}]}}

baselines:
  joint: {{datasets: [{names}]}}

evaluate:
  name: own                         # heading in results/summary.json, which `dvc metrics diff` compares
  resamples: 1000                   # bootstrap resamples of the test images, for the intervals

report:
  people: 3
"""


@dataclass(frozen=True)
class FoundDataset:
    """The files of a dataset in a folder, as its entry in params.yaml."""

    entry: dict[str, object]
    note: str = ""
    """What is to be known about it."""


def run(
    folders: Mapping[str, Path],
    teachers: Mapping[str, Path],
    force: bool = False,
    params: Path = PARAMS_FILE,
    log: Callable[[str], object] = print,
) -> None:
    """Write params.yaml from the folders of datasets, by format, and the ONNX files of teachers, by name.

    UserError where there is a params.yaml, unless `force`, and where files are missing or not clear; nothing is written then.
    """
    if params.exists() and not force:
        raise UserError(
            f"{params}: exists: `--force` replaces it; `pipeline teacher spec FILE --write NAME` adds a teacher"
        )
    if not folders:
        raise UserError("expected a folder of a dataset, found none: give `--coco PATH`, `--mpii PATH` or both")
    found = {name: find_dataset(name, folder) for name, folder in folders.items()}
    datasets = {name: parse_dataset(name, each.entry) for name, each in found.items()}
    entries = {name: teacher_entry(path, name, datasets, SKELETONS) for name, path in teachers.items()}
    text = params_text(found, entries)
    project = project_of(read_yaml_text(text, params), params)
    write_atomically(params, text.encode())
    for name, each in found.items():
        log(f"dataset {name}: {_parts(datasets[name])}{f'; {each.note}' if each.note else ''}")
    for name, entry in entries.items():
        unsure = [line.key for line in entry if line.note]
        log(f"teacher {name}: {teachers[name]}{'; to be checked: ' + ', '.join(unsure) if unsure else ''}")
    missing = [name for name, entry in entries.items() if any(line.value is None for line in entry)]
    if missing:
        log(f"next: fill in what teachers.{missing[0]} in {params} asks for, then `pipeline validate`")
        return
    project.check()
    checks = [f"pipeline teacher check --teacher {name}" for name in entries]
    stages = [*(f"pipeline teach --teacher {name}" for name in entries), "pipeline distill", "pipeline evaluate"]
    rest = ["dvc repro"] if Path("dvc.yaml").is_file() else stages
    log(f"next: {'; '.join(['pipeline prepare', *checks, *rest])}")


def find_dataset(name: str, folder: Path) -> FoundDataset:
    """Return the entry of a folder of COCO or MPII; UserError where its files are missing, or several could be meant."""
    if not folder.is_dir():
        raise UserError(f"--{name} {folder}: expected a folder, found none")
    at = next((place for place in (folder / "annotations", folder) if any(place.glob("*.json"))), None)
    if at is None:
        raise UserError(
            f"--{name} {folder}: expected annotation files (.json) in it or in its folder annotations, found none: "
            f"`pipeline data fetch {name}` brings the published ones"
        )
    train = _one_of(name, at, "train", TRAIN_WORDS, ())
    if train is None:
        raise UserError(f"--{name} {at}: expected a file with `train` in its name, found none: rename it")
    test = _one_of(name, at, "test", TEST_WORDS, TRAIN_WORDS)
    entry: dict[str, object] = {"format": name, "annotations": str(at), "score": SCORES[name]}
    entry["train"] = {"file": train.name, "images": str(_image_folder(name, folder, train, TRAIN_WORDS, TEST_WORDS))}
    if test is None:
        return FoundDataset({**entry, "test": {"share": 0.2}}, "no file of test people: a fifth of the images tests")
    of_test: dict[str, object] = {"file": test.name}
    note = ""
    if name == "mpii":
        truth = sorted(path.name for path in at.glob("*gt*.mat"))
        if len(truth) == 1:
            of_test["truth"] = truth[0]
        else:
            note = "no file of head boxes (mpii_gt_val.mat), so they follow from head top and upper neck"
    of_test["images"] = str(_image_folder(name, folder, test, TEST_WORDS, TRAIN_WORDS))
    return FoundDataset({**entry, "test": of_test}, note)


def params_text(found: Mapping[str, FoundDataset], teachers: Mapping[str, list[EntryLine]]) -> str:
    """Return the text of a params.yaml."""
    datasets: list[str] = []
    for name, each in found.items():
        datasets.append(f"  {name}:" + (f"{'':<{30 - len(name)}}  # {each.note}" if each.note else ""))
        datasets += [f"    {key}: {yaml_text(value, flow=True).strip()}" for key, value in each.entry.items()]
    lines = [
        line for name, entry in teachers.items() for line in ("", f"  {name}:", *entry_text(entry, "    ")) if line
    ]
    share = round((1 - LABEL_SHARE) / max(len(teachers), 1), 3)
    terms = {"truth": LABEL_SHARE if teachers else 1.0, **dict.fromkeys(teachers, share)}
    return TEMPLATE.format(
        datasets="\n".join(datasets),
        teachers="\n" + "\n".join(lines) if lines else " {}",
        terms=yaml_text(terms, flow=True).strip(),
        names=", ".join(found),
        teacher_names=", ".join(teachers),
    )


def _one_of(name: str, folder: Path, part: str, words: tuple[str, ...], without: tuple[str, ...]) -> Path | None:
    """Return the annotation file with one of the words in its name, None if there is none; UserError for several."""
    fitting = [
        path
        for path in sorted(folder.glob("*.json"))
        if any(word in path.stem.lower() for word in words) and not any(word in path.stem.lower() for word in without)
    ]
    fitting = [path for path in fitting if "keypoints" in path.stem] or fitting
    if len(fitting) > 1:
        files = ", ".join(path.name for path in fitting)
        raise UserError(f"--{name} {folder}: expected one file of {part} people, found {files}: move the others away")
    return fitting[0] if fitting else None


def _image_folder(name: str, folder: Path, annotations: Path, words: tuple[str, ...], others: tuple[str, ...]) -> Path:
    """Return the folder below `folder` that holds the first image of an annotation file.

    Folders of another split may hold an image of the same name: of several folders, those count that have one of the `words` in
    their path and none of the `others`. UserError where that leaves none or several.
    """
    image = _first_image(name, annotations)
    found, level = [], [folder]
    for _ in range(DEPTH):
        found += [each for each in level if (each / image).is_file()]
        level = [Path(entry.path) for each in level for entry in sorted(os.scandir(each), key=_name) if entry.is_dir()]
    if not found:
        raise UserError(
            f"{annotations}: expected its image {image} in a folder of {folder}, found it in none: unpack the images there"
        )
    below = {each: str(each.relative_to(folder)).lower() for each in found}
    of_split = [
        each
        for each, path in below.items()
        if any(word in path for word in words) and not any(word in path for word in others)
    ]
    if len(found) > 1 and len(of_split) != 1:
        raise UserError(
            f"{annotations}: expected its image {image} in one folder of {folder}, found it in {', '.join(map(str, found))}: give "
            f"the right one a name with {' or '.join(words)} in it"
        )
    return (of_split or found)[0]


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _first_image(name: str, annotations: Path) -> str:
    document = read_json(annotations)
    if name == "mpii":
        if not isinstance(document, list) or not document:
            raise UserError(f"{annotations}: expected a list of people, found {short_repr(document)}: is it MPII's?")
        return file_name(field(document[0], "image", (annotations, 0)), (annotations, 0))
    images = images_by_id(document, annotations)
    if not images:
        raise UserError(f"{annotations}: expected images, found none: is it the right file?")
    return next(iter(images.values()))[0]


def _parts(dataset: DatasetSettings) -> str:
    train, test = dataset.train, dataset.test
    assert train is not None and test is not None
    return f"{train.file} with {train.images}, " + (
        f"tested on {test.file} with {test.images}" if test.share is None else "tested on a share of it"
    )
