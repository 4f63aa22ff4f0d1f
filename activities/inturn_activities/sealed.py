"""Signals that a session set aside for want of their key, kept for whoever has it.

Invariant: the journal keeps what came as it came, beside where it is in the history; what is too much of it, at once
or in all, stays there alone: whoever may signal may send junk for ever. The workflow never holds it: in a replay with
the key it would be something else.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Sequence
from typing import Any, Final

from temporalio import activity
from temporalio.api.common.v1 import Payload
from temporalio.service import RPCError, RPCStatusCode

from inturn import names, sizes
from inturn.encryption.payload_codec import key_named
from inturn.histories import Came, signals
from inturn.journal import Journal
from inturn.keys import SessionKey
from inturn_activities import failures
from inturn_activities.messages import Decision

logger = logging.getLogger("inturn.worker")
_TRIES: Final = 4
"""So often the history is asked for: what is set aside must not hold up what is not."""

_WITHIN: Final = 8.0
"""Seconds for which a run's history is read: who is cut off by Temporal's timeout would begin again for ever."""


async def kept(journal: Journal, session: SessionKey, decisions: Sequence[Decision]) -> list[Decision]:
    """Return decisions, those on signals under strange keys with what came."""
    wanted = dict[str, set[int]]()
    for found in filter(None, map(_sealed, decisions)):
        wanted.setdefault(found["run"], set()).add(found["signal"])
    if not wanted:
        return list(decisions)
    came = {run: await _came(session, run, numbers) for run, numbers in wanted.items()}
    room, filled = min(sizes.RECORD, sizes.SEALED - await journal.sealed_bytes(session)), list[Decision]()
    for decision in decisions:
        there = _sealed(decision)
        signal = came[there["run"]].get(there["signal"]) if there else None
        if there is not None and signal is not None:
            decision, taken = _filled(decision, there, signal, room)
            room -= taken
        filled.append(decision)
    return filled


def _filled(decision: Decision, there: dict[str, Any], signal: Came, room: int) -> tuple[Decision, int]:
    """Return a decision with the key that its signal needs, with what came where it may be an event, and its bytes."""
    payloads = signal.payloads.payloads
    body = decision.body | {"error": _error(decision, payloads)}
    taken = payloads[0].ByteSize() if signal.name == names.SUBMIT and len(payloads) == 1 else 0
    if 0 < taken <= room:
        body["sealed"] = there | {"payload": base64.b64encode(payloads[0].SerializeToString()).decode()}
    else:
        taken = 0
    return decision.model_copy(update={"body": body}), taken


def _sealed(decision: Decision) -> dict[str, Any] | None:
    """Return where in the history the signal is that a decision set aside, if it did so for want of a key."""
    return decision.body.get("sealed") if decision.type == "event.parked" else None


async def _came(session: SessionKey, run: str, numbers: set[int]) -> dict[int, Came]:
    """Return a run's signals by their numbers; none where the server cannot say: the history has them all the same."""
    try:
        async with asyncio.timeout(_WITHIN):
            return await signals(activity.client(), str(session), run, numbers)
    except (RPCError, TimeoutError) as error:
        gone = isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND
        if not gone and activity.info().attempt < _TRIES:
            message = f"what the session set aside cannot be read now: {failures.describe(error)}"
            raise failures.again(names.OUTAGE, message, after=failures.backoff(activity.info().attempt)) from error
        logger.warning("what session %s set aside cannot be read: %s", session, error)
    except RuntimeError:  # no client in this process
        pass
    return {}


def _error(decision: Decision, payloads: Sequence[Payload]) -> str:
    """Return why it was set aside, with the keys that it needs."""
    needed = ", ".join(dict.fromkeys(repr(key_named(payload)) for payload in payloads[:2]))
    return str(decision.body.get("error")).replace("a key that", f"key {needed}, which", 1)
