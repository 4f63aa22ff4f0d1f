"""Answers that are seen as they come: from the model, by the journal, to who looks."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from inturn import Client, sizes
from inturn.client import watching
from inturn.errors import JournalUnavailable, ModelError
from inturn.journal import Claim
from inturn.journal.values import BEGINNING, DeltaRow
from inturn.journal.views.said import STOPPED
from inturn.journal.views.transcript import Transcript
from inturn.models import ModelMessage, ModelRequest, OnDelta
from inturn.values import Delta, Entry, Usage
from inturn_activities.bounds import Bounds
from inturn_activities.live import deltas
from inturn_activities.live.pen import Pen
from inturn_activities.messages import Decision, ModelInput
from tests.support import outside
from tests.support.steps import SESSION, WAIT, StepRunner, environment, rig, running
from tests.support.stores import journal_url
from tests.support.waiting import until

pytestmark = pytest.mark.promise("MOD-7")


class Played:
    """A model whose attempts are played by functions; a text is said piece by piece, and then is the answer."""

    def __init__(self, *attempts: Callable[[OnDelta], Awaitable[Any]]) -> None:
        self.attempts = list(attempts)

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        text = str(await self.attempts.pop(0)(on_delta) or "done")
        return ModelMessage([{"type": "text", "text": text}], "end_turn", Usage(steps=1), "played")


class Gate:
    """Where a played attempt stands until the test lets it go on."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def __call__(self) -> None:
        async with asyncio.timeout(WAIT):
            await self.open.wait()


def says(*texts: str, then: Gate | None = None, error: Exception | None = None) -> Callable[[OnDelta], Awaitable[str]]:
    async def play(on_delta: OnDelta) -> str:
        for text in texts:
            on_delta(0, "text", text)
        if then is not None:
            await then()
        if error is not None:
            raise error
        return "".join(texts)

    return play


class Reader:
    """Somebody who looks at an event's turn."""

    def __init__(self, steps: StepRunner, event_id: str = "e1", **options: Any) -> None:
        session = Client(journal=steps.journal, tenant=SESSION.tenant).session(SESSION.session_id)
        self.got: list[Entry | Delta] = []
        self._task = asyncio.create_task(self._read(session.stream(event_id, **options)))

    async def _read(self, stream: AsyncIterator[Entry | Delta]) -> None:
        async for new in stream:
            self.got.append(new)

    @property
    def deltas(self) -> list[Delta]:
        return [new for new in self.got if isinstance(new, Delta)]

    @property
    def screen(self) -> str:
        """What stands there now: a start clears what no entry holds, an entry takes the place of its preview."""
        kept, open_ = "", ""
        for new in self.got:
            if isinstance(new, Delta):
                open_ = "" if new.kind == "start" else open_ + new.text
            elif new.type == "agent.message":
                kept, open_ = kept + (new.text or ""), ""
        return kept + open_

    async def sees(self, text: str) -> None:
        async def seen() -> bool:
            return self.screen == text

        try:
            await until(seen, within=WAIT, every=0.005)
        except TimeoutError:
            raise AssertionError(f"seen: {self.screen!r:.300}, and not: {text!r:.300}") from None

    async def ended(self) -> None:
        async with asyncio.timeout(WAIT):
            await self._task

    async def leave(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


@asynccontextmanager
async def looked_at(steps: StepRunner, event_id: str = "e1", **options: Any) -> AsyncIterator[Reader]:
    """A reader whose watch is in the journal."""
    reader = Reader(steps, event_id, **options)
    await until(lambda: steps.journal.watched([SESSION]), within=WAIT, every=0.005)
    try:
        yield reader
    finally:
        await reader.leave()


async def rows(steps: StepRunner) -> list[DeltaRow]:
    return (await steps.journal.look({}, None, {SESSION: BEGINNING})).deltas.get(SESSION, [])


async def fails(attempt: Awaitable[Any]) -> None:
    with pytest.raises(Exception, match="broke"):
        await attempt


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have who looks be found soon."""
    monkeypatch.setattr(deltas, "FIRST_LOOK", 0.02)
    monkeypatch.setattr(deltas, "LOOK", 0.02)


async def test_who_looks_sees_words_as_they_come_and_then_the_entry(tmp_path: Path) -> None:
    gate = Gate()
    async with rig(tmp_path, model=Played(says("It ", "is ", "sunny", then=gate))) as steps:
        async with looked_at(steps) as reader:
            asking = asyncio.create_task(steps.ask())
            await reader.sees("It is sunny")
            assert await steps.entries("agent.message") == []
            gate.open.set()
            await asking
            await reader.ended()
        [start, *words] = reader.deltas
        assert (start.kind, start.text, start.event_id, start.step) == ("start", "", "e1", "0")
        assert {word.kind for word in words} == {"text"}
        assert [delta.index for delta in reader.deltas] == list(range(len(reader.deltas)))
        assert reader.screen == "It is sunny"
        [message] = await steps.bodies("agent.message")
        assert {delta.attempt for delta in reader.deltas} == {message["attempt"]}


async def test_thinking_and_calls_are_seen_as_well(tmp_path: Path) -> None:
    gate = Gate()

    async def play(on_delta: OnDelta) -> str:
        for block, kind, text in (
            (0, "thinking", "hm"),
            (1, "input", "add"),
            (1, "input", '{"a":'),
            (1, "input", "1}"),
        ):
            on_delta(block, kind, text)  # type: ignore[arg-type]
        await gate()
        return "done"

    async with rig(tmp_path, model=Played(play)) as steps, looked_at(steps) as reader:
        asking = asyncio.create_task(steps.ask())
        await reader.sees('hmadd{"a":1}')
        gate.open.set()
        await asking
        said = [(delta.block, delta.kind, delta.text) for delta in reader.deltas]
        assert said == [(0, "start", ""), (0, "thinking", "hm"), (1, "input", "add"), (1, "input", '{"a":1}')]


async def test_what_nobody_looks_at_writes_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path, model=Played(says("It "), says("It ", "is ")), bounds=Bounds()) as steps:
        await steps.ask("e0")  # a tenant's first claim counts its limits anew
        written = _counted(steps)
        await steps.ask()
        assert written() == 2
        assert await rows(steps) == []
        await asyncio.sleep(0)
        assert written() == 2


def _counted(steps: StepRunner) -> Callable[[], int]:
    store: Any = steps.journal._store
    write, count = store.write, [0]

    async def counted(*args: Any, **options: Any) -> Any:
        count[0] += 1
        return await write(*args, **options)

    store.write = counted
    return lambda: count[0]


async def test_who_looks_in_the_middle_sees_all_that_was_said(tmp_path: Path, quick: None) -> None:
    first, second = Gate(), Gate()

    async def play(on_delta: OnDelta) -> str:
        on_delta(0, "text", "long " * 3_000)
        await first()
        on_delta(0, "text", "ago")
        await second()
        return "long " * 3_000 + "ago"

    async with rig(tmp_path, model=Played(play)) as steps:
        asking = asyncio.create_task(steps.ask())
        await until(lambda: steps.entries("user.message"))
        assert await rows(steps) == []
        async with looked_at(steps) as reader, looked_at(steps) as other:
            await reader.sees("long " * 3_000)
            first.open.set()
            await reader.sees("long " * 3_000 + "ago")
            await other.sees("long " * 3_000 + "ago")
            async with looked_at(steps) as late:
                await late.sees("long " * 3_000 + "ago")
            second.open.set()
            await asking


async def test_an_attempt_that_breaks_is_replaced_by_the_next_and_never_added_to(tmp_path: Path) -> None:
    broke, gates = ModelError("it broke", kind="outage"), [Gate(), Gate()]
    played = Played(says("It rains", then=gates[0], error=broke), says("It is sunny", then=gates[1]))
    async with rig(tmp_path, model=played) as steps, looked_at(steps) as reader:
        asking = asyncio.create_task(steps.ask())
        await reader.sees("It rains")
        gates[0].open.set()
        await fails(asking)
        asking = asyncio.create_task(steps.ask(attempt=2))
        await reader.sees("It is sunny")
        gates[1].open.set()
        await asking
        await reader.ended()
        starts = [delta.attempt for delta in reader.deltas if delta.kind == "start"]
        assert starts == sorted(set(starts))
        assert len(starts) == 2
        assert reader.screen == "It is sunny"


async def test_a_model_that_is_asked_twice_in_an_attempt_is_seen_once(tmp_path: Path) -> None:
    class Touchy:
        """Fails in mid-answer where a request holds what a stopped turn said."""

        async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
            on_delta(0, "text", "first ")
            if "stopped" in str(request.messages):
                raise ModelError("it broke", kind="own")
            return await Played(says("second")).respond(request, on_delta)

    async with rig(tmp_path, model=Touchy()) as steps:
        await fails_or_not(steps.ask("e0", "stopped"))
        async with looked_at(steps) as reader:
            await steps.ask()
            await reader.ended()
        assert "".join(delta.text for delta in reader.deltas) in ("", "first ")
        assert reader.screen == "second"
        [message] = await steps.bodies("agent.message")
        assert message["without"] == ["e0"]


async def fails_or_not(attempt: Awaitable[Any]) -> None:
    with contextlib.suppress(Exception):
        await attempt


async def test_what_a_zombie_says_is_seen_by_nobody(tmp_path: Path) -> None:
    frozen, live = Gate(), Gate()
    thawed: list[OnDelta] = []

    async def zombie(on_delta: OnDelta) -> str:
        on_delta(0, "text", "old")
        thawed.append(on_delta)
        await frozen()
        return "old"

    async with rig(tmp_path, model=Played(zombie, says("new", then=live))) as steps, looked_at(steps) as reader:
        first = asyncio.create_task(steps.ask())
        await reader.sees("old")
        second = asyncio.create_task(steps.ask(attempt=2))
        await reader.sees("new")
        thawed[0](0, "text", "er and older")
        await asyncio.sleep(3 * deltas.PAUSE)
        assert reader.screen == "new"
        live.open.set()
        await second
        await reader.ended()
        frozen.open.set()
        await fails_or_not(first)
        assert reader.screen == "new"


async def test_rows_are_gone_a_moment_after_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deltas, "KEPT", 0.05)
    gate = Gate()
    async with rig(tmp_path, model=Played(says("words", then=gate))) as steps, looked_at(steps) as reader:
        asking = asyncio.create_task(steps.ask())
        await reader.sees("words")
        assert await rows(steps)
        gate.open.set()
        await asking
        async with asyncio.timeout(WAIT):
            while await rows(steps):
                await asyncio.sleep(0.01)


async def test_an_agent_may_be_seen_never_or_always(tmp_path: Path) -> None:
    gate = Gate()
    async with rig(tmp_path / "never", model=Played(says("words")), stream="never") as steps:
        async with looked_at(steps) as reader:
            await steps.ask()
            await reader.ended()
        assert reader.deltas == []
        assert reader.screen == "words"
    async with rig(tmp_path / "always", model=Played(says("words", then=gate)), stream="always") as steps:
        asking = asyncio.create_task(steps.ask())
        await until(lambda: rows(steps), within=WAIT)
        gate.open.set()
        await asking


async def test_who_wants_no_deltas_gets_none_and_has_none_written(tmp_path: Path) -> None:
    async with rig(tmp_path, model=Played(says("words"))) as steps:
        reader = Reader(steps, deltas=False)
        await steps.ask()
        await reader.ended()
        assert reader.deltas == []
        assert await steps.journal.watched([SESSION]) == set()


async def test_a_journal_that_takes_no_deltas_costs_the_preview_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gates = [Gate(), Gate()]

    async def play(on_delta: OnDelta) -> str:
        on_delta(0, "text", "before ")
        await gates[0]()
        on_delta(0, "text", "lost ")
        await gates[1]()
        on_delta(0, "text", "behind")
        return "before lost behind"

    async with rig(tmp_path, model=Played(play)) as steps, looked_at(steps) as reader:
        asking = asyncio.create_task(steps.ask())
        await reader.sees("before ")
        refused = asyncio.Event()

        async def away(batch: Sequence[Any]) -> None:
            refused.set()
            raise JournalUnavailable("away")

        with monkeypatch.context() as patched:
            patched.setattr(steps.journal, "publish", away)
            gates[0].open.set()
            async with asyncio.timeout(WAIT):
                await refused.wait()
        gates[1].open.set()
        await asking
        await reader.ended()
        assert "".join(delta.text for delta in reader.deltas) == "before "
        assert reader.screen == "before lost behind"


async def test_a_journal_that_is_slow_makes_no_answer_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with rig(tmp_path, model=Played(says("words"))) as steps, looked_at(steps):
        never = asyncio.Event()

        async def slow(batch: Sequence[Any]) -> None:
            await never.wait()

        monkeypatch.setattr(steps.journal, "publish", slow)
        async with asyncio.timeout(WAIT / 2):
            assert (await steps.ask()).stop == "end_turn"
        never.set()


async def test_a_journal_whose_lock_somebody_holds_costs_nobody_the_answer(tmp_path: Path) -> None:
    url = journal_url(tmp_path)
    lock = "DELETE FROM deltas WHERE 1 = 0" if url.startswith("sqlite:") else "LOCK TABLE deltas"
    gates = [Gate(), Gate()]

    async def play(on_delta: OnDelta) -> str:
        on_delta(0, "text", "before ")
        await gates[0]()
        on_delta(0, "text", "and behind")
        await gates[1]()
        return "before and behind"

    async with rig(tmp_path, model=Played(play), bounds=Bounds(), url=url) as steps, looked_at(steps) as reader:
        asking = asyncio.create_task(steps.ask())
        await reader.sees("before ")
        with outside.opened(url) as tx:
            getattr(tx, "send", tx.execute)(lock)  # a LOCK gives no rows
            gates[0].open.set()
            await asyncio.sleep(0.5)
            assert reader.screen == "before "
        await reader.sees("before and behind")
        gates[1].open.set()
        await asking
        await reader.ended()


async def test_readers_that_vanish_are_watched_for_no_longer_than_their_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "RENEWAL", 0.02)
    monkeypatch.setattr(watching, "LEASE", 0.2)
    gate = Gate()
    async with rig(tmp_path, model=Played(says("words", then=gate))) as steps:
        asking = asyncio.create_task(steps.ask())
        async with looked_at(steps), looked_at(steps):
            await asyncio.sleep(0.4)
            assert await steps.journal.watched([SESSION])
        async with asyncio.timeout(WAIT):
            while await steps.journal.watched([SESSION]):
                await asyncio.sleep(0.01)
        gate.open.set()
        await asking


async def test_an_answer_of_ten_megabytes_is_seen_whole(tmp_path: Path) -> None:
    gate, text = Gate(), "0123456789" * 1_000_000

    async def play(on_delta: OnDelta) -> str:
        for start in range(0, len(text), 50_000):
            on_delta(0, "text", text[start : start + 50_000])
            await asyncio.sleep(0)
        await gate()
        return "done"

    async with rig(tmp_path, model=Played(play)) as steps, looked_at(steps) as reader:
        asking = asyncio.create_task(steps.ask())
        async with asyncio.timeout(3 * WAIT):
            while sum(len(delta.text) for delta in reader.deltas) < len(text):
                await asyncio.sleep(0.05)
        whole = "".join(delta.text for delta in reader.deltas) == text
        assert whole  # and no comparison that is printed
        gate.open.set()
        await asking


CUT = [
    (["\ud83d", "\ude00"], ["\U0001f600"]),
    (["a\ud83d", "\ude00b"], ["a", "\U0001f600b"]),
    (["a\ud83d", "b"], ["a", "\ufffdb"]),
    (["\ude00"], ["\ufffd"]),
    (["x" * 5_000 + "\U0001f600"], ["x" * 4_096, "x" * 904 + "\U0001f600"]),
]
"""Pieces that cut characters, and what is seen of them."""


@pytest.mark.parametrize(("pieces", "seen"), CUT)
@pytest.mark.parametrize("each", [True, False])
def test_a_character_in_two_pieces_is_one(pieces: list[str], seen: list[str], each: bool) -> None:
    pen = _pen()
    taken: list[str] = []
    for piece in pieces:
        pen.add(0, "text", piece)
        taken += _texts(pen) if each else []
    taken += _texts(pen)
    assert "".join(taken) == "".join(seen)
    assert all(len(text) <= 4_096 for text in taken)


async def stopped(steps: StepRunner, *texts: str, event_id: str = "e1") -> None:
    """Stop a turn whose model had said this, as a session does."""
    said = asyncio.Event()

    async def play(on_delta: OnDelta) -> str:
        on_delta(0, "thinking", "hm")
        for text in texts:
            on_delta(1, "text", text)
        said.set()
        await Gate()()
        return "never"

    steps.model.attempts.insert(0, play)  # type: ignore[attr-defined]
    made = environment(SESSION.turn(event_id).step(0))
    event = {"event_id": event_id, "content": "hi"}
    asking = await running(made, steps.steps.call_model, ModelInput(event=event))
    await said.wait()
    made.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await ended(steps, event_id)


async def ended(steps: StepRunner, event_id: str = "e1") -> None:
    body = {"turn": event_id, "reason": "stop"}
    decision = Decision(
        type="turn.interrupted", turn=event_id, disposition="cancelled", key=f"{event_id}/end", body=body
    )
    await steps.record(decision, settle=[event_id])


async def test_what_a_stopped_answer_had_said_is_kept_and_the_model_is_told(tmp_path: Path) -> None:
    class Heard(Played):
        asked: Any = None

        async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
            self.asked = request.messages
            return await super().respond(request, on_delta)

    model = Heard(says("sunny"))
    async with rig(tmp_path, model=model) as steps:
        await stopped(steps, "It is ", "ra\ud83d", "\ude00ining")
        [body] = await steps.bodies("turn.interrupted")
        assert body["partial"] == "It is ra\U0001f600ining"
        await steps.ask("e2", "well?")
        [message] = model.asked
        told = [block["text"] for block in message["content"]]
        assert told == ["hi", f"{STOPPED}It is ra\U0001f600ining", "well?"]
        again = Transcript([entry async for entry in steps.journal.entries(SESSION)])
        assert again.request_messages()[0] == message


@pytest.mark.parametrize("agent", [{"stream": "never"}, {}])
async def test_what_nobody_may_see_or_what_was_not_said_is_not_kept(tmp_path: Path, agent: dict[str, Any]) -> None:
    async with rig(tmp_path, model=Played(), **agent) as steps:
        await stopped(steps, *(["secret"] if agent else []))
        [body] = await steps.bodies("turn.interrupted")
        assert "partial" not in body


async def test_only_the_last_attempt_says_what_a_stopped_answer_had_said(tmp_path: Path) -> None:
    broke = ModelError("it broke", kind="outage")
    async with rig(tmp_path, model=Played()) as steps:
        await stopped(steps, "first")
        key = SESSION.turn("e2").step(0)
        claim = await steps.journal.claim_model(key, lease=0.0, token="a")
        await steps.journal.release(key, claim.token, said="old")
        steps.model.attempts.append(says("new", error=broke))  # type: ignore[attr-defined]
        await fails(steps.ask("e2"))
        await ended(steps, "e2")
        assert [body.get("partial") for body in await steps.bodies("turn.interrupted")] == ["first", None]


async def test_what_is_kept_of_a_stopped_answer_has_its_bound(tmp_path: Path) -> None:
    async with rig(tmp_path, model=Played()) as steps:
        await stopped(steps, *["0123456789" * 100] * 100)
        [body] = await steps.bodies("turn.interrupted")
        assert len(body["partial"]) == sizes.PARTIAL


def _pen() -> Pen:
    return Pen(SESSION.turn("e1").step(0), Claim("claimed", token="t", fence=3), live=False, ready=lambda: None)


def _texts(pen: Pen) -> list[str]:
    return [piece[2] for row in pen.take(100) if row.index for piece in row.said]


class Untold:
    """Does not say whether it is empty, as an array."""

    def __bool__(self) -> bool:
        raise ValueError("it is ambiguous")


def test_a_model_that_calls_with_nonsense_is_not_written_down_and_fails_nothing() -> None:
    pen = _pen()
    nonsense: list[Any] = [(0, "text", 3), ("0", "text", "x"), (0, "song", "x"), (0, [], "x"), (0, "text", None)]
    nonsense += [(10**5_000, "text", "x"), (-1, "text", "x"), (0, "text", Untold())]
    for piece in nonsense:
        pen.add(*piece)
    assert pen.take(10) == []


def test_what_a_thread_says_while_rows_are_made_comes_behind_them(monkeypatch: pytest.MonkeyPatch) -> None:
    made, whole, size = _pen(), groupby, sizes.DELTAS
    other = threading.Thread(target=made.add, args=(0, "text", "b" * size))

    def grouped(*args: Any, **options: Any) -> Any:
        if other.ident is None:
            other.start()
            other.join(0.1)
        return whole(*args, **options)

    monkeypatch.setattr("inturn_activities.live.pen.groupby", grouped)
    made.add(0, "text", "a")
    taken = _texts(made)
    other.join()
    assert "".join([*taken, *_texts(made)]) == "a" + "b" * size


async def test_what_a_thread_says_as_the_last_was_published_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, late, take = Gate(), list[OnDelta](), deltas._Desk._batch

    async def play(on_delta: OnDelta) -> str:
        on_delta(0, "text", "early ")
        late.append(on_delta)
        await gate()
        return "early late"

    def batch(desk: deltas._Desk) -> Any:
        found = take(desk)
        if not found and late:
            thread = threading.Thread(target=late.pop(), args=(0, "text", "late"))
            thread.start()
            thread.join()
        return found

    monkeypatch.setattr(deltas._Desk, "_batch", batch)
    async with rig(tmp_path, model=Played(play)) as steps, looked_at(steps) as reader:
        asking = asyncio.create_task(steps.ask())
        await reader.sees("early late")
        gate.open.set()
        await asking


def test_a_preview_has_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "STREAMED", 100)
    pen = _pen()
    for _ in range(11):
        pen.add(0, "text", "0123456789")
    assert pen.take(10) == []
