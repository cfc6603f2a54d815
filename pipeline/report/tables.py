"""The report's tables of numbers, made from the content of metrics.json. Computes nothing but half of an interval."""

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


def headline_table(metrics: Document, main_scores: Mapping[str, str], students: Sequence[str]) -> Table:
    """Return a row per model with the average and the main score of each dataset, ± half the interval.

    `main_scores` are names of scores by dataset.
    """
    rows = []
    for model, document in metrics.items():
        missed = {name: _missed(document, name, score) for name, score in main_scores.items()}
        in_average = "average" in document.get("missed", {})
        cells = [with_margin(document.get("average"), _interval(document, "average"), in_average)]
        cells += [
            with_margin(document.get(name, {}).get(score), _interval(document, name, score), missed[name])
            for name, score in main_scores.items()
        ]
        rows.append([model if model in students else f"{model} (ceiling)", *cells])
    heads = ["model", "average", *(f"{name} {score}" for name, score in main_scores.items())]
    note = "The average is over the datasets that are trained on. "
    if any(_interval(document, "average") for document in metrics.values()):
        note += (
            "± is half the 95 % interval over resampled test images: what other images would change, not what "
            "another seed of the training would. "
        )
    note += "A teacher is the ceiling on its own dataset. \N{DAGGER} counts keypoints as missed that the model does not give."
    return Table("Our models on the test people, 0 to 100", heads, rows, strong=next(iter(metrics)), note=note)


def differences_table(metrics: Document) -> Table | None:
    """Return each model's difference from the first, with its paired interval; None where the file states no differences."""
    compared = {model: document["difference"] for model, document in metrics.items() if "difference" in document}
    if not compared:
        return None
    first = next(iter(compared.values()))
    keys = [key for key in first if key != "from"]
    rows = [[model, *(_signed(difference.get(key)) for key in keys)] for model, difference in compared.items()]
    note = "In brackets the 95 % interval, pair by pair on the same images; * where it leaves out 0."
    return Table(f"Difference from {first['from']}", ["model", *keys], rows, note=note)


def seeds_table(metrics: Document) -> Table | None:
    """Return the mean and the standard deviation over the seeds of each student that has several; None where none has."""
    several = {model: document["seeds"] for model, document in metrics.items() if "seeds" in document}
    if not several:
        return None
    keys = list(next(iter(several.values()))["mean"])
    rows = [
        [
            model,
            ", ".join(seeds["by_seed"]),
            *(f"{seeds['mean'][key]:.1f} ± {seeds['deviation'][key]:.1f}" for key in keys),
        ]
        for model, seeds in several.items()
    ]
    note = "± is the standard deviation over the seeds: what another training would change."
    return Table("Mean over the seeds, on the test people", ["student", "seeds", *keys], rows, note=note)


def score_tables(metrics: Document, datasets: Sequence[str]) -> list[Table]:
    """Return a table per dataset with a row per score and a column per model, and a table of the validation scores."""
    tables = []
    for name in datasets:
        keys = dict.fromkeys(key for document in metrics.values() for key in document.get(name, {}))
        rows = [
            [
                key,
                *(
                    with_margin(doc.get(name, {}).get(key), _interval(doc, name, key), _missed(doc, name, key))
                    for doc in metrics.values()
                ),
            ]
            for key in keys
        ]
        tables.append(Table(name, ["score", *metrics], rows))
    held_out = {model: document.get("validation") or {} for model, document in metrics.items()}
    names = dict.fromkeys(name for scores in held_out.values() for name in scores)
    if names:
        rows = [[name, *(with_margin(scores.get(name)) for scores in held_out.values())] for name in names]
        tables.append(Table("validation people, by the dataset's main score", ["dataset", *metrics], rows))
    return tables


def with_margin(value: float | None, interval: Sequence[float] | None = None, missed: bool = False) -> str:
    """Return a number with one digit, a dagger if it counts keypoints as `missed`, and ± half the interval where there is one.

    An empty text for None.
    """
    if value is None:
        return ""
    return (
        f"{value:.1f}"
        + ("\N{DAGGER}" if missed else "")
        + (f" ± {(interval[1] - interval[0]) / 2:.1f}" if interval else "")
    )


def _missed(document: Document, dataset: str, score: str) -> bool:
    """Return whether a score counts keypoints as missed that the model does not give."""
    return score in document.get("missed", {}).get(dataset, {})


def _interval(document: Document, *keys: str) -> Sequence[float] | None:
    """Return the interval of a score, or None where it has none."""
    interval: Any = document.get("intervals", {})
    for key in keys:
        interval = interval.get(key) or {}
    return interval if interval and None not in interval else None


def _signed(difference: Sequence[float | None] | None) -> str:
    """Return a difference with its interval in brackets, marked with * where the interval excludes 0."""
    if not difference or difference[0] is None:
        return ""
    value, low, high = difference
    text = f"{value:+.1f}"
    if low is not None and high is not None:
        text += f"{'' if low <= 0 <= high else '*'} ({low:+.1f} to {high:+.1f})"
    return text.replace("-", "\N{MINUS SIGN}")
