"""Students trained with several seeds: mean and standard deviation of their scores, and differences over seeds and images."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.common.documents import markdown_table
from pipeline.metrics.bootstrap import Score, resample_seeds
from pipeline.metrics.model_scores import ModelScores
from pipeline.metrics.score_names import main_score
from stages.evaluate.results import average_score
from stages.evaluate.tables import signed
from stages.project.datasets import DatasetSettings

SeedScores = Mapping[str, Mapping[int, Mapping[str, ModelScores]]]
"""Scores by student, by seed, by dataset; of students with several seeds alone."""

SEEDS_NOTE = (
    "Over seeds: mean ± standard deviation. A difference is the mean of those of the seeds that both students have, and its interval is "
    "over seeds and test images; of one common seed it is over test images alone, and never bold."
)


def seeds_table(by_seed: SeedScores, datasets: Mapping[str, DatasetSettings]) -> str:
    """Return Markdown with a row per student: number of seeds, average and main scores, and the average less the first student's."""
    return markdown_table(*seeds_cells(by_seed, datasets))


def seeds_cells(by_seed: SeedScores, datasets: Mapping[str, DatasetSettings]) -> tuple[list[str], list[list[str]]]:
    """Return the heads of the table over the seeds, and its lines."""
    first, *others = by_seed
    columns = {name: main_scores_of(scores, datasets) for name, scores in by_seed.items()}
    heads = ["over seeds", "seeds", *columns[first], *([f"average less {first}"] if others else [])]
    lines = []
    for name, scores in columns.items():
        cells = [mean_and_deviation([score.value for score in of_seed.values()]) for of_seed in scores.values()]
        if name != first:
            common, difference = seed_difference(columns[first]["average"], scores["average"])
            cells.append(signed(difference, emphasized=common > 1) + (", one common seed" if common == 1 else ""))
        elif others:
            cells.append("")
        lines.append([name, str(len(by_seed[name])), *cells])
    return heads, lines


def seeds_document(
    of_student: Mapping[int, Mapping[str, ModelScores]], datasets: Mapping[str, DatasetSettings]
) -> dict[str, Any]:
    """Return what metrics.json has of a student under `seeds`: the mean and the deviation of average and main scores, and each seed's."""
    columns = main_scores_of(of_student, datasets)
    values = {key: [score.value for score in by_seed.values()] for key, by_seed in columns.items()}
    return {
        "mean": {key: float(np.mean(of_key)) for key, of_key in values.items()},
        "deviation": {key: float(np.std(of_key, ddof=1)) for key, of_key in values.items()},
        "by_seed": {
            str(seed): {key: by_seed[seed].value for key, by_seed in columns.items()} for seed in sorted(of_student)
        },
    }


def main_scores_of(
    of_student: Mapping[int, Mapping[str, ModelScores]], datasets: Mapping[str, DatasetSettings]
) -> dict[str, dict[int, Score]]:
    """Return the average and the main score of each dataset, by seed."""
    keys = {name: main_score(next(iter(of_student.values()))[name].scores) for name in datasets}
    columns = {"average": {seed: average_score(scores, datasets) for seed, scores in of_student.items()}}
    for name, key in keys.items():
        if key is not None:
            columns[f"{name} {key}"] = {seed: scores[name].scores[key] for seed, scores in of_student.items()}
    return columns


def seed_difference(first: Mapping[int, Score], second: Mapping[int, Score]) -> tuple[int, Score]:
    """Return the number of seeds that two students share, and the mean of `second` less `first` over them.

    It is resampled over seeds and images (`resample_seeds`); both are scored on the same resamples. NaN without a shared seed.
    """
    differences = [second[seed].minus(first[seed]) for seed in first if seed in second]
    if not differences:
        return 0, Score(float("nan"), np.zeros(0))
    value = float(np.mean([difference.value for difference in differences]))
    by_seed = np.array([difference.resampled for difference in differences])
    return len(differences), Score(value, resample_seeds(by_seed) if by_seed.shape[1] else np.zeros(0))


def mean_and_deviation(values: Sequence[float]) -> str:
    """Return mean ± standard deviation (of a sample) with one decimal place; empty where a value is missing."""
    if not len(values) or np.isnan(values).any():
        return ""
    return f"{np.mean(values):.1f}" + (f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else "")
