"""What a session decides alone, written once and in order.

Invariant: after a turn is settled none of its steps can write, and every call that the model made has a result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from inturn.errors import JournalUnavailable
from inturn.journal.ledger import attempts, rows, steps
from inturn.journal.limits import places
from inturn.journal.live import deltas
from inturn.journal.log import codec, contents, log, position
from inturn.journal.log.log import Log
from inturn.journal.state import operations
from inturn.journal.store.store import Transaction
from inturn.journal.values import Attempts, NewEntry, Outcome, Recorded, Spent, Written
from inturn.journal.views import aliases, outcomes
from inturn.journal.views.costs import TYPES, usage_of
from inturn.keys import SessionKey, StepKey, TurnKey
from inturn.turns.budget import added

INTERRUPTED: Final = "interrupted: the turn ended before this call had a result"
CLOSED_KEY: Final = "closed"
_UNANSWERED: Final = ("turn.failed", "turn.interrupted")
_OVER: Final = ("expired", "cancelled", "discarded")
"""Ends after which nobody needs what the event says."""


def record(
    tx: Transaction,
    session: SessionKey,
    recorded: Sequence[Recorded],
    settle: Sequence[TurnKey],
    close: bool,
    cancelled: str | None = None,
    number: str | None = None,
    unclaimed: bool = False,
) -> Written:
    """Settle turns, write the decisions whose keys are new, close; see `Journal.record`. Return where it stands."""
    with log.locked(tx, session) as journal:
        keys = [decision.entry.key for decision in recorded if decision.entry.key]
        repeated = bool(settle and keys and number is None) and all(map(journal.knows, keys))
        left = {turn.turn: unanswered(tx, turn) for turn in settle} if number is None else {}
        if not repeated:
            ended = ("cancelled", cancelled) if cancelled else ("interrupted", INTERRUPTED)
            _settle(journal, settle, number, ended, unclaimed=unclaimed)
        if close or (settle and number is None):  # who looks from now on is not shown what those had said
            deltas.forget(tx, [(session, journal.fence)])
        for decision in recorded:
            _decide(journal, _told(decision, left))
        if close and not journal.closed:
            journal.append([NewEntry("session.closed", {}, key=CLOSED_KEY)])
            journal.close()
        here = position.reached(journal)
        return Written(here.identity, here.head, here.seal, _usage(journal, recorded))


def settle_turns(tx: Transaction, turns: Sequence[TurnKey], number: str | None = None) -> None:
    """Close the turns' open steps for good, or only those of one number."""
    for turn in turns:
        tx.execute(
            "UPDATE steps SET state = 'settled', lease_until = 0, result = ? "
            "WHERE tenant = ? AND session = ? AND turn = ? AND state = 'open' AND step = coalesce(?, step)",
            (codec.dumps(steps.SETTLED_RESULT), turn.session.tenant, turn.session.session_id, turn.turn, number),
        )
    for turn in turns:
        operations.forget_turn(tx, turn, number)
    for turn in turns:
        places.settle(tx, turn, number)


@dataclass(frozen=True, slots=True)
class Unanswered:
    """What attempts of a turn's open model steps left, of which no answer tells.

    Attributes:
        usage: What they used.
        said: What the answer had said that was stopped.
    """

    usage: Mapping[str, float]
    said: str = ""


def unanswered(tx: Transaction, turn: TurnKey) -> Unanswered:
    """Return what attempts left of a turn's steps that were not answered."""
    spent, said = Attempts(), ""
    for step, kept, checkpoint in tx.execute(
        "SELECT step, attempts, checkpoint FROM steps "
        "WHERE tenant = ? AND session = ? AND turn = ? AND call = ? AND state = 'open'",
        (turn.session.tenant, turn.session.session_id, turn.turn, rows.NO_CALL),
    ):
        attempts.add_usage(spent, codec.loads(kept).get(rows.USAGE))
        if checkpoint is not None and turn.step(step).is_model:
            said = _said(tx, turn.step(step), str(checkpoint))
    return Unanswered(spent.usage, said)


def _said(tx: Transaction, step: StepKey, stored: str) -> str:
    """Return what a stopped answer had said; nothing where that cannot be read: the turn ends all the same."""
    try:
        said = codec.loads(str(rows.unsealed(tx, "checkpoint", step, stored)))
    except (JournalUnavailable, ValueError, RecursionError):
        return ""
    return said if isinstance(said, str) else ""


def settle_unclaimed(tx: Transaction, step: StepKey) -> bool:
    """Close a step that no attempt holds and whose body never began, so that it never does; return whether it was."""
    row = rows.find(tx, step, lock=True)
    if row is None:
        rows.insert(tx, step)
    elif not row.unclaimed:
        return False
    rows.update(tx, step, "state = 'settled', result = ?", codec.dumps(steps.SETTLED_RESULT))
    places.leave(tx, step)
    return True


def _usage(journal: Log, recorded: Sequence[Recorded]) -> dict[str, float]:
    """Return what the end of a turn without an answer says of usage, whenever it was written."""
    ends = [decision.entry for decision in recorded if decision.entry.type in _UNANSWERED]
    written = log.keyed(journal.tx, journal.session, ends[-1].key) if ends and ends[-1].key else None
    return dict(written.body.get("usage") or {}) if written else {}


def _told(decision: Recorded, left: Mapping[str, Unanswered]) -> Recorded:
    """Return the end of a turn with what its attempts left that gave no answer."""
    entry = decision.entry
    found = left.get(str(entry.body.get("turn"))) if entry.type in _UNANSWERED else None
    if found is None:
        return decision
    more: dict[str, Any] = {"usage": found.usage} if found.usage else {}
    if found.said and entry.type == "turn.interrupted":
        more["partial"] = found.said
    return replace(decision, entry=replace(entry, body=entry.body | more))


def _decide(journal: Log, decision: Recorded) -> None:
    """Write a decision where its key is new, and what becomes of the event's content with it."""
    entry, outcome, before = decision.entry, decision.outcome, journal.head
    if entry.type == "event.rejected" and "n" in entry.body and _ended(journal, entry):
        return  # the session has forgotten it: it learns of that end, and counts that
    journal.append([contents.set_aside(journal, entry) if entry.type == "event.parked" else entry])
    if journal.head == before:
        return
    if entry.type == "event.rejected" and entry.event_id and "claim" in entry.body:
        contents.rejected(journal, entry.event_id, entry.body["claim"])
    if outcome and outcomes.put(journal, _with_costs(journal, entry, outcome)):
        others = entry.body.get("aliases") or (entry.body.get("event") or {}).get("aliases")
        aliases.put(journal.tx, journal.session, {outcome.event_id: others or ()})
        if outcome.disposition == "merged":
            contents.merged(journal, outcome.event_id, str(outcome.into))
        elif outcome.disposition in _OVER:
            contents.take(journal, [outcome.event_id])


def _with_costs(journal: Log, end: NewEntry, outcome: Outcome) -> Outcome:
    """Return the outcome of a turn that was stopped or failed, with what it cost until then."""
    if end.type not in _UNANSWERED or outcome.spent is not None:
        return outcome
    began = log.keyed(journal.tx, journal.session, "session")
    entries = log.read(journal.tx, journal.session, event_id=outcome.event_id, types=TYPES)
    used = added(usage_of(entries), end.body.get("usage") or {})
    answers = [entry for entry in entries if entry.type == "agent.message"]
    frozen = began.body if began else {}
    model = answers[-1].body.get("model") if answers else frozen.get("model")
    return replace(outcome, spent=Spent(used, frozen.get("agent"), model))


def _ended(journal: Log, entry: NewEntry) -> bool:
    return entry.event_id is not None and outcomes.get(journal.tx, journal.session, entry.event_id) is not None


def _settle(
    journal: Log, turns: Sequence[TurnKey], number: str | None, ended: tuple[str, str], *, unclaimed: bool
) -> None:
    for turn in sorted(turns, key=str):
        rows.lock_turn(journal.tx, turn)
    if not unclaimed:
        settle_turns(journal.tx, turns, number)
    for turn in turns:
        for call, use in _calls(journal, turn, number):
            if settle_unclaimed(journal.tx, call) or not unclaimed:
                journal.append([_result(call, use, *ended)])


def _calls(journal: Log, turn: TurnKey, number: str | None) -> Iterator[tuple[StepKey, dict[str, Any]]]:
    """Yield the calls of a turn that the model made, or only those of one number, and how it made each."""
    rows = journal.tx.execute(
        "SELECT key, seq, body FROM entries WHERE tenant = ? AND session = ? AND event_id = ? "
        "AND type = 'agent.tool_use' ORDER BY seq",
        (turn.session.tenant, turn.session.session_id, turn.event_id),
    )
    for key, seq, stored in rows:
        call = _call_of(turn, key)
        if call is not None and number in (None, call.step):
            yield call, log.body(journal.tx, turn.session, seq, stored)


def _result(call: StepKey, use: dict[str, Any], status: str, text: str) -> NewEntry:
    """Return the result of a call that has none; where it has one, an entry under this key is not appended."""
    body = {"call_id": use.get("call_id"), "tool": use.get("tool"), "status": status, "text": text}
    key = call.within_session
    return NewEntry("agent.tool_result", body, event_id=call.turn.event_id, step=call.within_turn, key=key)


def _call_of(turn: TurnKey, key: str | None) -> StepKey | None:
    """Read the call's step from the key of its `agent.tool_use` entry: `{turn}/{step}/{index}/use`."""
    parts = (key or "").split("/")
    if len(parts) != 4 or parts[0] != turn.turn or parts[3] != "use" or not parts[2].isdecimal():
        return None
    return turn.step(parts[1], int(parts[2]))
