"""Draws plots as inline SVG and as PDF with Matplotlib, readable on dark and on light pages. What is plotted is computed elsewhere."""

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator

COLORS = ("#2f86d6", "#e69f00", "#1fa37a", "#d0669c", "#8f7ee7", "#dd5f2e", "#5fb9d9", "#a0a32a")
"""Colours of the students in their order, then of the teachers; each is readable on white and on near black."""
GREY = "#8a8a8a"

PLOT_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pose-fusion",
    "pdf.fonttype": 42,  # fonts that journals accept
    "text.parse_math": False,
    "font.size": 9,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GREY,
    "grid.alpha": 0.25,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "legend.frameon": False,
    "axes.titlesize": 10,
}

Series = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Drawing:
    """A plot as an <svg> element and as PDF."""

    name: str
    svg: str
    pdf: bytes


@dataclass(frozen=True)
class LineStyle:
    """Style of a model's lines and marks, the same in every plot."""

    color: str
    dashed: bool = False


def line_styles(students: Sequence[str], teachers: Sequence[str]) -> dict[str, LineStyle]:
    """Return a style for each model. Teachers are dashed."""
    colors = cycle(COLORS)
    return {
        **{name: LineStyle(next(colors)) for name in students},
        **{name: LineStyle(next(colors), dashed=True) for name in teachers},
    }


def loss_curves(name: str, curves: Mapping[str, Series], teachers: Sequence[str]) -> Drawing:
    """Draw a plot per student with its loss terms over `step`. A term has the same colour in all plots."""
    colors = dict(zip(("total", "truth", *teachers), (GREY, *COLORS), strict=False))
    with rc_context(PLOT_STYLE):
        figure, axes = _grid(len(curves), wh=(2.7, 2.2))
        for axis, (student, columns) in zip(axes, curves.items(), strict=True):
            terms = {term: values for term, values in columns.items() if term != "step"}
            for term, values in terms.items():
                axis.plot(columns["step"], values, color=colors.get(term, GREY), label=term, linewidth=1.3)
            axis.set_title(student)
            axis.set_xlabel("step")
            axis.set_ylim(bottom=0)
            axis.legend(fontsize=8)
        return Drawing(name, _svg(figure, name), _pdf(figure))


def pck_curves(name: str, curves: Mapping[str, Mapping[str, Series]], styles: Mapping[str, LineStyle]) -> Drawing:
    """Draw a plot per dataset with a line per model: `pck` over `threshold`."""
    handles: dict[str, Any] = {}
    with rc_context(PLOT_STYLE):
        figure, axes = _grid(len(curves), wh=(3.2, 2.6))
        for axis, (dataset, models) in zip(axes, curves.items(), strict=True):
            for model, columns in models.items():
                dash = "--" if styles[model].dashed else "-"
                (handles[model],) = axis.plot(
                    columns["threshold"], columns["pck"], color=styles[model].color, linestyle=dash, linewidth=1.4
                )
            axis.axvline(0.1, color=GREY, linewidth=1, linestyle=":")
            axis.set_title(dataset)
            axis.set_ylim(0, 100)
            axis.set_xlim(left=0)
            axis.xaxis.set_major_locator(MultipleLocator(0.1))
            axis.set_xlabel("distance / longer box side")
        axes[0].set_ylabel("keypoints within, %")
        _legend(figure, handles)
        return Drawing(name, _svg(figure, name), _pdf(figure))


def keypoint_bars(
    name: str,
    keypoints: Sequence[str],
    values: Mapping[str, Sequence[float | None]],
    styles: Mapping[str, LineStyle],
    score: str,
) -> Drawing:
    """Draw the `score` per keypoint, 0 to 100: horizontal bars for the first model, marks for the others."""
    first, *others = values
    rows = range(len(keypoints))
    with rc_context(PLOT_STYLE):
        figure = Figure(figsize=(5.6, 0.9 + 0.22 * len(keypoints)), layout="constrained")
        axis = figure.subplots()
        bars = axis.barh(rows, _floats(values[first]), color=styles[first].color, height=0.62, alpha=0.75)
        handles: dict[str, Any] = {first: bars}
        for model in others:
            (handles[model],) = axis.plot(
                _floats(values[model]),
                rows,
                marker="D" if styles[model].dashed else "o",
                markersize=4.5,
                linestyle="none",
                color=styles[model].color,
                markerfacecolor="none" if styles[model].dashed else styles[model].color,
            )
        axis.set_yticks(rows, keypoints)
        axis.set_ylim(len(keypoints) - 0.4, -0.6)
        axis.grid(visible=False, axis="y")
        axis.set_xlim(0, 100)
        axis.set_xlabel(f"{score}, %")
        _legend(figure, handles)
        return Drawing(name, _svg(figure, name), _pdf(figure))


def _legend(figure: Figure, handles: Mapping[str, Any]) -> None:
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=min(4, len(handles)))


def _grid(count: int, wh: tuple[float, float], across: int = 4) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` axes of `wh` inches each, in rows of at most `across`."""
    columns = max(1, min(across, count))
    rows = max(1, math.ceil(count / columns))
    figure = Figure(figsize=(wh[0] * columns, wh[1] * rows + 0.4), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axis in axes[count:]:
        axis.remove()
    for axis in axes[:count]:
        axis.xaxis.set_major_locator(MaxNLocator(4))
    return figure, axes[:count]


def _floats(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


def _pdf(figure: Figure) -> bytes:
    """Return the figure as PDF. Equal figures give equal bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="pdf", metadata=dict.fromkeys(("CreationDate", "Creator", "Producer")))
    return stream.getvalue()


def _svg(figure: Figure, name: str) -> str:
    """Return the <svg> element. Its ids start with `name`, so that several fit on one page. Equal figures give equal texts."""
    stream = io.StringIO()
    none = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(stream, format="svg", transparent=True, metadata=none)
    text = stream.getvalue()
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text[text.index("<svg") :])
