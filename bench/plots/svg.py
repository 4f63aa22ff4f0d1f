"""Draws a curve as SVG.

Invariant: the same curve gives the same bytes, and the colours are read on white and on dark.
"""

from __future__ import annotations

import io
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from matplotlib.typing import RcKeyType

from bench.curves.series import Curve, number

GREY: Final = "#808893"
COLOURS: Final = ("#2f7fe0", "#d9660a", "#2a9d57", "#a663d6", "#c9455c", "#1b9aa8")
MARKERS: Final = "os^Dv*"
STEEP: Final = 30.0
"""From this ratio of the largest to the smallest value on, the values stand on a logarithmic axis."""
STYLE: Final[dict[RcKeyType, Any]] = {
    "svg.hashsalt": "inturn",
    "svg.fonttype": "none",  # text stays text: small, and in the reader's font
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 9,
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "axes.titlecolor": GREY,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "legend.labelcolor": GREY,
    "grid.color": GREY,
    "grid.alpha": 0.3,
    "xtick.color": GREY,
    "ytick.color": GREY,
}


def svg(curve: Curve) -> str:
    """Draw a curve on a transparent ground."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.0), layout="constrained")
        _draw(curve, figure.subplots())
        written = io.StringIO()
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return "".join(f"{line.rstrip()}\n" for line in written.getvalue().splitlines())


def _draw(curve: Curve, axes: Axes) -> None:
    for index, line in enumerate(curve.series):
        style = "--" if "p99" in line.name else "-"
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        xs, ys = [x for x, _ in line.points], [y for _, y in line.points]
        axes.plot(xs, ys, style, color=colour, marker=marker, markersize=4, label=line.name)
    if curve.log_x:
        axes.set_xscale("log")
    if steep(curve):
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1.1 * max((y for line in curve.series for _, y in line.points), default=1.0))
    axes.set_xticks(curve.sizes, labels=[number(x) for x in curve.sizes], minor=False)
    axes.xaxis.minorticks_off()
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axes.set_title(curve.title, loc="left")
    axes.set_xlabel(curve.x)
    axes.set_ylabel(curve.y)
    axes.grid(axis="y")
    if len(curve.series) > 1:
        axes.legend(frameon=False)


def steep(curve: Curve) -> bool:
    """Return whether a linear axis would press the small values flat."""
    values = [y for line in curve.series for _, y in line.points]
    return bool(values) and min(values) > 0 and max(values) / min(values) >= STEEP
