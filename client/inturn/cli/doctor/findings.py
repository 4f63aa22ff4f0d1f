"""What a check found.

Invariant: what is not ok says what to do.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's result.

    Attributes:
        name: What was checked.
        state: `ok`; `warn`: it works, but look; `fail`: sessions cannot work like this.
        found: What there is.
        to_do: What helps.
    """

    name: str
    state: State
    found: str
    to_do: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object, without what is unset."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def fine(name: str, found: str) -> Finding:
    """Return the finding of a check that is ok."""
    return Finding(name, "ok", found)


def warned(name: str, found: str, to_do: str) -> Finding:
    """Return the finding of a check that works, but needs a look."""
    return Finding(name, "warn", found, to_do)


def failed(name: str, found: str, to_do: str) -> Finding:
    """Return the finding of a check without which sessions cannot work."""
    return Finding(name, "fail", found, to_do)
