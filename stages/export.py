"""`export`: a student as an ONNX file that is a teacher at once, or in rtmlib's form, checked on real crops; its model card beside it."""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx

from cache.lock import exclusive
from pipeline.crops import crop
from pipeline.errors import UserError
from pipeline.files import sha256, write_atomically
from pipeline.frames import apply, regions_of_boxes
from pipeline.networks.build import Student, load_student
from pipeline.networks.export import export_onnx
from pipeline.networks.model_card import ModelCard, model_card
from pipeline.networks.quantisation import in_int8
from pipeline.networks.rtmlib import TOLERANCE, RtmlibForm, rtmlib_spec
from pipeline.networks.run import forward_of
from pipeline.people.pictures import read_picture, safe_path
from pipeline.predict import poses_of_crops
from pipeline.skeletons import NO_SKELETON, SKELETONS
from pipeline.spec import NetworkSpec
from pipeline.teachers.exported import open_exported
from pipeline.teachers.onnx_file import half_precision
from stages.datasets import TEST, TRAIN, DatasetSettings, dataset_settings, load_people, named, table_path
from stages.params import parse
from stages.starts import learned_from
from stages.students import STUDENTS, Arm, arm_named
from stages.teachers import listed_teachers

CROPS = 64
METRICS = Path("results/metrics.json")
EXPORTED = Path("data/exported")
BESIDE_SCORES = ("average", "validation", "intervals", "keypoints", "difference", "sha256")
"""What metrics.json has per model beside its datasets."""

Target = Literal["onnx", "rtmlib"]
Precision = Literal["float32", "float16", "int8"]

AI_CHALLENGER = "AI Challenger: as the terms of that competition say."
LICENCES = {
    "coco": "COCO: annotations CC BY 4.0; each picture keeps the licence its photographer gave it (`license` in the annotation file).",
    "mpii": "MPII Human Pose: for non-commercial research only, and so what was learned from it.",
    "mpii-release": "MPII Human Pose: for non-commercial research only, and so what was learned from it.",
    "halpe": "Halpe-FullBody: as its project page says; its pictures are COCO's and HICO-DET's.",
    "aic": AI_CHALLENGER,
    "aic-release": AI_CHALLENGER,
    "crowdpose": "CrowdPose: as its project page says; its pictures are COCO's, MPII's and AI Challenger's.",
    "boxes": "Pictures with boxes of the user's own: as their owner says.",
    "sample": "The built-in sample is drawn by this project: Apache-2.0.",
}


@dataclass(frozen=True)
class People:
    """Pictures of people to check an export on."""

    pictures: list[np.ndarray]
    boxes: np.ndarray

    def crops(self, spec: NetworkSpec) -> np.ndarray:
        """uint8 (N, H, W, 3) of their boxes."""
        affines = spec.input_from_image(regions_of_boxes(self.boxes))
        parts = [crop(p, affines[n : n + 1], spec.input_wh) for n, p in enumerate(self.pictures)]
        return np.concatenate(parts)


def run(
    params: dict[str, Any],
    student: str | None = None,
    out: Path | None = None,
    say: Callable[[str], None] = print,
    target: Target = "onnx",
    precision: Precision = "float32",
) -> None:
    """Export one student (the first by default) to data/exported/<name>.onnx, or `out`, and its model card beside it.

    The name has `-rtmlib`, `-float16` or `-int8` added where it is such a file. UserError, and no file, where it does not compute
    what torch does.
    """
    name, arm = arm_named(params, student)
    loaded = load_student(STUDENTS / name)
    if target == "rtmlib" and precision != "float32":
        raise UserError(f"--for rtmlib: expected float32, found {precision}: bins are finer than {precision} can count")
    suffix = "-rtmlib" if target == "rtmlib" else "" if precision == "float32" else f"-{precision}"
    place = out or EXPORTED / f"{name}{suffix}.onnx"
    if place.suffix != ".onnx":
        raise UserError(f"--out: expected a file name that ends in .onnx, found {place}")
    people = _people(params, arm.datasets[0])
    spec = rtmlib_spec(loaded.spec) if target == "rtmlib" else loaded.spec
    with exclusive(place, passing=True):
        if target == "rtmlib":
            form = RtmlibForm(loaded.network, loaded.spec)
            difference = export_onnx(form, spec, place, people.crops(spec), TOLERANCE)
        else:
            difference = _export(loaded, place, people.crops(spec), precision)
        say(
            f"{place}: {len(spec.skeleton)} keypoints, any batch, "
            f"ONNX Runtime within {difference:.1e} of torch on {len(people.boxes)} crops"
        )
        if suffix:
            say(_agreement(loaded, place, people))
        if target == "rtmlib":
            say(f"rtmlib: RTMPose({place.name!r}, model_input_size={spec.input_wh})")
        beside = place.with_suffix(".md")
        card = _card(params, name, place, loaded.spec, target, precision)
        write_atomically(beside, model_card(card).encode())
    say(f"{beside}: its model card")


def _people(params: dict[str, Any], dataset: str) -> People:
    there = named(dataset_settings(params), dataset)
    people = load_people(dataset, TRAIN)
    rows = np.flatnonzero(people.use)[:CROPS]
    paths = [safe_path(there.images(TRAIN), people.image[row]) for row in rows]
    return People(
        [read_picture(path, people.image_wh[row]) for path, row in zip(paths, rows, strict=True)], people.box[rows]
    )


def _export(loaded: Student, place: Path, crops: np.ndarray, precision: Precision) -> float:
    """Write the student; the largest difference from torch is the float32 file's, from which the others are made."""
    if precision == "float32":
        return export_onnx(loaded.network, loaded.spec, place, crops)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "float32.onnx"
        difference = export_onnx(loaded.network, loaded.spec, whole, crops)
        model = half_precision(whole) if precision == "float16" else in_int8(whole, loaded.spec, crops)
    write_atomically(place, model)
    return difference


def _agreement(loaded: Student, place: Path, people: People) -> str:
    """How far the written file's keypoints are from the student's own, in pixels of the student's crop."""
    ours, confidence = poses_of_crops(
        forward_of(loaded.network, loaded.spec), loaded.spec, people.crops(loaded.spec), people.boxes
    )
    opened = open_exported(place, "cpu")
    theirs, other = poses_of_crops(opened.forward(8), opened.spec, people.crops(opened.spec), people.boxes)
    affines = loaded.spec.input_from_image(regions_of_boxes(people.boxes))
    distance = np.linalg.norm(apply(affines, theirs) - apply(affines, ours), axis=-1)
    half, most = np.quantile(distance, (0.5, 0.95))
    return (
        f"its keypoints are the student's own to {half:.2f} pixels of its crop (half of them), {most:.2f} (95 of 100); "
        f"its confidences to {np.quantile(np.abs(other - confidence), 0.95):.3f} (95 of 100)"
    )


def _card(
    params: dict[str, Any], name: str, place: Path, student: NetworkSpec, target: Target, precision: Precision
) -> ModelCard:
    spec = rtmlib_spec(student) if target == "rtmlib" else student
    datasets = dataset_settings(params)
    arm = _arm_of(params, name)
    teachers = {teacher: listed_teachers(params).get(teacher) or {} for teacher in arm.teachers}
    behind = [*arm.datasets, *(str(values.get("dataset")) for values in teachers.values())]
    shown = {k for dataset in behind if dataset in datasets for k in datasets[dataset].skeleton.keypoints}
    known = (SKELETONS.get(str(values.get("skeleton")), NO_SKELETON) for values in teachers.values())
    shown |= {k for skeleton in known for k in skeleton.keypoints}
    learned = [_learned_from(datasets, dataset) for dataset in arm.datasets]
    learned += [
        f"Maps of teacher {teacher} on these pictures: a network for {values.get('dataset')}, keypoints {values.get('skeleton')}."
        for teacher, values in teachers.items()
    ]
    licences = {LICENCES[kind] for dataset in behind for kind in _licences(params, datasets, dataset)}
    start = learned_from(_written(name).get("start"))
    if start is not None:
        learned.append(start[0])
        licences.add(start[1])
    scores, note = _scores(datasets, name, target, precision)
    return ModelCard(
        student=name,
        file=place.name,
        folder=(STUDENTS / name).as_posix(),
        spec=spec,
        outputs=_outputs(place),
        rtmlib=target == "rtmlib",
        equal_maxima=student.kind == "heatmap_logits",
        precision=precision,
        unlearned=[k for k in spec.skeleton.keypoints if k not in shown],
        learned=learned,
        scores=scores,
        note=note,
        licences=[*sorted(licences), "The code that made it: Apache-2.0."],
    )


def _arm_of(params: dict[str, Any], name: str) -> Arm:
    """What the student was trained on, as its own settings say; params.yaml may have changed since."""
    written = _written(name).get("arm")
    return parse(written, f"{STUDENTS / name / 'student.json'}: arm", Arm) if written else arm_named(params, name)[1]


def _learned_from(datasets: Mapping[str, DatasetSettings], name: str) -> str:
    labelled = name not in datasets or datasets[name].labelled
    what = "Labels and pictures" if labelled else "Pictures and boxes, without labels,"
    return f"{what} of {_training_part(datasets, name)}."


def _written(name: str) -> dict[str, Any]:
    return dict(json.loads((STUDENTS / name / "student.json").read_text()))


def _training_part(datasets: Mapping[str, DatasetSettings], name: str) -> str:
    train = datasets[name].train if name in datasets else None
    return f"{name} (`{train.file}`)" if train else name


def _licences(params: dict[str, Any], datasets: Mapping[str, DatasetSettings], name: str) -> list[str]:
    if name not in datasets:
        return []
    sample = params.get("sample")
    sample = sample.get("folder") if isinstance(sample, dict) else None
    annotations = Path(datasets[name].annotations)
    return ["sample"] if sample and annotations.is_relative_to(sample) else [datasets[name].format]


def _scores(
    datasets: Mapping[str, DatasetSettings], name: str, target: Target, precision: Precision
) -> tuple[dict[str, dict[str, str]], str]:
    """From metrics.json, and what has to be known about them."""
    later = f"`pipeline evaluate`, then `pipeline export --student {name}` again, puts them here."
    if not METRICS.is_file():
        return {}, f"Not scored when it was exported: {later}"
    found = json.loads(METRICS.read_text()).get(name)
    if not found:
        return {}, f"`{METRICS}` has no scores of this student: {later}"
    weights, written = STUDENTS / name / "student.safetensors", found.get("sha256")
    if written not in (None, sha256(weights)):
        return {}, f"`{METRICS}` has scores of another training of this student: {later}"
    if written is None and METRICS.stat().st_mtime < weights.stat().st_mtime:
        return {}, f"`{METRICS}` is older than this student: {later}"
    scores = {
        _test_part(datasets, on): {
            key: _value(value, found.get("intervals", {}).get(on, {}).get(key)) for key, value in values.items()
        }
        for on, values in found.items()
        if on not in BESIDE_SCORES
    }
    note = (
        f"0 to 100, from `{METRICS}`, with intervals of 95 % where it has them: the float32 student in annotated boxes."
    )
    if written is None:
        note += " That file does not say of which weights they are: the last evaluated ones of this name."
    if target == "rtmlib" or precision != "float32":
        note += " This file's own are to be had by `pipeline evaluate --model`."
    return scores, note


def _test_part(datasets: Mapping[str, DatasetSettings], name: str) -> str:
    test = datasets[name].test if name in datasets else None
    if test is None:
        return name
    path = table_path(name, TEST, "people")
    count = f", {int(load_people(name, TEST).use.sum())} people" if path.is_file() else ""
    return f"{name} (`{test.file}`{count})"


def _value(value: float | None, interval: list[float] | None) -> str:
    if value is None:
        return "none"
    known = interval is not None and None not in interval
    return f"{value:.1f}" + (f" ({interval[0]:.1f} to {interval[1]:.1f})" if known and interval else "")


def _outputs(place: Path) -> dict[str, list[int]]:
    """Names and shapes of the file's outputs, without the batch."""
    return {
        output.name: [d.dim_value for d in output.type.tensor_type.shape.dim[1:]]
        for output in onnx.load(place, load_external_data=False).graph.output
    }
