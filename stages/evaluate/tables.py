"""The results of `evaluate` as Markdown tables, and the notes that go with them. The scores are computed elsewhere."""

import re
from collections.abc import Mapping

import numpy as np

from pipeline.common.documents import markdown_table
from pipeline.metrics.bootstrap import CONFIDENCE_LEVEL, Score
from pipeline.metrics.model_scores import ModelScores
from pipeline.metrics.pckh import Pckh, head_sizes
from pipeline.metrics.score_names import AP_ON_DETECTIONS, WEIGHTED_SUFFIX
from pipeline.metrics.torso_pck import TORSO_THRESHOLD, torso_diameters
from pipeline.people.people import People
from pipeline.people.plausibility import areas_used
from pipeline.pose.own_skeletons import guessed_sigmas_note
from pipeline.pose.skeletons import COCO17, SKELETONS, TORSO
from stages.evaluate.results import Results, average_score, differences_from
from stages.project.datasets import DatasetSettings

OMITTED_SCORES = ("AP50", "AP75", "APM", "APL", "AP-21 (thorax as neck)")
"""Scores in metrics.json that the results table leaves out, besides PCKh by the weighted mean, which the joint table has."""

MISSED_MARK = "\N{DAGGER}"
"""Marks a mean that counts keypoints as missed which the model does not give."""


def results_table(results: Results, datasets: Mapping[str, DatasetSettings]) -> str:
    """Return Markdown with a row per model: the average over the trained datasets, then each dataset's scores, 0 to 100."""
    heads, rows = result_cells(results, datasets)
    return markdown_table(heads, [[model, *map(with_margin, cells)] for model, cells in rows.items()])


def result_cells(
    results: Results, datasets: Mapping[str, DatasetSettings]
) -> tuple[list[str], dict[str, list[Score | None]]]:
    """Return the heads of the results table, and its cells by model; None where a model has no such score."""
    columns = [(name, key) for name in datasets for key in _columns(name, results)]
    rows = {
        model: [average_score(scores, datasets), *(scores[name].scores.get(key) for name, key in columns)]
        for model, scores in results.items()
    }
    return ["model", "average", *(f"{name} {key}" for name, key in columns)], rows


def difference_table(results: Results, datasets: Mapping[str, DatasetSettings]) -> str:
    """Return Markdown with each model's difference from the first, and its paired interval; bold where that excludes 0."""
    first, *others = results
    heads: list[str] = []
    rows = []
    for model in others:
        differences = differences_from(results[first], results[model], datasets)
        heads = list(differences)
        rows.append([model, *(signed(score) for score in differences.values())])
    return markdown_table([f"less {first}", *heads], rows)


def joint_table(results: Results, dataset: str) -> str:
    """Return Markdown with PCKh per joint and both means, a row per model and threshold."""
    values = [
        (model, threshold, pckh)
        for threshold in next(iter(results.values()))[dataset].pckh
        for model, scores in results.items()
        for pckh in [scores[dataset].pckh[threshold]]
    ]
    heads = [*values[0][2].groups, "mean", "weighted mean"]
    rows = []
    for model, threshold, pckh in values:
        missed = results[model][dataset].scores[f"PCKh@{threshold}"].missed
        rows.append([f"{model} @{threshold}", *_joints(pckh, MISSED_MARK if missed else "")])
    return markdown_table([f"{dataset} PCKh", *heads], rows)


def score_table(scores: ModelScores) -> str:
    """Return Markdown with a row per score of one model on one dataset, with MISSED_MARK where it counts keypoints as missed."""
    rows = [
        [
            name,
            _number(score.value) + (MISSED_MARK if score.missed else ""),
            "{:.1f} to {:.1f}".format(*score.interval) if len(score.resampled) else "",
        ]
        for name, score in scores.scores.items()
    ]
    return markdown_table(["score", "value", f"{CONFIDENCE_LEVEL:.0f} % interval"], rows)


def keypoint_table(scores: ModelScores) -> str:
    """Return Markdown with a row per keypoint of one model on one dataset."""
    heads = list(scores.keypoints)
    rows = [
        [
            name,
            *(
                f"{value:.0f}" if head == "labelled" else _number(value)
                for head, value in zip(heads[1:], values, strict=True)
            ),
        ]
        for name, *values in zip(*scores.keypoints.values(), strict=True)
    ]
    return markdown_table(heads, rows)


def table_notes(
    results: Results, datasets: Mapping[str, DatasetSettings], truths: Mapping[str, People], resamples: int
) -> list[str]:
    """Return the notes that a reader of the tables needs; `resamples` is the number behind the intervals."""
    notes = []
    if resamples:
        notes.append(
            f"± is half the {CONFIDENCE_LEVEL:.0f} % interval, brackets are the interval, over {resamples} bootstrap resamples of the "
            "test images: what other images would change, not what another seed of the training would."
        )
    notes.append(
        "NME is over the keypoints that a model gives, in percent of the longer box side: compare it between models of the same "
        "keypoints only."
    )
    if note := missed_note(results):
        notes.append(note)
    if _keypoints_beyond_coco(results, datasets, truths):
        notes.append(
            "OKS sigmas of keypoints that COCO does not have are MMPose's: halpe26's, and mpii's for the thorax."
        )
    if any(key.startswith(AP_ON_DETECTIONS + " of") for name in datasets for key in _columns(name, results)):
        notes.append(
            f"{AP_ON_DETECTIONS} is over all images of the annotation file, as the official evaluation has it: who is in an "
            "image without a detection is missed."
        )
    for name, dataset in datasets.items():
        skeleton = truths[name].skeleton
        if dataset.score == "ap" and skeleton.own_sigmas:
            makers = "its makers" if skeleton.name in SKELETONS else f"skeleton {skeleton.name} in params.yaml"
            notes.append(f"{name}: AP is by COCO's matching with the OKS sigmas of {makers}.")
        if dataset.score == "ap" and (guess := guessed_sigmas_note(skeleton)):
            notes.append(f"{name}: {guess}.")
        if dataset.score == "ap":
            notes.append(f"{name}: the area in OKS is {areas_used(truths[name])}.")
        if dataset.score == "ap" and (note := empty_box_note(name, truths[name])):
            notes.append(note)
        if dataset.score == "pckh" and (note := head_box_note(name, truths[name])):
            notes.append(note)
        if dataset.score == "pck":
            notes.append(torso_note(name, truths[name]))
    return notes


def missed_note(results: Results) -> str | None:
    """Return the note on MISSED_MARK, with the keypoints by dataset and model; None where every model gives all keypoints."""
    by_dataset: dict[str, dict[tuple[str, ...], list[str]]] = {}
    for model, scores in results.items():
        for name, of_dataset in scores.items():
            missed = tuple(dict.fromkeys(k for score in of_dataset.scores.values() for k in score.missed))
            if missed:
                by_dataset.setdefault(name, {}).setdefault(missed, []).append(model)
    if not by_dataset:
        return None
    parts = [
        f"{name}: " + "; ".join(f"{', '.join(missed)} by {', '.join(models)}" for missed, models in lacking.items())
        for name, lacking in by_dataset.items()
    ]
    return f"{MISSED_MARK} counts keypoints as missed that the model does not give. {'. '.join(parts)}."


def torso_note(name: str, truth: People) -> str:
    """Return the note on the unit of a dataset's PCK, and on the people who have none."""
    left_out = int(np.isnan(torso_diameters(truth.rows(truth.use))).sum())
    return (
        f"{name}: PCK is the mean over keypoints within {TORSO_THRESHOLD} of the torso's diameter, {' to '.join(TORSO)}."
        + (f" {left_out} people are left out, as these two are not labelled." if left_out else "")
    )


def empty_box_note(name: str, truth: People) -> str | None:
    """Return the note that labelled people have boxes that no crop can be made of; None where there are none."""
    empty = truth.labelled.any(axis=1) & ~truth.crowd & (truth.box[:, 2:] <= 0).any(axis=1)
    if not empty.any():
        return None
    return (
        f"{name}: {int(empty.sum())} labelled people have a box without width or height (first person "
        f"{int(truth.person[empty][0])}): a model in annotated boxes gives them no pose, so AP counts them as missed."
    )


def head_box_note(name: str, truth: People) -> str | None:
    """Return the note that the people of a dataset, or some of them, have no head boxes; None where they all have."""
    used = truth.rows(truth.use)
    lacking = int(np.isnan(used.head_box).any(axis=1).sum())
    if not lacking:
        return None
    left_out = int(np.isnan(head_sizes(used)).sum())
    return (
        f"{name}: {lacking} of {len(used)} people have no head box; head top to upper neck stands in for it, "
        "which is a third larger and more lenient than in the official PCKh."
        + (f" {left_out} of them are left out, as these two are not labelled." if left_out else "")
    )


def _keypoints_beyond_coco(
    results: Results, datasets: Mapping[str, DatasetSettings], truths: Mapping[str, People]
) -> bool:
    """Return whether a dataset with an AP over shared keypoints has keypoints that COCO lacks."""
    return any(
        keypoint not in COCO17.keypoints and any(re.match(r"AP-\d", key) for key in _columns(name, results))
        for name, dataset in datasets.items()
        if dataset.score == "ap"
        for keypoint in truths[name].skeleton.keypoints
    )


def _columns(dataset: str, results: Results) -> list[str]:
    keys = dict.fromkeys(key for scores in results.values() for key in scores[dataset].scores)
    shown = [key for key in keys if key.startswith(("AP", "PCK", "NME"))]
    return [key for key in shown if key not in OMITTED_SCORES and not key.endswith(WEIGHTED_SUFFIX)]


def with_margin(score: Score | None) -> str:
    """Return a score, with MISSED_MARK where it counts keypoints as missed, and half its interval behind ±; an empty text for none."""
    if score is None or np.isnan(score.value):
        return ""
    low, high = score.interval
    mark = MISSED_MARK if score.missed else ""
    return f"{score.value:.1f}{mark}" + ("" if np.isnan(low) else f" ± {(high - low) / 2:.1f}")


def signed(score: Score, emphasized: bool = True) -> str:
    """Return a difference with its interval in brackets, bold where that excludes 0, if `emphasized`; an empty text for NaN.

    It has MISSED_MARK where one of its two scores counts keypoints as missed that its model does not give.
    """
    if np.isnan(score.value):
        return ""
    low, high = score.interval
    value = f"{score.value:+.1f}" + (MISSED_MARK if score.missed else "")
    if np.isnan(low):
        return value
    return f"{f'**{value}**' if emphasized and not low <= 0 <= high else value} ({low:+.1f} to {high:+.1f})"


def _joints(pckh: Pckh, mark: str) -> list[str]:
    """Return the joints' percentages and both means, these with the `mark`, with two digits, as in published tables."""
    joints = ["" if np.isnan(value) else f"{value:.2f}" for value in pckh.groups.values()]
    return joints + ["" if np.isnan(value) else f"{value:.2f}{mark}" for value in (pckh.mean, pckh.mean_weighted)]


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.1f}"
