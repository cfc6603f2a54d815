"""The settings of `evaluate` and the document metrics.json. Tables for people are in tables.py; scores are computed elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le

from pipeline.common.errors import UserError
from pipeline.metrics.bootstrap import Score, mean_score
from pipeline.metrics.model_scores import ModelScores
from pipeline.metrics.score_names import SCORE_NAMES, main_score
from pipeline.pose.options import ScoreKind
from pipeline.pose.skeletons import TORSO
from stages.project.datasets import DatasetSettings


@dataclass(frozen=True)
class EvaluateSettings:
    flip: bool = False
    """Average every model's output with that of the mirrored crop. A teacher's own `flip` applies in either case."""
    resamples: Annotated[int, Ge(0), Le(100_000)] = 1000
    """Number of bootstrap resamples that the intervals are computed from; 0 leaves the intervals out."""
    name: str | None = None
    """Name of the profile: heading of the numbers in summary.json, and folder of the comparison in results/experiment. `dvc metrics diff`
    compares numbers under the same heading alone, so that people of another profile are nobody's baseline. Without one they have none."""


Results = Mapping[str, Mapping[str, ModelScores]]
"""Scores by model, then by dataset."""


def average_score(scores: Mapping[str, ModelScores], datasets: Mapping[str, DatasetSettings]) -> Score:
    """Return the mean of the main scores of the datasets whose labels students are trained on.

    Of several parts of one dataset, DATASET:SPLIT, their mean counts.
    """
    by_dataset: dict[str, list[Score]] = {}
    for name, dataset in datasets.items():
        if dataset.labels_train:
            main = scores[name].scores[SCORE_NAMES[dataset.score]]
            by_dataset.setdefault(name.partition(":")[0], []).append(main)
    return mean_score([mean_score(of_dataset) for of_dataset in by_dataset.values()])


def metrics_document(
    results: Results, datasets: Mapping[str, DatasetSettings], validation: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, Any]]:
    """Return the content of metrics.json, by model.

    A model has the scores of every dataset and their `average`; the scores on `validation` people; `intervals` of the resampled
    scores as [low, high]; the values per keypoint; by score the keypoints that it counts as `missed`, since the model does not give
    them; and the `difference` from the first model as [value, low, high].
    """
    first = next(iter(results))
    document: dict[str, dict[str, Any]] = {}
    for model, scores in results.items():
        average = average_score(scores, datasets)
        document[model] = {
            **{name: _values(scores[name]) for name in datasets},
            "average": average.value,
            "validation": dict(validation.get(model, {})),
            "intervals": {"average": list(average.interval), **{name: _intervals(scores[name]) for name in datasets}},
            "keypoints": {name: scores[name].keypoints for name in datasets},
            "missed": {
                **({"average": list(average.missed)} if average.missed else {}),
                **{name: missed for name in datasets if (missed := _missed(scores[name]))},
            },
        }
        if model != first:
            difference = differences_from(results[first], scores, datasets)
            document[model]["difference"] = {
                "from": first,
                **{name: [score.value, *score.interval] for name, score in difference.items()},
            }
    return document


def summary_document(
    metrics: Mapping[str, Mapping[str, Any]], models: Sequence[str], datasets: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Return the content of summary.json: of each of the `models` its average and its main score on every dataset, 0 to 100.

    Of a student that was trained with several seeds these are means over the seeds, and `deviation` is that of the average.
    """
    summary = {}
    for model in models:
        keys = {name: main_score(metrics[model][name]) for name in datasets}
        main = {f"{name} {key}": metrics[model][name][key] for name, key in keys.items() if key is not None}
        summary[model] = {"average": metrics[model]["average"], **main}
        if seeds := metrics[model].get("seeds"):
            summary[model] = {**seeds["mean"], "deviation": seeds["deviation"]["average"]}
    return summary


def refuse_nobody(scores: ModelScores, what: str, kind: ScoreKind) -> None:
    """Raise UserError where the main score of `what` is over nobody, since none of its people can be scored."""
    key = main_score(scores.scores)
    if key is not None and not np.isnan(scores.scores[key].value):
        return
    if kind == "pckh":
        raise UserError(
            f"{what}: expected people with a head box, or with head top and upper neck labelled, found none, so PCKh is over nobody: "
            "give MPII's truth file (`truth: mpii_gt_val.mat` in params.yaml), then run `pipeline prepare`"
        )
    if kind == "pck":
        raise UserError(
            f"{what}: expected people with {' and '.join(TORSO)} labelled, found none, so PCK of the torso is over nobody: "
            "correct the annotations, or take another `score`"
        )
    raise UserError(
        f"{what}: expected people with a labelled keypoint that the score is over, found none, so it is over nobody: "
        "correct the annotations, or name another part"
    )


def part_document(scores: ModelScores) -> dict[str, Any]:
    """Return one model's scores on one part for a JSON file: scores, their intervals as [low, high], values per keypoint.

    `missed` are by score the keypoints that it counts as missed, since the model does not give them.
    """
    return {
        "scores": _values(scores),
        "intervals": _intervals(scores),
        "keypoints": scores.keypoints,
        "missed": _missed(scores),
    }


def differences_from(
    first: Mapping[str, ModelScores], scores: Mapping[str, ModelScores], datasets: Mapping[str, DatasetSettings]
) -> dict[str, Score]:
    """Return the differences of a model's main scores from those of the first model, and of the averages of several datasets."""
    trained = {name.partition(":")[0] for name, dataset in datasets.items() if dataset.labels_train}
    differences = {}
    if len(trained) > 1:
        differences["average"] = average_score(scores, datasets).minus(average_score(first, datasets))
    for name in datasets:
        key = main_score(scores[name].scores)
        assert key is not None
        differences[f"{name} {key}"] = scores[name].scores[key].minus(first[name].scores[key])
    return differences


def _values(scores: ModelScores) -> dict[str, float]:
    return {name: score.value for name, score in scores.scores.items()}


def _missed(scores: ModelScores) -> dict[str, list[str]]:
    return {name: list(score.missed) for name, score in scores.scores.items() if score.missed}


def _intervals(scores: ModelScores) -> dict[str, list[float]]:
    return {name: list(score.interval) for name, score in scores.scores.items() if len(score.resampled)}
