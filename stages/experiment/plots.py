"""Plots of the comparison as PNG. What is plotted is computed elsewhere."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from pipeline.files import write_atomically
from pipeline.report.plots import COLORS, GREY, STYLE


@dataclass(frozen=True)
class Point:
    """An arm: how many crops teachers looked at for it, and its average accuracy by seed."""

    name: str
    passes: int
    averages: Sequence[float]


def passes_plot(points: Sequence[Point], path: Path) -> None:
    """Average accuracy over teacher forward passes: arms with teachers as points with their spread, those without as lines."""
    with rc_context(STYLE):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.add_subplot()
        for color, point in zip(COLORS * 2, points, strict=False):
            mean, spread = float(np.mean(point.averages)), float(np.std(point.averages, ddof=len(point.averages) > 1))
            if not point.passes:
                axes.axhline(mean, color=color, linewidth=1, linestyle="--")
                axes.annotate(
                    f"{point.name} (no teacher)", (1, mean), xycoords=("axes fraction", "data"), xytext=(-4, 3),
                    textcoords="offset points", color=color, ha="right",
                )  # fmt: skip
                continue
            axes.errorbar(point.passes, mean, spread, fmt="o", color=color, capsize=3)
            axes.annotate(point.name, (point.passes, mean), xytext=(7, 4), textcoords="offset points", color=color)
        axes.set_xlim(left=0)
        axes.margins(x=0.2, y=0.15)
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.set_xlabel("crops that teachers look at")
        axes.set_ylabel("average of COCO AP and MPII PCKh@0.5")
        axes.set_title("Accuracy against teacher forward passes (mean and standard deviation over seeds)")
        _write(figure, path)


def conditions_plot(pairs: Mapping[str, tuple[Sequence[float], Sequence[float]]], path: Path) -> None:
    """Per condition the averages of control and distilled student, each seed as a dot."""
    with rc_context(STYLE):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.add_subplot()
        for side, (label, color) in enumerate((("control: no teacher", GREY), ("offline, 4 views", COLORS[0]))):
            at = np.arange(len(pairs)) + (side - 0.5) * 0.2
            values = [pair[side] for pair in pairs.values()]
            axes.plot(at, [float(np.mean(v)) for v in values], "_", color=color, markersize=22, label=label)
            for x, v in zip(at, values, strict=True):
                axes.plot(np.full(len(v), x), v, "o", color=color, markersize=4, alpha=0.7)
        axes.set_xticks(np.arange(len(pairs)), ["\n".join(wrap(name, 14)) for name in pairs])
        axes.set_ylabel("average of COCO AP and MPII PCKh@0.5")
        axes.set_title("When does distilling help? (lines: means, dots: seeds)")
        axes.legend(loc="upper left")
        _write(figure, path)


def _write(figure: Figure, path: Path) -> None:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150, metadata={"Software": None})
    write_atomically(path, stream.getvalue())
