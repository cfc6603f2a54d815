"""Plots of the comparison as PNG. The plotted values are computed by stages.experiment.tables.run."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from pipeline.common.files import write_atomically
from pipeline.report.plots import COLORS, GREY, PLOT_STYLE


@dataclass(frozen=True)
class Point:
    """An arm of the comparison in the plot."""

    name: str
    passes: int
    """Number of crops that teachers were run on for it."""
    averages: Sequence[float]
    """Its average accuracy by seed."""


def arms_plot(
    arms: Mapping[str, Mapping[str, Sequence[float]]], teachers: Mapping[str, Mapping[str, float]], path: Path
) -> None:
    """Plot the scores of each arm by seed as dots with their mean as a line, and the teachers' as squares; a panel for each score."""
    names = [*arms, *teachers]
    columns = list(next(iter(arms.values())))
    with rc_context(PLOT_STYLE):
        figure = Figure(figsize=(8, 0.8 + 0.3 * len(names)), layout="constrained")
        for panel, column in zip(figure.subplots(1, len(columns), sharey=True, squeeze=False)[0], columns, strict=True):
            for row, (name, scores) in enumerate(arms.items()):
                color = COLORS[names.index(name) % len(COLORS)]
                panel.plot(scores[column], [row] * len(scores[column]), "o", color=color, markersize=4, alpha=0.6)
                panel.plot(float(np.mean(scores[column])), row, "|", color=color, markersize=14, markeredgewidth=2)
            for row, of_teacher in enumerate(teachers.values(), start=len(arms)):
                panel.plot(of_teacher[column], row, "s", color=GREY, markersize=5)
            panel.set_title(column)
            panel.margins(x=0.1)
        panel.set_yticks(range(len(names)), names)
        panel.invert_yaxis()
        figure.supxlabel("test people; dots: seeds, lines: means", fontsize=9)
        _write(figure, path)


def passes_plot(points: Sequence[Point], path: Path) -> None:
    """Plot average accuracy over teacher forward passes: arms with teachers as points with error bars, arms without as lines.

    An arm of one seed has no error bar, and its point is hollow. The number of seeds stands behind the name.
    """
    with rc_context(PLOT_STYLE):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.add_subplot()
        for color, point in zip(COLORS * 2, points, strict=False):
            mean, count = float(np.mean(point.averages)), len(point.averages)
            label = f"{point.name} ({count})"
            if not point.passes:
                axes.axhline(mean, color=color, linewidth=1, linestyle="--")
                axes.annotate(
                    f"{label}, no teacher", (1, mean), xycoords=("axes fraction", "data"), xytext=(-4, 3),
                    textcoords="offset points", color=color, ha="right",
                )  # fmt: skip
                continue
            if count > 1:
                axes.errorbar(
                    point.passes, mean, float(np.std(point.averages, ddof=1)), fmt="o", color=color, capsize=3
                )
            else:
                axes.plot(point.passes, mean, "o", color=color, markerfacecolor="none")
            axes.annotate(label, (point.passes, mean), xytext=(7, 4), textcoords="offset points", color=color)
        axes.set_xlim(0, 1.25 * max((point.passes for point in points), default=0) or 1)
        axes.margins(y=0.15)
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.set_xlabel("crops that teachers are run on")
        axes.set_ylabel("average of COCO AP and MPII PCKh@0.5")
        axes.set_title("Accuracy against teacher forward passes (in brackets: seeds; bars: standard deviation)")
        _write(figure, path)


def conditions_plot(pairs: Mapping[str, tuple[Sequence[float], Sequence[float]]], path: Path) -> None:
    """Plot the averages of the control and of the distilled student by condition, each seed as a dot and the mean as a line."""
    with rc_context(PLOT_STYLE):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.add_subplot()
        for side, (label, color) in enumerate((("control: no teacher", GREY), ("offline, 4 views", COLORS[0]))):
            positions = np.arange(len(pairs)) + (side - 0.5) * 0.2
            averages = [pair[side] for pair in pairs.values()]
            axes.plot(positions, [float(np.mean(v)) for v in averages], "_", color=color, markersize=22, label=label)
            for x, by_seed in zip(positions, averages, strict=True):
                axes.plot(np.full(len(by_seed), x), by_seed, "o", color=color, markersize=4, alpha=0.7)
        axes.set_xticks(np.arange(len(pairs)), ["\n".join(wrap(name, 14)) for name in pairs])
        axes.set_ylabel("average of COCO AP and MPII PCKh@0.5")
        axes.set_title("When does distilling help? (lines: means, dots: seeds)")
        axes.legend(loc="upper left")
        _write(figure, path)


def lengths_plot(arms: Mapping[str, Sequence[tuple[int, Sequence[float]]]], path: Path) -> None:
    """Plot averages on validation people over the steps of a training, by arm: each seed as a dot and the means as a line."""
    with rc_context(PLOT_STYLE):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.add_subplot()
        for (name, points), color in zip(arms.items(), (GREY, *COLORS), strict=False):
            steps = [length for length, _ in points]
            axes.plot(steps, [float(np.mean(averages)) for _, averages in points], "-", color=color, label=name)
            for length, averages in points:
                axes.plot([length] * len(averages), averages, "o", color=color, markersize=4, alpha=0.7)
        ticks = sorted({length for points in arms.values() for length, _ in points})
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("steps of a training, each a training of its own")
        axes.set_ylabel("average on validation people")
        axes.set_title("Is a training long enough? (lines: means, dots: seeds)")
        axes.legend(loc="upper left")
        _write(figure, path)


def _write(figure: Figure, path: Path) -> None:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150, metadata={"Software": None})
    write_atomically(path, stream.getvalue())
