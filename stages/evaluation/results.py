"""How results are written: the settings of `evaluate`, metrics.json, tables in Markdown. What is in them is computed elsewhere."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le

from pipeline.people.people import People
from pipeline.scores.bootstrap import LEVEL, Score, mean_score
from pipeline.scores.mpii import Pckh
from pipeline.skeletons import COCO17
from stages.datasets import DatasetSettings
from stages.evaluation.scored import ON_DETECTIONS, Scored
from stages.evaluation.scores import SCORE_NAMES, WEIGHTED

DETAILS = ("AP50", "AP75", "APM", "APL", "AP-21 (thorax as neck)")
"""Scores that metrics.json has and the table leaves out, besides PCKh by its second mean, which the table per joint has."""


@dataclass(frozen=True)
class EvaluateSettings:
    flip: bool = False
    """Average every model with the mirrored crop's output; a teacher's own `flip` holds either way."""
    resamples: Annotated[int, Ge(0), Le(100_000)] = 1000
    """Bootstrap resamples behind the intervals; 0 leaves them out."""


Results = Mapping[str, Mapping[str, Scored]]
"""By model, then by dataset."""


def average(scored: Mapping[str, Scored], datasets: Mapping[str, DatasetSettings]) -> Score:
    """The mean of what the datasets that are trained on are judged by."""
    return mean_score([scored[name].scores[SCORE_NAMES[d.score]] for name, d in datasets.items() if d.train])


def judged_by(scored: Scored, dataset: DatasetSettings) -> str:
    """Name of the score that matters most: AP or PCKh@0.5, or AP over all keypoints that a dataset shares with the students."""
    name = SCORE_NAMES[dataset.score]
    return name if name in scored.scores else [key for key in scored.scores if re.fullmatch(r"AP-\d+", key)][-1]


def metrics_of(
    results: Results, datasets: Mapping[str, DatasetSettings], validation: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, Any]]:
    """What metrics.json holds. Per model: every dataset's scores and their `average`; `validation`; the `intervals` of scores that
    are resampled, [low, high]; numbers per keypoint; and the `difference` from the first model, [value, low, high]."""
    first = next(iter(results))
    document: dict[str, dict[str, Any]] = {}
    for model, found in results.items():
        mean = average(found, datasets)
        document[model] = {
            **{name: _values(found[name]) for name in datasets},
            "average": mean.value,
            "validation": dict(validation.get(model, {})),
            "intervals": {"average": list(mean.interval), **{name: _intervals(found[name]) for name in datasets}},
            "keypoints": {name: found[name].keypoints for name in datasets},
        }
        if model != first:
            difference = _differences(found, results[first], datasets)
            document[model]["difference"] = {
                "from": first,
                **{name: [score.value, *score.interval] for name, score in difference.items()},
            }
    return document


def as_json(document: Any) -> bytes:
    """JSON with rounded numbers, null for NaN, and each list on one line."""
    text = json.dumps(_rounded(document), indent=1)
    return (re.sub(r"\[[^][{}]*\]", _on_one_line, text) + "\n").encode()


def results_table(results: Results, datasets: Mapping[str, DatasetSettings]) -> str:
    """Markdown: a row per model, a column per dataset's scores, the average of those that are trained on, 0 to 100."""
    columns = [(name, key) for name in datasets for key in _columns(name, results)]
    lines = []
    for model, found in results.items():
        cells = [found[name].scores.get(key) for name, key in columns]
        lines.append([model, *(_with_margin(cell) for cell in (average(found, datasets), *cells))])
    return markdown(["model", "average", *(f"{name} {key}" for name, key in columns)], lines)


def difference_table(results: Results, datasets: Mapping[str, DatasetSettings]) -> str:
    """Markdown: each model less the first, with the interval of the paired difference; bold where that leaves out 0."""
    first, *others = results
    heads: list[str] = []
    lines = []
    for model in others:
        difference = _differences(results[model], results[first], datasets)
        heads = list(difference)
        lines.append([model, *(_signed(score) for score in difference.values())])
    return markdown([f"less {first}", *heads], lines)


def joint_table(results: Results, dataset: str) -> str:
    """Markdown: PCKh per joint and both means, a row per model and threshold."""
    rows = [
        (model, threshold, pckh)
        for threshold in next(iter(results.values()))[dataset].pckh
        for model, found in results.items()
        for pckh in [found[dataset].pckh[threshold]]
    ]
    heads = [*rows[0][2].groups, "mean", "weighted mean"]
    lines = [[f"{model} @{threshold}", *_joints(pckh)] for model, threshold, pckh in rows]
    return markdown([f"{dataset} PCKh", *heads], lines)


def part_values(found: Scored) -> dict[str, Any]:
    """One model on one part, for a JSON file: scores, their intervals [low, high], numbers per keypoint."""
    return {"scores": _values(found), "intervals": _intervals(found), "keypoints": found.keypoints}


def score_table(found: Scored) -> str:
    """Markdown: a row per score of one model on one dataset."""
    lines = [
        [name, _number(score.value), "{:.1f} to {:.1f}".format(*score.interval) if len(score.again) else ""]
        for name, score in found.scores.items()
    ]
    return markdown(["score", "value", f"{LEVEL:.0f} % interval"], lines)


def keypoint_table(found: Scored) -> str:
    """Markdown: a row per keypoint of one model on one dataset."""
    lines = [
        [name, *(f"{value:.0f}" if key == "labelled" else _number(value) for key, value in rest)]
        for name, *rest in (
            (row[0], *zip(list(found.keypoints)[1:], row[1:], strict=True))
            for row in zip(*found.keypoints.values(), strict=True)
        )
    ]
    return markdown(list(found.keypoints), lines)


def notes(
    results: Results, datasets: Mapping[str, DatasetSettings], truths: Mapping[str, People], count: int
) -> list[str]:
    """What has to be known to read the tables."""
    said = []
    if count:
        said.append(
            f"± is half the {LEVEL:.0f} % interval, brackets are the interval, over {count} bootstrap resamples of the test "
            "pictures: what other pictures would change, not what another seed of the training would."
        )
    said.append(
        "NME is over the keypoints that a model gives, in percent of the longer box side: compare it between models of the same "
        "keypoints only."
    )
    own = {
        keypoint: None
        for name, dataset in datasets.items()
        if dataset.score == "ap"
        for keypoint in truths[name].skeleton.keypoints
        if keypoint not in COCO17.keypoints and any(re.match(r"AP-\d", key) for key in _columns(name, results))
    }
    if own:
        said.append(
            "OKS sigmas of keypoints that COCO does not have are MMPose's: halpe26's, and mpii's for the thorax."
        )
    if any(key.startswith(ON_DETECTIONS + " of") for name in datasets for key in _columns(name, results)):
        said.append(
            f"{ON_DETECTIONS} is over all pictures of the annotation file, as the official evaluation has it: who is in a "
            "picture without a detection is missed."
        )
    for name, dataset in datasets.items():
        if dataset.score == "ap" and truths[name].skeleton.own_sigmas:
            said.append(
                f"{name}: AP is by COCO's matching with the OKS sigmas of its makers, and 0.53 of the box where no area is stated."
            )
        used = truths[name].use
        lacking = int(np.isnan(truths[name].head_box[used]).any(axis=1).sum())
        if dataset.score == "pckh" and lacking:
            said.append(
                f"{name}: {lacking} of {int(used.sum())} people have no head box; head top to upper neck stands in for it, "
                "which is a third larger and kinder than the official PCKh."
            )
    return said


def markdown(heads: list[str], lines: list[list[str]]) -> str:
    """A table, text to the left and numbers to the right."""
    rows = [f"| {' | '.join(cells)} |" for cells in (heads, *lines)]
    return "\n".join([rows[0], "|---|" + "---:|" * (len(heads) - 1), *rows[1:]]) + "\n"


def _columns(dataset: str, results: Results) -> list[str]:
    keys = dict.fromkeys(key for found in results.values() for key in found[dataset].scores)
    wanted = [key for key in keys if key.startswith(("AP", "PCK", "NME"))]
    return [key for key in wanted if key not in DETAILS and not key.endswith(WEIGHTED)]


def _differences(
    found: Mapping[str, Scored], first: Mapping[str, Scored], datasets: Mapping[str, DatasetSettings]
) -> dict[str, Score]:
    trained = [name for name, dataset in datasets.items() if dataset.train]
    result = {"average": average(found, datasets).minus(average(first, datasets))} if len(trained) > 1 else {}
    for name, dataset in datasets.items():
        key = judged_by(found[name], dataset)
        result[f"{name} {key}"] = found[name].scores[key].minus(first[name].scores[key])
    return result


def _values(found: Scored) -> dict[str, float]:
    return {name: score.value for name, score in found.scores.items()}


def _intervals(found: Scored) -> dict[str, list[float]]:
    return {name: list(score.interval) for name, score in found.scores.items() if len(score.again)}


def _with_margin(score: Score | None) -> str:
    if score is None or np.isnan(score.value):
        return ""
    low, high = score.interval
    return f"{score.value:.1f}" + ("" if np.isnan(low) else f" ± {(high - low) / 2:.1f}")


def _signed(score: Score) -> str:
    if np.isnan(score.value):
        return ""
    low, high = score.interval
    value = f"{score.value:+.1f}"
    if np.isnan(low):
        return value
    return f"{value if low <= 0 <= high else f'**{value}**'} ({low:+.1f} to {high:+.1f})"


def _joints(pckh: Pckh) -> list[str]:
    """Two digits, as published tables have them."""
    values = (*pckh.groups.values(), pckh.mean, pckh.mean_weighted)
    return ["" if np.isnan(value) else f"{value:.2f}" for value in values]


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.1f}"


def _on_one_line(found: re.Match[str]) -> str:
    return "[" + " ".join(found[0][1:-1].split()) + "]"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    if isinstance(value, (str, bool, int)):
        return value
    return None if np.isnan(value) else round(float(value), 3)
