"""Every method of the journal that writes, each in a place where it has something to do.

`PORT` maps a method's name to what prepares that place and returns the call. `READS` are the others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from inturn.journal import Journal, NewDelta, NewEntry, Outcome, Recorded, Resolution
from inturn.journal.money.requests import Cap, Paying
from inturn.journal.state.changes import ClaimNext, Complete, Incr, Operation, Push, Put, Release, Scope
from inturn.journal.values import Serving
from inturn.keys import SessionKey, StepKey
from inturn.models.prices import Price, Tier
from tests.support.journal import OTHER, SESSION, answer, applied, calls, opening, plain_turn
from tests.support.limits import permit, rate, read, write

TURN: Final = SESSION.turn("e1")
STEP: Final = TURN.step(0)
CALL: Final = TURN.step(0, 0)
LEASE: Final = 10.0
TOKEN: Final = "the callers own"
SHARED: Final = Scope("acme")

Call = Callable[[], Awaitable[Any]]
Prepare = Callable[[Journal], Awaitable[Call]]


@dataclass(frozen=True)
class Claimed:
    """A step with the token of its claim."""

    step: StepKey
    token: str


async def model(journal: Journal, session: SessionKey = SESSION, event: str = "e1") -> Claimed:
    """A model step that is claimed."""
    step = session.turn(event).step(0)
    claim = await journal.claim_model(step, opening(event), lease=LEASE)
    assert claim.status == "claimed"
    return Claimed(step, claim.token)


async def call(journal: Journal, session: SessionKey = SESSION, *wants: Any, number: int = 0) -> Claimed:
    """A call whose body began, after the answer that made it."""
    if await journal.head(session) == 0:
        made = await model(journal, session)
        await journal.finish(made.step, made.token, {"stop": "tool_use"}, calls("e1", ["c0", "c1", "c2"]))
    step = session.turn("e1").step(0, number)
    claim = await journal.claim_call(step, lease=LEASE, wants=wants)
    assert claim.status == "claimed"
    return Claimed(step, claim.token)


async def claim_model(journal: Journal) -> Call:
    wants = [permit(of=3), rate(5)]
    return lambda: journal.claim_model(
        STEP, opening("e1"), token=TOKEN, after=0, wants=wants, lease=LEASE, scheduled=1.0
    )


async def claim_model_again(journal: Journal) -> Call:
    await model(journal)
    return lambda: journal.claim_model(STEP, opening("e1"), token=TOKEN, after=0, lease=LEASE, scheduled=2.0)


async def claim_model_waiting(journal: Journal) -> Call:
    await journal.claim_model(OTHER.turn("e1").step(0), opening("e1"), wants=[permit()], lease=LEASE)
    return lambda: journal.claim_model(STEP, opening("e1"), token=TOKEN, wants=[permit(), rate(5)], lease=LEASE)


PAYING: Final = Paying(Price((Tier(0, 2, 10, 1, 3, 4),)), 1_000, 100_000, (Cap("", "m", 10**9), Cap("acme", "", 10**9)))


async def claim_model_paying(journal: Journal) -> Call:
    return lambda: journal.claim_model(
        STEP, opening("e1"), token=TOKEN, wants=[permit(of=3)], lease=LEASE, paying=PAYING
    )


async def claim_model_paying_again(journal: Journal) -> Call:
    await journal.claim_model(STEP, opening("e1"), token="lost", lease=LEASE, paying=PAYING)
    return lambda: journal.claim_model(STEP, opening("e1"), token=TOKEN, lease=LEASE, scheduled=2.0, paying=PAYING)


async def _paying(journal: Journal) -> Claimed:
    claim = await journal.claim_model(STEP, opening("e1"), lease=LEASE, paying=PAYING)
    return Claimed(STEP, claim.token)


async def finish_paid(journal: Journal) -> Call:
    made = await _paying(journal)
    return lambda: journal.finish(made.step, made.token, {"stop": "end_turn"}, answer("e1"), applied("e1"), paid=5)


async def fail_paid(journal: Journal) -> Call:
    made = await _paying(journal)
    return lambda: journal.fail(made.step, made.token, "outage", usage={"usd_nanos": 5}, paid=5)


async def release_paid(journal: Journal) -> Call:
    made = await _paying(journal)
    return lambda: journal.release(made.step, made.token, usage={"usd_nanos": 5}, paid=5)


async def claim_call(journal: Journal) -> Call:
    await call(journal, number=1)
    wants = [write("a"), read("b"), permit(of=3), rate(5)]
    return lambda: journal.claim_call(CALL, token=TOKEN, lease=LEASE, wants=wants, lasts=30)


async def claim_call_after_a_body_that_began(journal: Journal) -> Call:
    await call(journal, number=1)
    await journal.claim_call(CALL, lease=-LEASE, wants=[write("a")])
    return lambda: journal.claim_call(CALL, token=TOKEN, lease=LEASE, wants=[write("a"), rate(5)])


async def claim_call_without_beginning(journal: Journal) -> Call:
    await call(journal, number=1)
    return lambda: journal.claim_call(CALL, token=TOKEN, lease=LEASE, begin=False, wants=[write("a")])


async def claim_call_waiting(journal: Journal) -> Call:
    await call(journal, OTHER, write("a"))
    await call(journal, number=1)
    return lambda: journal.claim_call(CALL, token=TOKEN, lease=LEASE, wants=[write("a"), permit(of=3)])


async def begin(journal: Journal) -> Call:
    await call(journal, number=1)
    claim = await journal.claim_call(CALL, lease=LEASE, begin=False)
    return lambda: journal.begin(CALL, claim.token, lease=LEASE)


async def renew(journal: Journal) -> Call:
    made = await call(journal, SESSION, write("a"), permit(of=3))
    return lambda: journal.renew(made.step, made.token, lease=LEASE)


async def renew_all(journal: Journal) -> Call:
    first = await call(journal, SESSION, write("a"), permit(of=3))
    second = await call(journal, OTHER, write("b"))
    claims = [(made.step, made.token) for made in (second, first)]
    return lambda: journal.renew_all(claims, lease=LEASE)


async def stop(journal: Journal) -> Call:
    return lambda: journal.stop(STEP)


async def keep(journal: Journal) -> Call:
    made = await call(journal)
    return lambda: journal.keep(made.step, made.token, {"page": 3})


async def append(journal: Journal) -> Call:
    made = await call(journal)
    key = f"{made.step.within_session}/progress/{made.token}.1"
    entry = NewEntry("tool.progress", {"text": "half"}, "e1", made.step.within_turn, key=key)
    return lambda: journal.append(made.step, made.token, [entry])


async def finish_model(journal: Journal) -> Call:
    made = await model(journal)
    return lambda: journal.finish(made.step, made.token, {"stop": "end_turn"}, answer("e1"), applied("e1"))


async def finish_call(journal: Journal) -> Call:
    made = await call(journal, SESSION, write("a"), permit(of=3))
    await journal.change(SHARED, Incr("n", 1), Operation(made.step, made.token))
    body = {"call_id": "c0", "tool": "add", "status": "ok", "text": "4"}
    entry = NewEntry("agent.tool_result", body, "e1", made.step.within_turn, key=made.step.within_session)
    return lambda: journal.finish(made.step, made.token, {"status": "ok"}, [entry])


async def fail(journal: Journal) -> Call:
    made = await call(journal, SESSION, permit(of=3))
    return lambda: journal.fail(made.step, made.token, "outage", clean=True)


async def fail_model(journal: Journal) -> Call:
    made = await model(journal)
    return lambda: journal.fail(made.step, made.token, "outage", place=900, usage={"input_tokens": 7})


async def release(journal: Journal) -> Call:
    made = await model(journal)
    return lambda: journal.release(made.step, made.token, usage={"input_tokens": 7})


async def record(journal: Journal) -> Call:
    await call(journal, SESSION, write("a"), permit(of=3))
    entry = NewEntry("turn.interrupted", {"turn": "e1", "n": 1}, "e1", key="e1/end")
    decided = Recorded(entry, Outcome("e1", "e1", "cancelled", stop="interrupted"))
    return lambda: journal.record(SESSION, [decided], settle=[TURN, SESSION.turn("e0")])


async def record_the_close(journal: Journal) -> Call:
    await model(journal)
    entry = NewEntry("event.parked", {"event": {"event_id": "e2", "content": "x"}}, "e2", key="e2/parked")
    return lambda: journal.record(SESSION, [Recorded(entry, Outcome("e2", "e2", "parked"))], close=True)


async def record_what_waits(journal: Journal) -> Call:
    await call(journal, number=1)
    return lambda: journal.record(SESSION, [], settle=[TURN], cancelled="no more", number="0", unclaimed=True)


async def put_blob(journal: Journal) -> Call:
    return lambda: journal.put_blob(SESSION, b"\x00\x01")


async def note(journal: Journal) -> Call:
    return lambda: journal.note("acme", NewEntry("page.login", {"by": "ann"}, key="login-7"))


async def put_upload(journal: Journal) -> Call:
    return lambda: journal.put_upload("acme", b"a text", "text/plain")


async def claim_model_with_a_reference(journal: Journal) -> Call:
    shown = {"type": "document", "source": {"type": "inturn", "ref": await journal.put_upload("acme", b"a", "a/b")}}
    said = NewEntry("user.message", {"content": [shown]}, event_id="e1", key="e1/user")
    return lambda: journal.claim_model(STEP, [said], token=TOKEN, after=0, lease=LEASE)


async def put_content(journal: Journal) -> Call:
    return lambda: journal.put_content(SESSION, "e1", {"content": "long"})


async def remember(journal: Journal) -> Call:
    made = await call(journal)
    return lambda: journal.remember(made.step, made.token, "notes", "more", 0)


async def put_document(journal: Journal) -> Call:
    await journal.put_document("acme", "notes", "some")
    return lambda: journal.put_document("acme", "notes", "more", version=1, writer=TOKEN)


async def delete_document(journal: Journal) -> Call:
    await journal.put_document("acme", "notes", "some")
    return lambda: journal.delete_document("acme", "notes", version=1, writer=TOKEN)


async def fork(journal: Journal) -> Call:
    await plain_turn(journal, SESSION, "e1")
    return lambda: journal.fork(SESSION, "a fork", upto="e1")


async def accept(journal: Journal) -> Call:
    await model(journal)
    return lambda: journal.accept(SESSION, "of another", 9, by="ann")


async def resolve_call(journal: Journal) -> Call:
    made = await call(journal)
    body = {"call_id": "c0", "tool": "add", "status": "unknown", "text": "?"}
    entry = NewEntry("agent.tool_result", body, "e1", made.step.within_turn, key=made.step.within_session)
    await journal.finish(made.step, made.token, {"status": "unknown"}, [entry])
    return lambda: journal.resolve_call(made.step, Resolution(done=True, result=4, by="ann"))


async def move_cursor(journal: Journal) -> Call:
    return lambda: journal.move_cursor("acme", "reader", "s1", 7)


async def change(journal: Journal) -> Call:
    made = await call(journal)
    return lambda: journal.change(SHARED, Incr("n", 1), Operation(made.step, made.token))


async def change_by_key(journal: Journal) -> Call:
    return lambda: journal.change(SHARED, Put("n", "1", None), Operation(key="k1"))


async def change_push(journal: Journal) -> Call:
    made = await call(journal)
    return lambda: journal.change(SHARED, Push("q", '"x"'), Operation(made.step, made.token))


async def _pushed(journal: Journal) -> tuple[Claimed, dict[str, Any]]:
    made = await call(journal)
    await journal.change(SHARED, Push("q", '"x"'), Operation(made.step, made.token))
    claimed = await journal.change(SHARED, ClaimNext("q", LEASE), Operation(made.step, made.token, 1))
    return made, claimed.value


async def change_claim(journal: Journal) -> Call:
    made = await call(journal)
    await journal.change(SHARED, Push("q", '"x"'), Operation(made.step, made.token))
    return lambda: journal.change(SHARED, ClaimNext("q", LEASE), Operation(made.step, made.token, 1))


async def change_complete(journal: Journal) -> Call:
    made, item = await _pushed(journal)
    done = Complete("q", item["seq"], item["token"])
    return lambda: journal.change(SHARED, done, Operation(made.step, made.token, 2))


async def change_release(journal: Journal) -> Call:
    made, item = await _pushed(journal)
    back = Release("q", item["seq"], item["token"])
    return lambda: journal.change(SHARED, back, Operation(made.step, made.token, 2))


async def lock(journal: Journal) -> Call:
    made = await call(journal)
    return lambda: journal.lock(made.step, made.token, write("a"), part=f"{made.token}.1", lease=LEASE)


async def lock_waiting(journal: Journal) -> Call:
    await call(journal, OTHER, write("a"))
    made = await call(journal)
    return lambda: journal.lock(made.step, made.token, write("a"), part=f"{made.token}.1", lease=LEASE)


async def leave(journal: Journal) -> Call:
    made = await call(journal)
    part = f"{made.token}.1"
    await journal.lock(made.step, made.token, write("a"), part=part, lease=LEASE)
    return lambda: journal.leave(made.step, part=part)


async def break_deadlock(journal: Journal) -> Call:
    first, second = await call(journal, SESSION, write("a")), await call(journal, OTHER, write("b"))
    await journal.lock(first.step, first.token, write("b"), part="1", lease=LEASE)
    await journal.lock(second.step, second.token, write("a"), part="1", lease=LEASE)
    return lambda: journal.break_deadlock(first.step, "oldest_waiter")


async def register(journal: Journal) -> Call:
    return lambda: journal.register([Serving("w1", name, "q") for name in ("b", "a")])


async def retire(journal: Journal) -> Call:
    await journal.register([Serving("w1", "a", "q")])
    return lambda: journal.retire("w1")


async def lacking(journal: Journal) -> Call:
    return lambda: journal.lacking(STEP)


async def publish(journal: Journal) -> Call:
    made = await model(journal)
    rows = [NewDelta(made.step, made.token, 1, n, [[0, "t", "so"]]) for n in range(3)]
    return lambda: journal.publish(rows)


async def watch(journal: Journal) -> Call:
    await journal.watch([OTHER], seconds=-LEASE)
    return lambda: journal.watch([SESSION, OTHER], seconds=LEASE)


async def claim_model_watched(journal: Journal) -> Call:
    await journal.watch([SESSION], seconds=LEASE)
    return lambda: journal.claim_model(STEP, opening("e1"), token=TOKEN, after=0, lease=LEASE)


async def forget_deltas(journal: Journal) -> Call:
    await (await publish(journal))()
    return lambda: journal.forget_deltas([(SESSION, 1), (OTHER, 1)], age=-LEASE)


PORT: Final[dict[str, Prepare]] = {
    prepare.__name__: prepare
    for prepare in (
        *(claim_model, claim_model_again, claim_model_waiting, claim_model_paying, claim_model_paying_again),
        *(finish_paid, fail_paid, release_paid),
        *(claim_call, claim_call_after_a_body_that_began, claim_call_without_beginning, claim_call_waiting),
        *(begin, renew, renew_all, stop, keep, append, finish_model, finish_call, fail, fail_model, release),
        *(
            record,
            record_the_close,
            record_what_waits,
            put_blob,
            note,
            put_upload,
            put_content,
            fork,
            remember,
            accept,
            resolve_call,
            move_cursor,
        ),
        *(change, change_by_key, change_push, change_claim, change_complete, change_release),
        *(put_document, delete_document, lock, lock_waiting, leave, break_deadlock, register, retire, lacking),
        *(publish, watch, claim_model_watched, claim_model_with_a_reference, forget_deltas),
    )
}
READS: Final = {
    *("aliases", "outcome_by", "result", "overview", "active"),
    *(
        "open",
        "close",
        "check",
        "read",
        "entries",
        "conversation",
        "documents",
        "listed_documents",
        "entry",
        "head",
        "look",
        "look_within",
        "sealed_bytes",
        "version",
        "position",
        "seal",
    ),
    *(
        "seal",
        "sealed",
        "known",
        "latest_event",
        "parked",
        "verify",
        "blob",
        "contents",
        "outcome",
        "result",
        "outcomes",
        "standing",
        "ended_by",
        "endings",
    ),
    *(
        "pruned",
        "unknown_calls",
        "cursor",
        "value",
        "recall",
        "serving",
        "places",
        "lacks",
        "watched",
        "spent",
        "costs",
    ),
}


def methods() -> set[str]:
    """The names of the port's methods."""
    return {name for name in dir(Journal) if not name.startswith("_") and callable(getattr(Journal, name))}
