"""What a test is told of an answer as it comes, and what of it counts in the end.

Invariant: the same as a worker's: a preview begins anew with each attempt, and an answer that does not have its form is
asked for once more.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from inturn.journal.views.transcript import Transcript
from inturn.models import DeltaKind, OnDelta
from inturn.turns.answers import KeptAnswer
from inturn.turns.output import correction, fitting
from inturn.values import Delta


def preview(told: Callable[[Delta], None] | None, event: str, step: str, attempt: int) -> OnDelta:
    """Return what tells of an attempt's words, from its start on; `told`: whom."""
    index = itertools.count()

    def tell(block: int, kind: DeltaKind, text: str) -> None:
        if told is None or not text:
            return
        if (at := next(index)) == 0:
            told(Delta(event_id=event, step=step, attempt=attempt, index=0, kind="start"))
            at = next(index)
        told(Delta(event_id=event, step=step, attempt=attempt, index=at, kind=kind, block=block, text=text))

    return tell


def output_of(kept: KeptAnswer, model: type[BaseModel] | None, said: Transcript, event_id: str | None) -> Any:
    """Return what an answer says in the agent's form; where it does not fit, it is asked for once more."""
    if model is None or kept.stop != "end_turn":
        return None
    try:
        return fitting(model, kept.content, said.committed.paused_text)
    except ValueError as error:
        if said.may_correct(event_id):
            kept.correct(correction(error))
        return None
