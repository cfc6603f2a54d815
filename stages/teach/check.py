"""`pipeline teacher check`: scores a teacher on people of its dataset, under its spec in params.yaml and under variants of the spec."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.common.errors import UserError
from pipeline.common.progress import progress
from pipeline.inference.predict import crops_of, poses_of_outputs
from pipeline.inference.session import DEFAULT_BATCH, Teacher, open_teacher
from pipeline.metrics.accuracy import accuracy
from pipeline.metrics.pck import keypoint_errors
from pipeline.metrics.score_names import SCORE_NAMES
from pipeline.people.people import People
from pipeline.people.plausibility import areas_used
from pipeline.people.poses import Poses, poses_of
from pipeline.pose.options import Device
from pipeline.pose.outputs import OutputArrays
from pipeline.pose.own_skeletons import guessed_sigmas_note
from pipeline.pose.spec import NetworkSpec
from pipeline.teachers.spec_variants import SpecVariant, spec_variants
from stages.project.datasets import TEST, TRAIN, load_people, with_prepare_hint
from stages.project.project import Project
from stages.project.teachers import TeacherSettings, teach_command

CHECK_PEOPLE = 200
"""People that a teacher is scored on by default."""
MIN_SCORE = 10.0
"""A teacher with a lower score, of 100, on its own dataset is broken, or its spec is wrong."""
CLEAR_GAIN = 3.0
"""A variant of the spec is clearly better if it scores more than this many points higher."""
MIN_PEOPLE = 30
"""With fewer people, variants are not compared."""
NOTABLE_GAIN = 1.0
"""Points from which on a better variant is mentioned."""
CONFIDENT, MIN_CONFIDENT_SHARE = 0.2, 0.01
"""A teacher is useless if the share of keypoints with a confidence above CONFIDENT is smaller than MIN_CONFIDENT_SHARE."""


@dataclass(frozen=True)
class CheckResult:
    """The scores of a teacher on some people of its dataset."""

    score: str
    """Name of the score: AP, PCKh@0.5 or PCK@0.2 torso."""
    value: float
    """The score under the declared spec, 0 to 100."""
    people: int
    images: int
    per_second: float
    """People per second through the network alone."""
    confidence: float
    """Median confidence of all keypoints."""
    confident_share: float
    """Share of keypoints whose confidence is above CONFIDENT."""
    errors: dict[str, float]
    """Mean distance from the label in longer box sides, by keypoint; NaN if none is labelled."""
    variants: list[tuple[SpecVariant, float]]
    """Variants of the spec with their scores, best first."""
    areas: str = ""
    """The areas in OKS, and guessed sigmas, in words, where the score is AP."""

    @property
    def better_variant(self) -> tuple[SpecVariant, float] | None:
        """The best of the decisive variants, if it is clearly better."""
        better = [entry for entry in self.variants if entry[0].decisive and entry[1] > self.value + CLEAR_GAIN]
        return better[0] if better else None

    @property
    def failure(self) -> str | None:
        """Why the teacher is useless as it is declared, and what to do; None if it is not."""
        if np.isnan(self.value):
            return (
                f"{self.score} is over nobody: it can be computed of none of {self.people} people of its own dataset, as "
                + (
                    "PCK needs both ends of the torso labelled: take another `score` in params.yaml"
                    if self.score == SCORE_NAMES["pck"]
                    else "PCKh needs head boxes, or head top and upper neck labelled: name MPII's truth file (`truth`) in params.yaml"
                )
            )
        result = f"{self.score} {self.value:.1f} on {self.people} people of its own dataset"
        if self.better_variant and self.people >= MIN_PEOPLE:
            variant, value = self.better_variant
            return f"{result}, but {value:.1f} with {variant.change}: {variant.remedy}"
        if not self.value >= MIN_SCORE:
            return f"{result}, expected at least {MIN_SCORE:.0f}: is it this file, dataset, skeleton and spec?"
        if self.confident_share < MIN_CONFIDENT_SHARE:
            return (
                f"{result}, but its confidences are useless, {self.confidence:.3f} in the median and "
                f"{100 * self.confident_share:.1f} % above {CONFIDENT}: is its kind right, or its factor?"
            )
        return None


def run(
    project: Project,
    teacher: str,
    device: Device = "auto",
    people: int = CHECK_PEOPLE,
    batch: int = DEFAULT_BATCH,
    log: Callable[[str], None] = print,
) -> None:
    """Print what the teacher is, its score, and its scores under variants of its spec; UserError if it is useless as declared."""
    settings = project.teacher(teacher)
    opened = open_teacher(teacher, settings.onnx, settings.spec, device, precision=settings.precision)
    result = check_teacher(project, settings, opened, spec_variants(settings.spec), people, batch)
    for name, value in _table(opened, result, batch):
        log(f"  {name:<10} {value}")
    data = f"{result.people} people of {settings.dataset} in {result.images} images"
    log(
        f"{result.score} {result.value:.1f} on {data}, true boxes{f'; the area in OKS is {result.areas}' if result.areas else ''}"
    )
    errors = [f"{keypoint} {100 * error:.1f}" for keypoint, error in result.errors.items() if np.isfinite(error)]
    log(f"mean error in % of the longer box side: {', '.join(errors)}")
    log(f"confidences: {result.confidence:.2f} in the median, {100 * result.confident_share:.0f} % above {CONFIDENT}")
    log("with another spec:")
    for variant, score in result.variants:
        note = f"  higher by {score - result.value:.1f}" if score > result.value else ""
        log(f"  {variant.change:<37} {score:5.1f}{note}")
    if result.failure:
        raise UserError(f"teacher {teacher}: {result.failure}")
    log(_verdict(teacher, result))


def _verdict(teacher: str, result: CheckResult) -> str:
    after = f"next `{teach_command(teacher)}`"
    best, value = result.variants[0]
    if result.people < MIN_PEOPLE:
        return f"teacher {teacher} works; {result.people} people are too few to compare specs, {MIN_PEOPLE} are needed: {after}"
    notable = value > result.value + NOTABLE_GAIN
    hint = f"; {best.change} scores higher here: worth a check, not an error" if notable else ""
    return f"teacher {teacher} is what params.yaml says{hint}: {after}"


def check_teacher(
    project: Project,
    settings: TeacherSettings,
    teacher: Teacher,
    variants: Sequence[SpecVariant],
    people: int,
    batch: int,
) -> CheckResult:
    """Score the teacher, and its file under each variant of its spec, on about `people` people of its own dataset."""
    dataset = project.dataset(settings.dataset)
    split, truth = checked_people(project, settings, people)
    used = truth.rows(truth.use)
    if not len(used):
        raise UserError(f"{settings.dataset} {split}: expected people in use, found none: run `pipeline prepare`")
    declared = SpecVariant("as declared", settings.spec, False)
    poses: dict[str, Poses] = {}
    passes: list[tuple[int, float]] = []
    with progress(len(used) * (1 + len(variants)), f"checking teacher {settings.name}", "people") as bar:
        for group in _by_geometry([declared, *variants]):
            poses |= _poses(teacher, group, settings.dataset, used, dataset.images(split), batch, bar.update, passes)
    scores = {change: accuracy(dataset.score, truth, predicted) for change, predicted in poses.items()}
    name, value = scores[declared.change]
    confidence = poses[declared.change].confidence
    return CheckResult(
        score=name,
        value=value,
        people=len(used),
        images=len(set(used.image)),
        per_second=sum(count for count, _ in passes) / sum(seconds for _, seconds in passes),
        confidence=float(np.median(confidence)),
        confident_share=float(np.mean(confidence > CONFIDENT)),
        errors=keypoint_errors(truth, poses[declared.change]),
        variants=sorted(((variant, scores[variant.change][1]) for variant in variants), key=lambda entry: -entry[1]),
        areas=_oks_basis(truth) if dataset.score == "ap" else "",
    )


def checked_people(project: Project, settings: TeacherSettings, people: int) -> tuple[str, People]:
    """Return the split of the teacher's own dataset that it is scored on, and about `people` people of it, in whole images."""
    dataset = project.dataset(settings.dataset)
    if not dataset.labelled:
        raise UserError(
            f"params.yaml: teachers.{settings.name}.dataset: expected a dataset with labels to score it by, "
            f"found {settings.dataset} with boxes only"
        )
    split = TRAIN if dataset.labels_train else TEST
    if split not in dataset.splits:
        raise UserError(
            f"params.yaml: teachers.{settings.name}.dataset: expected a dataset with labels to score it by, "
            f"found {settings.dataset}, whose labels are not used"
        )
    return split, spread_people(load_people(settings.dataset, split), people)


def _oks_basis(truth: People) -> str:
    """Return what the areas in OKS are, and whether its sigmas are guessed."""
    guess = guessed_sigmas_note(truth.skeleton)
    return areas_used(truth) + (f"; {guess}" if guess else "")


def spread_people(people: People, count: int) -> People:
    """Return all people of images with about `count` people in use, evenly spread over the table, so that crowds count as usual."""
    images = list(dict.fromkeys(people.image[people.use].tolist()))
    used = int(people.use.sum())
    number = len(images) if used <= count else max(1, round(len(images) * count / used))
    picked = {images[i] for i in np.linspace(0, len(images) - 1, number).astype(int)} if images else set()
    return people.rows(np.array([image in picked for image in people.image], bool))


def _by_geometry(variants: Sequence[SpecVariant]) -> list[list[SpecVariant]]:
    """Group the variants that use the same crops."""
    groups: dict[tuple[float, str], list[SpecVariant]] = {}
    for variant in variants:
        groups.setdefault((variant.spec.padding, variant.spec.affine), []).append(variant)
    return list(groups.values())


def _crops(
    dataset: str, spec: NetworkSpec, people: People, images: Path, batch: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield what `crops_of` yields. Errors of unusable images name the command that helps."""
    coming = crops_of(spec, people, images, batch)
    while True:
        with with_prepare_hint(dataset):
            following = next(coming, None)
        if following is None:
            return
        yield following


def _poses(
    teacher: Teacher,
    group: list[SpecVariant],
    dataset: str,
    people: People,
    images: Path,
    batch: int,
    advance: Callable[[int], object],
    passes: list[tuple[int, float]],
) -> dict[str, Poses]:
    """Return everybody's poses by variant, and append the people and the seconds of each pass through the network to `passes`.

    Variants that differ only in what is made of the outputs share one pass.
    """
    shape = (len(people), len(teacher.spec.skeleton))
    points = {variant.change: np.full((*shape, 2), np.nan) for variant in group}
    confidence = {variant.change: np.zeros(shape) for variant in group}
    for rows, crops in _crops(dataset, group[0].spec, people, images, batch):
        outputs: dict[tuple[object, ...], OutputArrays] = {}
        for variant in group:
            spec = variant.spec
            network_input = (spec.color, spec.mean, spec.std)
            if network_input not in outputs:
                start = time.perf_counter()
                outputs[network_input] = dataclasses.replace(teacher, spec=spec).forward(batch)(crops)
                passes.append((len(rows), time.perf_counter() - start))
            points[variant.change][rows], confidence[variant.change][rows] = poses_of_outputs(
                outputs[network_input], spec, people.box[rows]
            )
            advance(len(rows))
    return {
        variant.change: poses_of(people, variant.spec.skeleton, points[variant.change], confidence[variant.change])
        for variant in group
    }


def _table(teacher: Teacher, result: CheckResult, batch: int) -> list[tuple[str, str]]:
    spec, (width, height) = teacher.spec, teacher.target_wh
    numbers = "{:g} {:g} {:g}"
    flip = ", averaged with the mirror image" if spec.flip else ""
    target = (
        f"{width} + {height} bins, softmax({spec.factor:g} x score)"
        if spec.kind == "simcc"
        else f"{height} x {width} maps{', decoded by DARK' if spec.decode == 'dark' else ''}"
    )
    return [
        ("teacher", f"{teacher.name}: {teacher.path}, {teacher.path.stat().st_size / 1e6:.1f} MB"),
        ("sha256", teacher.sha256),
        ("skeleton", f"{spec.skeleton.name}, {len(spec.skeleton)} keypoints"),
        (
            "input",
            f"{spec.input_wh[1]} x {spec.input_wh[0]} {spec.color}, padding {spec.padding:g}, affine {spec.affine}",
        ),
        ("mean, std", f"{numbers.format(*spec.mean)}, {numbers.format(*spec.std)} on 0-255"),
        ("kind", f"{spec.kind}: {target}{flip}"),
        ("device", f"{teacher.runtime.note}, {_precision(teacher)}"),
        ("batch", f"fixed to {teacher.batch}" if teacher.batch else f"any, {batch} used"),
        ("speed", f"{result.per_second:.0f} people a second through the network"),
    ]


def _precision(teacher: Teacher) -> str:
    return "float16 file" if teacher.dtype == np.float16 else teacher.precision
