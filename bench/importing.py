"""How long `import inturn` takes in a fresh interpreter."""

from __future__ import annotations

import asyncio
import sys
from typing import Final

from bench import budgets
from bench.report import Book
from bench.rig import ROOT, Rig

PROGRAM: Final = "import time; began = time.perf_counter(); import inturn; print(time.perf_counter() - began)"


async def measure(rig: Rig, book: Book, rounds: int) -> None:
    """Fill the row of the import; the first one, which may compile, does not count."""
    for number in range(rounds + 1):
        seconds = await _once()
        if number:
            book.add(budgets.IMPORT, seconds)


async def _once() -> float:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, stdout=asyncio.subprocess.PIPE, cwd=ROOT / "client"
    )
    out, _ = await process.communicate()
    return float(out)
