"""The results of `evaluate` for a paper or a spreadsheet: CSV with every number, and the results table in LaTeX. Scores nothing."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.common.documents import csv_bytes
from pipeline.common.files import write_atomically
from pipeline.metrics.bootstrap import Score
from stages.evaluate.results import Results, average_score
from stages.evaluate.seeds import SeedScores, seeds_cells
from stages.evaluate.tables import missed_note, result_cells, with_margin
from stages.project.datasets import DatasetSettings

CSV_COLUMNS = ("model", "seed", "dataset", "score", "keypoint", "value", "low", "high")
LATEX_SPECIAL = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
}


def write_paper(
    results: Results,
    datasets: Mapping[str, DatasetSettings],
    csv: Path | None,
    latex: Path | None,
    log: Callable[[str], None],
    by_seed: SeedScores | None = None,
) -> None:
    """Write the results to the files that are named; `by_seed` are those of students with several seeds."""
    for path, content in ((csv, results_csv), (latex, results_latex)):
        if path:
            write_atomically(path, content(results, datasets, by_seed or {}))
            log(f"table: {path}")


def results_csv(results: Results, datasets: Mapping[str, DatasetSettings], by_seed: SeedScores) -> bytes:
    """Return CSV with a row per number: of a model, a dataset and a score, with its interval, and of each keypoint without one.

    Rows with a `seed` are of the students that were trained with several, one for each seed.
    """
    seeds = (
        {**row, "seed": str(seed)}
        for name, of_student in by_seed.items()
        for seed, scores in of_student.items()
        for row in _csv_rows({name: scores}, datasets)
    )
    return csv_bytes(CSV_COLUMNS, chain(_csv_rows(results, datasets), seeds))


def results_latex(results: Results, datasets: Mapping[str, DatasetSettings], by_seed: SeedScores) -> bytes:
    """Return the results table as a LaTeX `tabular` with the rules of the package booktabs, and below it that over the seeds.

    A comment line says what the dagger marks.
    """
    heads, rows = result_cells(results, datasets)
    text = _tabular(heads, [[model, *map(with_margin, cells)] for model, cells in rows.items()])
    if by_seed:
        text += "\n" + _tabular(*seeds_cells(by_seed, datasets))
    if note := missed_note(results):
        text += f"% {note}\n"
    return text.encode()


def _tabular(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    head, *body = (" & ".join(latex_text(cell) for cell in line) + r" \\" for line in (heads, *lines))
    begin = rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}"
    return "\n".join([begin, r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", ""])


def latex_text(text: str) -> str:
    """Return a text as LaTeX prints it."""
    escaped = re.sub("[&%$#_{}\\\\~^]", lambda found: LATEX_SPECIAL[found[0]], text)
    return escaped.replace("\N{PLUS-MINUS SIGN}", r"$\pm$").replace("\N{DAGGER}", r"$^\dagger$")


def _csv_rows(results: Results, datasets: Mapping[str, DatasetSettings]) -> Iterator[dict[str, Any]]:
    for model, scores in results.items():
        yield {"model": model, "score": "average", **_numbers(average_score(scores, datasets))}
        for name in datasets:
            place = {"model": model, "dataset": name}
            for key, score in scores[name].scores.items():
                yield {**place, "score": key, **_numbers(score)}
            columns = scores[name].keypoints
            for key, values in columns.items():
                if key != "keypoint":
                    for keypoint, value in zip(columns["keypoint"], values, strict=True):
                        yield {**place, "score": key, "keypoint": keypoint, "value": _number(value)}


def _numbers(score: Score) -> dict[str, str]:
    low, high = score.interval
    return {"value": _number(score.value), "low": _number(low), "high": _number(high)}


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}".removesuffix(".000")
