"""Writes a plot for each curve of a run, and the page of benchmarks beside their folder.

Invariant: the same JSON gives the same files, byte for byte.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from bench.curves.series import Curve
from bench.plots.page import page
from bench.plots.svg import svg
from bench.rig import ROOT


def main(
    file: Annotated[Path, typer.Argument(metavar="FILE.json", help="What `make bench` wrote with --json.")],
    out: Annotated[Path, typer.Option(help="Where the plots go; the page goes beside this folder.")] = (
        ROOT / "docs/bench"
    ),
) -> None:
    """Write docs/bench/*.svg and docs/benchmarks.md from the numbers of a run."""
    report = json.loads(file.read_text())
    curves = [Curve.from_json(found) for found in report.get("curves", [])]
    out.mkdir(parents=True, exist_ok=True)
    for curve in curves:
        (out / f"{curve.key}.svg").write_text(svg(curve))
    (out.parent / "benchmarks.md").write_text(page(report, curves, out.name))


if __name__ == "__main__":
    typer.run(main)
