"""`pipeline label`: a dataset with the full skeleton, filled from the teachers' stores, and the labels that look wrong."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cache.lock import exclusive
from pipeline.crops import crop
from pipeline.drawing import sheet
from pipeline.errors import UserError
from pipeline.files import sha256, write_atomically
from pipeline.frames import apply, input_from_image, regions_of_boxes
from pipeline.labels.consensus import Opinions, consensus, opinions_of, tolerance
from pipeline.labels.document import coco_document
from pipeline.labels.fill import LABEL, NOBODY, Filled, at_hand, fill, labels_in
from pipeline.labels.marks import draw_in_question
from pipeline.labels.neighbours import on_another, on_other_side
from pipeline.labels.source import Source, coco_source, plain_source, release_source
from pipeline.labels.suspicion import Suspicion, suspicions
from pipeline.people.people import People
from pipeline.people.pictures import read_picture, safe_path
from pipeline.scores.poses import Poses
from pipeline.skeletons import Skeleton
from pipeline.teachers.providers import Device
from stages.datasets import (
    TAUGHT,
    TEST,
    TRAIN,
    DatasetSettings,
    dataset_settings,
    load_people,
    load_views,
    named,
    unified,
)
from stages.decoded import decoded_poses
from stages.progress import progress
from stages.stores import open_store
from stages.students import STUDENTS, arm_named
from stages.teachers import listed_teachers, teacher_settings

LABELS = Path("data/labels")
SUSPICIOUS = "suspicious"
CROP_WH = (216, 288)
PADDING = 1.4
QUALITY = 90
"""Of the JPEG with suspicious labels."""


@dataclass(frozen=True)
class Options:
    """What the command line says beside the names."""

    out: Path | None = None
    student: str | None = None
    """A trained student that is asked as well."""
    confidence: float = 0.4
    """A network's keypoint counts above it. Of a weak teacher's between 0.4 and 0.5, on labelled people of COCO, nine in ten are
    within two tolerances."""
    worst: int = 24
    """People drawn among those with suspicious labels."""
    device: Device = "auto"
    """Where the student runs."""


def run(
    params: dict[str, Any],
    dataset: str,
    split: str = TRAIN,
    options: Options | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Write annotations/person_keypoints_SPLIT.json, where COCO's tools look for it, and suspicious.{json,csv,jpg} beside that folder.

    Every teacher of params.yaml must have finished its store. UserError where a name is unknown, a store is absent or stale, or
    the source would be overwritten.
    """
    options = options or Options()
    known = dataset_settings(params)
    settings, skeleton = named(known, dataset), unified(params)
    if split not in settings.splits or split not in TAUGHT:
        there = [each for each in settings.splits if each in TAUGHT]
        raise UserError(
            f"dataset {dataset} has no split `{split}` that teachers look at: "
            + (f"expected one of {', '.join(there)}" if there else "it has no `train` part")
        )
    if options.student:
        arm_named(params, options.student)
    place = options.out or LABELS / f"{dataset}-{split}"
    document_path, annotations = place / "annotations" / f"person_keypoints_{split}.json", _annotations(settings, split)
    if place.exists() and not place.is_dir():
        raise UserError(f"{place}: expected a folder to write to, found a file: choose another with `--out`")
    if document_path.resolve() == annotations.resolve():
        raise UserError(f"{document_path}: is the dataset's own annotation file: choose another folder with `--out`")

    people = load_people(dataset, split)
    poses, hashes = _teachers(params, dataset, split, people)
    source = _source(settings, annotations, people)
    if options.student:
        name = f"student {options.student}"
        poses[name] = _student(params, options, settings.images(split), people)
        hashes[name] = sha256(STUDENTS / options.student / "student.safetensors")
    opinions = opinions_of(poses, people, skeleton)
    allowed = tolerance(people, skeleton)
    found = consensus(opinions, allowed, options.confidence)
    labels, labelled = labels_in(people, skeleton)
    excused = on_another(people.image_id, found.keypoints, labels, labelled, allowed)
    suspects = suspicions(people, skeleton, found, allowed, excused)
    own = at_hand(opinions, labels, labelled, allowed, options.confidence)
    taken = consensus(own, allowed, options.confidence)
    barred = on_another(people.image_id, taken.keypoints, labels, labelled, allowed)
    barred |= on_other_side(taken.keypoints, labels, labelled, skeleton.mirror, allowed)
    filled = fill(people, skeleton, own, taken, barred)

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
    with progress(len(people), f"labelling {dataset} {split}", "people") as bar:
        document = coco_document(people, source, filled, skeleton, info, bar.update)
    with exclusive(place, passing=True):
        write_atomically(document_path, (json.dumps(document) + "\n").encode())
        shown = suspects[: options.worst]
        rows = [_row(people, suspicion, rank) for rank, person in enumerate(suspects, start=1) for suspicion in person]
        write_atomically(place / f"{SUSPICIOUS}.json", (json.dumps(rows, indent=1) + "\n").encode())
        write_atomically(place / f"{SUSPICIOUS}.csv", _csv(rows))
        picture = place / f"{SUSPICIOUS}.jpg"
        if shown:
            write_atomically(
                picture, _sheet(people, skeleton, settings.images(split), opinions, options.confidence, shown)
            )
        else:
            picture.unlink(missing_ok=True)  # an earlier run's
    _report(people, skeleton, filled, say)
    say(f"{document_path}: {int(people.use.sum())} people in use of {len(people)}, {len(skeleton)} keypoints")
    if len(opinions.names) < 2:
        say("suspicious labels need two networks that agree: list another teacher, or ask a student with `--student`")
    else:
        say(
            f"{len(rows)} suspicious labels of {len(suspects)} people: {place / SUSPICIOUS}.csv and .json"
            + (f", the worst {len(shown)} people in {picture}" if shown else "")
        )


def _annotations(settings: DatasetSettings, split: str) -> Path:
    part = settings.test if split == TEST else settings.train
    assert part is not None
    return Path(settings.annotations) / part.file


def _source(settings: DatasetSettings, annotations: Path, people: People) -> Source:
    if settings.format in ("coco", "aic", "crowdpose", "halpe"):
        return coco_source(annotations, people, by_name=settings.format != "halpe")
    if settings.format == "mpii-release":
        return release_source(annotations, people)
    return plain_source(people)


def _teachers(
    params: dict[str, Any], dataset: str, split: str, people: People
) -> tuple[dict[str, Poses], dict[str, str]]:
    """Poses and file hashes of all teachers, by source name; all stores are checked before the first is read."""
    names = list(listed_teachers(params))
    if not names:
        raise UserError("params.yaml: teachers: expected at least one to fill in what labels lack, found none")
    views = load_views(dataset, split, people)
    stores = {name: open_store(params, name, dataset, split, people, views) for name in names}
    poses, hashes = {}, {}
    with progress(len(people) * len(names), f"reading {dataset} {split}", "people") as bar:
        for name, store in stores.items():
            poses[f"teacher {name}"] = decoded_poses(store, teacher_settings(params, name).spec, people, bar.update)
            hashes[f"teacher {name}"] = str(store.fingerprint["teacher"])
    return poses, hashes


def _student(params: dict[str, Any], options: Options, images: Path, people: People) -> Poses:
    from stages.evaluation.inference import poses_in_boxes
    from stages.evaluation.models import model_named

    model = model_named(params, str(options.student), options.device, flip=False)
    with progress(int(people.use.sum()), f"student {options.student}", "people") as bar:
        return poses_in_boxes(model, people, images, bar.update)


def _row(people: People, suspicion: Suspicion, rank: int) -> dict[str, Any]:
    """An entry of suspicious.json; the same keys are the columns of suspicious.csv."""
    values = asdict(suspicion)
    row = values.pop("row")
    (x, y), (seen_x, seen_y) = values.pop("label"), values.pop("seen")
    return {
        "rank": rank,
        "image": str(people.image[row]),
        "person": int(people.person[row]),
        "keypoint": values["keypoint"],
        "suspicion": values["kind"],
        "tolerances": round(values["tolerances"], 2),
        "of_box": round(values["of_box"], 4),
        "label_x": x,
        "label_y": y,
        "seen_x": round(seen_x, 2),
        "seen_y": round(seen_y, 2),
        "confidence": round(values["confidence"], 4),
    }


COLUMNS = (
    *("rank", "image", "person", "keypoint", "suspicion", "tolerances", "of_box"),
    *("label_x", "label_y", "seen_x", "seen_y", "confidence"),
)


def _csv(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _sheet(
    people: People,
    skeleton: Skeleton,
    images: Path,
    opinions: Opinions,
    confidence: float,
    shown: list[list[Suspicion]],
) -> bytes:
    """JPEG: a row per person, the label and each network in columns."""
    labels, labelled = labels_in(people, skeleton)
    lines, texts = [], []
    with progress(len(shown), "drawing suspicious labels", "people") as bar:
        for person in shown:
            row = person[0].row
            picture = read_picture(safe_path(images, str(people.image[row])), people.image_wh[row])
            affine = input_from_image(regions_of_boxes(people.box[row : row + 1]), CROP_WH, PADDING, "classic")
            plain = crop(picture, affine, CROP_WH)[0]
            columns = [("label", labels[row], labelled[row])]
            columns += [
                (name, opinions.keypoints[s, row], opinions.confidence[s, row] > confidence)
                for s, name in enumerate(opinions.names)
            ]
            questions = [tuple(apply(affine[0], np.array([s.label, s.seen]))) for s in person]
            lines.append(
                [
                    draw_in_question(
                        plain, skeleton, apply(affine[0], np.nan_to_num(points)), known, questions, seen=name != "label"
                    )
                    for name, points, known in columns
                ]
            )
            texts.append(f"{people.image[row]}, person {people.person[row]}: {_in_words(person)}")
            bar.update(1)
    finished = sheet(lines, ["label", *opinions.names], texts)
    try:
        done, data = cv2.imencode(".jpg", finished[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    except cv2.error:
        done = False
    if not done:
        raise UserError(f"{len(shown)} people are too many for one JPEG: ask for fewer with `--worst`")
    return bytes(data.tobytes())


def _in_words(person: list[Suspicion]) -> str:
    """Like `left and right exchanged: left_hip 1.3, right_hip 1.2; misplaced: left_knee 4.1 (tolerances)`."""
    kinds = dict.fromkeys(suspicion.kind for suspicion in person)
    found = (
        f"{kind}: " + ", ".join(f"{s.keypoint} {s.tolerances:.1f}" for s in person if s.kind == kind) for kind in kinds
    )
    return "; ".join(found) + " (tolerances)"


def _report(people: People, skeleton: Skeleton, filled: Filled, say: Callable[[str], None]) -> None:
    """Labelled, filled and missing keypoints of the people in use."""
    source = filled.source[people.use]
    width = max(map(len, skeleton.keypoints))
    say(f"{'keypoint':<{width}} labelled   filled  missing")
    for k, name in enumerate(skeleton.keypoints):
        labelled, missing = int((source[:, k] == LABEL).sum()), int((source[:, k] == NOBODY).sum())
        say(f"{name:<{width}} {labelled:>8} {len(source) - labelled - missing:>8} {missing:>8}")
