"""`pipeline label`: a dataset in the full skeleton, filled from the teachers' stores, and the labels that look wrong."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.common.documents import csv_bytes
from pipeline.common.errors import UserError
from pipeline.common.files import sha256, write_atomically
from pipeline.common.locks import exclusive
from pipeline.common.progress import progress
from pipeline.labelling.consensus import Predictions, consensus, predictions_of, tolerance
from pipeline.labelling.document import filled_document
from pipeline.labelling.fill import (
    LABEL_SOURCE,
    NO_SOURCE,
    FilledPeople,
    fill_missing,
    labels_as,
    without_mistaken_people,
)
from pipeline.labelling.neighbours import at_another_persons_label, at_other_sides_label
from pipeline.labelling.source import (
    SourceAnnotations,
    coco_annotations,
    default_annotations,
    mpii_release_annotations,
)
from pipeline.labelling.suspicion import Suspicion, suspicious_labels
from pipeline.labelling.suspicion_files import SUSPICION_COLUMNS, suspicion_rows, suspicion_sheet
from pipeline.people.people import People
from pipeline.people.poses import Poses
from pipeline.pose.options import Device
from pipeline.pose.skeletons import Skeleton
from stages.project.datasets import TAUGHT_SPLITS, TEST, TRAIN, DatasetSettings, load_people, load_views
from stages.project.project import Project
from stages.project.students import STUDENTS
from stages.stores.decode import decoded_poses
from stages.stores.targets import open_target_store

LABELS_FOLDER = Path("data/labels")


@dataclass(frozen=True)
class LabelOptions:
    """Options of the command line."""

    out: Path | None = None
    """Folder to write to; by default data/labels/DATASET-SPLIT."""
    student: str | None = None
    """Name of a trained student that predicts as well."""
    confidence: float = 0.4
    """Keypoints of networks count above this confidence. Of a weak teacher's keypoints with a confidence from 0.4 to 0.5, nine in
    ten are within two tolerances on labelled people of COCO."""
    worst: int = 24
    """Number of people with suspicious labels that are drawn."""
    device: Device = "auto"
    """Device that the student runs on."""


def run(
    project: Project,
    dataset: str,
    split: str = TRAIN,
    options: LabelOptions | None = None,
    log: Callable[[str], None] = print,
) -> None:
    """Write annotations/person_keypoints_SPLIT.json, where COCO's tools look for it, and suspicious.{json,csv,jpg} beside that folder.

    Every teacher of params.yaml must have finished its store. UserError where a name is unknown, a store is missing or stale, or
    the source would be overwritten.
    """
    options = options or LabelOptions()
    settings, skeleton = project.dataset(dataset), project.skeleton
    _refuse_split(dataset, split, settings)
    if options.student:
        project.student(options.student)
    folder, annotations = options.out or LABELS_FOLDER / f"{dataset}-{split}", _annotation_file(settings, split)
    document_path = folder / "annotations" / f"person_keypoints_{split}.json"
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: expected a folder to write to, found a file: choose another with `--out`")
    if document_path.resolve() == annotations.resolve():
        raise UserError(f"{document_path}: is the dataset's own annotation file: choose another folder with `--out`")

    people = load_people(dataset, split)
    poses, hashes = _teacher_poses(project, dataset, split, people)
    source = _source_annotations(settings, annotations, people)
    if options.student:
        name = f"student {options.student}"
        poses[name] = _student_poses(project, options, settings.images(split), people)
        hashes[name] = sha256(STUDENTS / options.student / "student.safetensors")
    predictions = predictions_of(poses, people, skeleton)
    suspicions = _suspicions(people, skeleton, predictions, options.confidence)
    filled = _filled(people, skeleton, predictions, options.confidence)
    info = {
        "description": "labels of a dataset in the full skeleton, the missing ones from networks",
        "made_by": "pipeline label",
        "dataset": dataset,
        "split": split,
        "source": annotations.name,
        "source_sha256": sha256(annotations),
        "networks_sha256": hashes,
        "confidence_above": options.confidence,
    }
    of_file = [people, *(load_people(dataset, other) for other in _other_splits(settings, split))]
    shift, image_shift = (
        int(any((getattr(part, ids) == 0).any() for part in of_file)) for ids in ("person", "image_id")
    )
    with progress(len(people), f"labelling {dataset} {split}", "people") as bar:
        document = filled_document(people, source, filled, skeleton, info, (shift, image_shift), bar.update)
    with exclusive(folder, remove_lock_file=True):
        write_atomically(document_path, (json.dumps(document) + "\n").encode())
        rows = suspicion_rows(people, suspicions)
        write_atomically(folder / "suspicious.json", (json.dumps(rows, indent=1) + "\n").encode())
        write_atomically(folder / "suspicious.csv", csv_bytes(SUSPICION_COLUMNS, rows))
        sheet, drawn = folder / "suspicious.jpg", suspicions[: options.worst]
        if drawn:
            with progress(len(drawn), "drawing suspicious labels", "people") as bar:
                jpeg = suspicion_sheet(
                    people, skeleton, settings.images(split), predictions, options.confidence, drawn, bar.update
                )
            write_atomically(sheet, jpeg)
        else:
            sheet.unlink(missing_ok=True)  # an earlier run's
    _log_counts(people, skeleton, filled, log)
    log(f"{document_path}: {int(people.use.sum())} people in use of {len(people)}, {len(skeleton)} keypoints")
    if len(predictions.names) < 2:
        log("suspicious labels need two networks that agree: list another teacher, or add a student with `--student`")
    else:
        log(
            f"{len(rows)} suspicious labels of {len(suspicions)} people: {folder / 'suspicious'}.csv and .json"
            + (f", the worst {len(drawn)} people in {sheet}" if drawn else "")
        )


def _refuse_split(dataset: str, split: str, settings: DatasetSettings) -> None:
    """Raise UserError where the dataset has no such split, or teachers are not run on it."""
    if split not in settings.splits or split not in TAUGHT_SPLITS:
        splits = [name for name in settings.splits if name in TAUGHT_SPLITS]
        raise UserError(
            f"dataset {dataset} has no split `{split}` that teachers run on: "
            + (f"expected one of {', '.join(splits)}" if splits else "it has no `train` part")
        )


def _annotation_file(settings: DatasetSettings, split: str) -> Path:
    part = settings.test if split == TEST else settings.train
    assert part is not None
    return Path(settings.annotations) / part.file


def _other_splits(settings: DatasetSettings, split: str) -> list[str]:
    """Return the other splits that come from the same annotation file."""
    file = _annotation_file(settings, split)
    return [other for other in settings.splits if other != split and _annotation_file(settings, other) == file]


def _source_annotations(settings: DatasetSettings, annotations: Path, people: People) -> SourceAnnotations:
    if not len(people.skeleton):
        return default_annotations(people)
    if settings.format in ("coco", "aic", "crowdpose", "halpe"):
        return coco_annotations(annotations, people, settings.people_categories)
    if settings.format == "mpii-release":
        return mpii_release_annotations(annotations, people)
    return default_annotations(people)


def _teacher_poses(
    project: Project, dataset: str, split: str, people: People
) -> tuple[dict[str, Poses], dict[str, str]]:
    """Return poses and file hashes of all teachers, by network name. All stores are checked before the first is read."""
    names = project.teacher_names
    if not names:
        raise UserError("params.yaml: teachers: expected at least one to fill in what labels lack, found none")
    views = load_views(dataset, split, people)
    stores = {name: open_target_store(project, name, dataset, split, people, views) for name in names}
    poses, hashes = {}, {}
    with progress(len(people) * len(names), f"reading {dataset} {split}", "people") as bar:
        for name, store in stores.items():
            poses[f"teacher {name}"] = decoded_poses(store, project.teacher(name).spec, people, bar.update)
            hashes[f"teacher {name}"] = str(store.fingerprint["teacher"])
    return poses, hashes


def _student_poses(project: Project, options: LabelOptions, images: Path, people: People) -> Poses:
    from stages.evaluate.inference import poses_in_boxes
    from stages.evaluate.models import model_named

    model = model_named(project, str(options.student), options.device, flip=False)
    with progress(int(people.use.sum()), f"student {options.student}", "people") as bar:
        return poses_in_boxes(model, people, images, bar.update)


def _suspicions(
    people: People, skeleton: Skeleton, predictions: Predictions, confidence: float
) -> list[list[Suspicion]]:
    """Return the suspicious labels, without those where the networks may have predicted another person."""
    tolerances = tolerance(people, skeleton)
    predicted = consensus(predictions, tolerances, confidence)
    labels, labelled = labels_as(people, skeleton)
    excluded = at_another_persons_label(people.image_id, predicted.keypoints, labels, labelled, tolerances)
    return suspicious_labels(people, skeleton, predicted, tolerances, excluded)


def _filled(people: People, skeleton: Skeleton, predictions: Predictions, confidence: float) -> FilledPeople:
    """Fill the people with the consensus of the networks that do not mistake them, neighbours' and other sides' keypoints left out."""
    tolerances = tolerance(people, skeleton)
    labels, labelled = labels_as(people, skeleton)
    own = without_mistaken_people(predictions, labels, labelled, tolerances, confidence)
    predicted = consensus(own, tolerances, confidence)
    excluded = at_another_persons_label(people.image_id, predicted.keypoints, labels, labelled, tolerances)
    excluded |= at_other_sides_label(predicted.keypoints, labels, labelled, skeleton.mirror, tolerances)
    return fill_missing(people, skeleton, own.names, predicted, excluded)


def _log_counts(people: People, skeleton: Skeleton, filled: FilledPeople, log: Callable[[str], None]) -> None:
    """Log how many keypoints of the people in use are labelled, filled and missing."""
    source = filled.source[people.use]
    width = max(map(len, skeleton.keypoints))
    log(f"{'keypoint':<{width}} labelled   filled  missing")
    for k, name in enumerate(skeleton.keypoints):
        labelled, missing = int((source[:, k] == LABEL_SOURCE).sum()), int((source[:, k] == NO_SOURCE).sum())
        log(f"{name:<{width}} {labelled:>8} {len(source) - labelled - missing:>8} {missing:>8}")
