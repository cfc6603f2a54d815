"""The report's tables of numbers, made of the document that metrics.json holds. Nothing is computed but the half of an interval."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report.figures import Table

Document = Mapping[str, Any]

PAPER = Table(
    "Published by Khan et al. 2024, on the real COCO, MPII and Halpe",
    ["Khan et al. 2024", "average of COCO and MPII", "Halpe AP"],
    [
        ["first student, trained on one dataset", "53.79", ""],
        ["first student, unified", "70.89", "66.84"],
        ["second student, trained on one dataset", "55.78", ""],
        ["second student, unified", "76.40", "72.75"],
    ],
)


def judged_by(scores: Mapping[str, Any]) -> str | None:
    """Name of the score that a dataset is judged by: AP or PCKh@0.5, or AP over all keypoints it shares with the students."""
    subsets = [name for name in scores if re.fullmatch(r"AP-\d+", name)]
    return next((name for name in ("AP", "PCKh@0.5", *subsets[::-1]) if name in scores), None)


def headline(metrics: Document, datasets: Sequence[str], students: Sequence[str]) -> Table:
    """A row per model: the average and what each dataset is judged by, with half the interval."""
    first = next(iter(metrics))
    columns = [(name, judged_by(metrics[first].get(name, {}))) for name in datasets]
    rows = []
    for model, document in metrics.items():
        cells = [with_margin(document.get("average"), _interval(document, "average"))]
        cells += [
            with_margin(document.get(name, {}).get(key), _interval(document, name, key)) for name, key in columns if key
        ]
        rows.append([model if model in students else f"{model} (ceiling)", *cells])
    heads = ["model", "average", *(f"{name} {key}" for name, key in columns if key)]
    note = "The average is over the datasets that are trained on. "
    if any(_interval(document, "average") for document in metrics.values()):
        note += (
            "± is half the 95 % interval over resampled test pictures: what other pictures would change, not what "
            "another seed of the training would. "
        )
    note += "A teacher is the ceiling on its own dataset; on the others it lacks keypoints, which count as missed."
    return Table("Our models on the test people, 0 to 100", heads, rows, strong=first, note=note)


def differences(metrics: Document) -> Table | None:
    """Each model less the first, with the interval of the paired difference; None of one model or of an older file."""
    compared = {model: document["difference"] for model, document in metrics.items() if "difference" in document}
    if not compared:
        return None
    first = next(iter(compared.values()))
    keys = [key for key in first if key != "from"]
    rows = [[model, *(_signed(difference.get(key)) for key in keys)] for model, difference in compared.items()]
    note = "In brackets the 95 % interval, pair by pair on the same pictures; * where it leaves out 0."
    return Table(f"Difference from {first['from']}", ["model", *keys], rows, note=note)


def all_scores(metrics: Document, datasets: Sequence[str]) -> list[Table]:
    """Per dataset every score, a row each, a column per model."""
    tables = []
    for name in datasets:
        keys = dict.fromkeys(key for document in metrics.values() for key in document.get(name, {}))
        rows = [
            [
                key,
                *(with_margin(doc.get(name, {}).get(key), _interval(doc, name, key)) for doc in metrics.values()),
            ]
            for key in keys
        ]
        tables.append(Table(name, ["score", *metrics], rows))
    held_out = {model: document.get("validation") or {} for model, document in metrics.items()}
    parts = dict.fromkeys(name for found in held_out.values() for name in found)
    if parts:
        rows = [[name, *(with_margin(found.get(name)) for found in held_out.values())] for name in parts]
        tables.append(Table("validation people, by what the dataset is judged by", ["dataset", *metrics], rows))
    return tables


def with_margin(value: float | None, interval: Sequence[float] | None = None) -> str:
    """A number with one digit, ± half the interval where there is one; empty for None."""
    if value is None:
        return ""
    return f"{value:.1f}" + (f" ± {(interval[1] - interval[0]) / 2:.1f}" if interval else "")


def _interval(document: Document, *keys: str) -> Sequence[float] | None:
    """The interval of a score; None where it has none."""
    found: Any = document.get("intervals", {})
    for key in keys:
        found = found.get(key) or {}
    return found if found and None not in found else None


def _signed(difference: Sequence[float | None] | None) -> str:
    if not difference or difference[0] is None:
        return ""
    value, low, high = difference
    text = f"{value:+.1f}"
    if low is not None and high is not None:
        text += f"{'' if low <= 0 <= high else '*'} ({low:+.1f} to {high:+.1f})"
    return text.replace("-", "\N{MINUS SIGN}")
