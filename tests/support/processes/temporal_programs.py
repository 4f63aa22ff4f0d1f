"""The Temporal server's own programs, built once by `go install` into the cache that the Temporal CLI is kept in.

Invariant: a program in the cache is whole; one process builds at a time.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from inturn_worker.temporal_cli import cache, go_install, locked

VERSION: Final = "v1.32.1"
"""The newest that builds with Go 1.26.8."""
_MODULE: Final = "go.temporal.io/server"
_PACKAGES: Final = {"server": "cmd/server", "sql": "cmd/tools/sql"}


def temporal_programs() -> Path:
    """Return the directory of `server` and `sql` (the schema's tool); builds them where it must.

    Raises:
        RuntimeError: They cannot be built; the message says why.
    """
    kept = cache() / f"server-{VERSION}"
    kept.parent.mkdir(parents=True, exist_ok=True)
    with locked(kept.with_suffix(".lock")):
        if not kept.is_dir():
            _build(kept)
    return kept


def _build(kept: Path) -> None:
    packages = [f"{_MODULE}/{path}@{VERSION}" for path in _PACKAGES.values()]
    what = f"building the Temporal server {VERSION} with go install (once; some five minutes on two cores)"
    with tempfile.TemporaryDirectory(prefix="building-", dir=kept.parent) as name:
        made = Path(name, "bin")
        made.mkdir()
        if problem := go_install(made, packages, what):
            raise RuntimeError(f"no Temporal server {VERSION} for the cluster: {problem}. Install Go >= 1.26.8")
        made.rename(kept)
