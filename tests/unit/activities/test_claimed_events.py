"""Large events in the steps: the model hears what the journal has, once, whoever dies, and nothing else is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from inturn import names
from inturn.journal import Outcome, Position, open_journal
from inturn.journal.store.store import Transaction
from inturn.keys import StepKey
from inturn.testing import ScriptedModel
from inturn_activities.bounds import Bounds
from inturn_activities.messages import Decision, RecordInput
from inturn_activities.model.opening import session_started, user_message
from tests.support.claims import claimed
from tests.support.steps import SESSION, StepRunner, environment, rig
from tests.support.stores import journal_url
from tests.support.waiting import until

TEXT = "a long text " * 500


async def large(run: StepRunner, event_id: str, content: Any = TEXT, **fields: Any) -> dict[str, Any]:
    event: dict[str, Any] = await claimed(run.journal, SESSION, event_id, content, **fields)
    return event


def heard(run: StepRunner, call: int = -1) -> list[Any]:
    assert isinstance(run.model, ScriptedModel)
    return [b["text"] for m in run.model.requests[call].messages if m["role"] == "user" for b in m["content"]]


def parked(event_id: str, **body: Any) -> Decision:
    key, body = f"{event_id}/parked", {"turn": event_id, "error": "late", **body}
    return Decision(type="event.parked", turn=event_id, key=key, disposition="parked", body=body)


@pytest.mark.promise("ACC-1", "SUR-15")
async def test_the_model_is_told_what_a_large_event_says_and_the_journal_keeps_it_once(tmp_path: Path) -> None:
    async with rig(tmp_path, ["ok"]) as run:
        event = await large(run, "e1", metadata={"order": "o" * 300}, sender="Ann", source="slack")
        assert "content" not in event
        result = await run.ask("e1", event=event)
        assert (result.stop, heard(run)) == ("end_turn", [TEXT])
        [body] = await run.bodies("user.message")
        assert body["content"] == TEXT
        assert body["metadata"] == {"order": "o" * 300}
        assert (body["sender"], body["source"]) == ("Ann", "slack")
        assert await run.journal.contents(SESSION) == {}


@pytest.mark.promise("ACC-1", "ACC-2")
async def test_two_events_with_the_same_text_are_two_turns(tmp_path: Path) -> None:
    async with rig(tmp_path, ["one", "two"]) as run:
        first, second = await large(run, "e1"), await large(run, "e2")
        await run.ask("e1", event=first)
        await run.ask("e2", event=second)
        assert heard(run) == [TEXT, TEXT]


@pytest.mark.promise("ACC-1", "EFF-3")
@pytest.mark.parametrize("deaths", [1, 3])
async def test_a_worker_that_dies_between_claim_and_answer_costs_the_event_nothing(tmp_path: Path, deaths: int) -> None:
    async with rig(tmp_path, ["ok"]) as run:
        event, turn = await large(run, "e1"), SESSION.turn("e1")
        for _ in range(deaths):
            dead = await run.journal.claim_model(
                turn.step(0), [session_started(run.agents[0]), user_message(turn, event)]
            )
            assert dead.status == "claimed"
        assert (await run.ask("e1", event=event, attempt=deaths + 1)).stop == "end_turn"
        assert heard(run) == [TEXT]
        assert len(await run.entries("user.message")) == 1


@pytest.mark.promise("ACC-1", "SUR-11")
async def test_after_a_terminated_run_the_event_is_said_again_from_its_entry(tmp_path: Path) -> None:
    def forget(tx: Transaction) -> None:  # the run was terminated before it had the answer; another event came since
        tx.execute("DELETE FROM steps WHERE turn = 'e1'")
        tx.execute("DELETE FROM outcomes WHERE event_id = 'e1'")

    async with rig(tmp_path, ["of the dead run", "two", "three"]) as run:
        await run.ask("e1", event=await large(run, "e1"))
        await run.journal._store.write(forget)
        await run.ask("e2", "small")
        again = await large(run, "e1")
        assert again["claim"]["gen"] == 0, "an entry has it"
        await run.ask("e1", event=again)
        assert heard(run) == [TEXT, "small", TEXT]


@pytest.mark.promise("ACC-1")
async def test_a_content_that_is_lost_parks_its_event_and_says_so(tmp_path: Path) -> None:
    async with rig(tmp_path, ["ok"]) as run:
        event = await large(run, "e1")
        await run.journal._store.write(lambda tx: tx.execute("DELETE FROM contents"))
        with pytest.raises(ApplicationError, match="content_lost") as failed:
            await run.ask("e1", event=event)
        assert (failed.value.type, failed.value.non_retryable) == (names.CONTENT_LOST, True)
        assert await run.entries() == [], "nothing was claimed"
        await run.record(parked("e1", event=event, type=names.CONTENT_LOST))
        await large(run, "e1")  # its sender tries again
        assert (await run.ask("e1~1", event=None)).stop == "end_turn"
        assert heard(run) == [TEXT]


@pytest.mark.promise("SUR-16", "ACC-1")
async def test_a_content_in_another_journal_is_waited_for(tmp_path: Path) -> None:
    other = open_journal(journal_url(tmp_path, "other"))
    try:
        async with rig(tmp_path, ["ok"]) as run:
            event = await claimed(other, SESSION, "e1", TEXT)
            with pytest.raises(ApplicationError, match="another journal") as waits:
                await run.ask("e1", event=event)
            assert (waits.value.type, waits.value.non_retryable) == (names.JOURNAL_BEHIND, False)
            assert waits.value.next_retry_delay is not None
            event = await large(run, "e1")  # the right one, now
            assert (await run.ask("e1", event=event, attempt=2)).stop == "end_turn"
    finally:
        await other.close()


@pytest.mark.promise("SUR-15", "SEC-5")
@pytest.mark.parametrize("known", [True, False])
async def test_a_journal_that_does_not_exist_holds_a_session_up_for_a_time_only(tmp_path: Path, known: bool) -> None:
    bounds = Bounds(beat=0.01, lease=0.1, lacking=3_600 if known else 0.0, lacking_named=0.0 if known else 3_600)
    async with rig(tmp_path, ["ok"], bounds=bounds) as run:
        own: dict[str, Any] = {}
        if known:
            await run.ask("e0", "small")
            here = await run.journal.position(SESSION)
            own = {"journal": here.identity, "head": here.head}
        event = await large(run, "e1")
        event["claim"] |= {"journal": "nowhere", "hash": "0" * 64}
        with pytest.raises(ApplicationError, match=r"content_lost: .* another journal") as failed:
            await run.ask("e1", event=event, **own)
        assert (failed.value.type, failed.value.non_retryable) == (names.CONTENT_LOST, True)


@pytest.mark.promise("SUR-15")
async def test_an_event_with_a_false_size_is_no_valid_one(tmp_path: Path) -> None:
    async with rig(tmp_path, ["ok"]) as run:
        event = await large(run, "e1")
        event["claim"]["size"] = 10
        with pytest.raises(ApplicationError, match="another size") as failed:
            await run.ask("e1", event=event)
        assert failed.value.type == names.INVALID_EVENT


@pytest.mark.promise("ORD-10", "SUR-15")
async def test_what_joins_and_cannot_be_said_is_set_apart_and_the_turn_goes_on(tmp_path: Path) -> None:
    async with rig(tmp_path, ["ok"]) as run:
        event, joins, false = await large(run, "e1"), await large(run, "e2", "two " * 2_000), await large(run, "e3")
        false["claim"]["size"] = 10
        result = await run.ask("e1", event=event, joined=[joins, false])
        assert result.apart == ["e3"]
        assert heard(run) == [TEXT, "two " * 2_000]
        assert list(await run.journal.contents(SESSION)) == ["e3"]


@pytest.mark.promise("SUR-3", "ORD-10")
async def test_a_parked_large_event_is_driven_again_with_what_had_joined_it(tmp_path: Path) -> None:
    async with rig(tmp_path, ["ok"]) as run:
        event, joined = await large(run, "e1"), await large(run, "e2", "two " * 2_000)
        await run.record(parked("e1", event=event, joined=[joined]))
        assert await run.journal.contents(SESSION) == {}
        assert (await run.ask("e1~1", event=None)).stop == "end_turn"
        assert heard(run) == [TEXT, "two " * 2_000]
        assert await run.journal.verify(SESSION) == []


@pytest.mark.promise("SUR-3")
async def test_an_event_that_failed_after_its_claim_is_driven_again_from_its_message(tmp_path: Path) -> None:
    async with rig(tmp_path, [*[ValueError("bad")] * 3, "ok"]) as run:
        event = await large(run, "e1")
        for attempt in (1, 2, 3):
            with pytest.raises(ApplicationError):
                await run.ask("e1", event=event, attempt=attempt)
        end = Decision(type="turn.failed", turn="e1", key="e1/end", disposition="parked", body={"error": "bad"})
        await run.record(end, parked("e1", event=event), settle=["e1"])
        [body] = await run.bodies("event.parked")
        assert "event" not in body
        assert (await run.ask("e1~1", event=None)).stop == "end_turn"
        assert heard(run)[-1] == TEXT


@pytest.mark.promise("SUR-15")
async def test_a_close_that_parks_many_large_events_moves_them_bit_by_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig(tmp_path) as run:
        events = [await large(run, f"e{n}", "x" * 250_000) for n in range(9)]
        record, sizes = run.journal.record, list[int]()

        async def counted(session: Any, recorded: Any, **options: Any) -> Position:
            before = sum((await run.journal.contents(SESSION)).values())
            end = await record(session, recorded, **options)
            sizes.append(before - sum((await run.journal.contents(SESSION)).values()))
            return end

        monkeypatch.setattr(run.journal, "record", counted)
        await run.record(*(parked(f"e{n}", event=event) for n, event in enumerate(events)), close=True)
        assert max(sizes) <= 1024 * 1024
        assert len(sizes) == 3
        assert [len(body["event"]["content"]) for body in await run.bodies("event.parked")] == [250_000] * 9
        assert [entry.type for entry in await run.entries()][-1] == "session.closed"
        assert await run.journal.verify(SESSION) == []


@pytest.mark.promise("SUR-3")
async def test_a_discarded_event_leaves_no_content_behind(tmp_path: Path) -> None:
    async with rig(tmp_path) as run:
        event = await large(run, "e1")
        await run.journal._store.write(lambda tx: tx.execute("DELETE FROM contents"))
        await run.record(parked("e1", event=event))
        await large(run, "e1")
        body = {"reason": "discarded", "turn": "e1"}
        await run.record(
            Decision(type="event.cancelled", turn="e1", key="e1/discarded", disposition="discarded", body=body)
        )
        assert await run.journal.contents(SESSION) == {}
        assert await run.journal.outcome(SESSION, "e1") == Outcome(
            "e1", "e1", "discarded", reason="discarded", seqs=(1, 2)
        )


@pytest.mark.promise("ORD-10", "ACC-8")
async def test_what_joined_a_turn_that_was_stopped_before_it_was_said_is_told_apart(tmp_path: Path) -> None:
    async with rig(tmp_path, ["ok"]) as run:
        said, unsaid = await large(run, "e2", "two " * 2_000), await large(run, "e3", "three " * 2_000)
        await run.ask("e1", event=await large(run, "e1"), joined=[said])
        message = RecordInput(settle=["e1"], joined=["e2", "e3"])
        result = await environment(StepKey.parse(f"{SESSION}/~record/1")).run(run.steps.record, message)
        assert result.unsaid == ["e3"]
        assert list(await run.journal.contents(SESSION)) == ["e3"]
        assert unsaid


@pytest.mark.promise("ORD-10", "ACC-8")
@pytest.mark.parametrize("said", [[], ["e2"]], ids=["before step 0's claim", "before its own step's"])
async def test_what_is_carried_inline_is_told_apart_as_well(tmp_path: Path, said: list[str]) -> None:
    async with rig(tmp_path, ["ok"]) as run:
        if said:
            await run.ask("e1", event=small("e1"), joined=[small(event_id) for event_id in said])
        end = Decision(type="turn.interrupted", turn="e1", key="e1/end", disposition="cancelled", body={"n": 1})
        message = RecordInput(decisions=[end], settle=["e1"], joined=["e2", "e3"])
        result = await environment(StepKey.parse(f"{SESSION}/~record/1")).run(run.steps.record, message)
        assert result.unsaid == [event_id for event_id in ("e2", "e3") if event_id not in said]


async def test_a_session_learns_what_a_turn_without_an_answer_used(tmp_path: Path) -> None:
    async with rig(tmp_path, ["ok"]) as run:
        claim = await run.journal.claim_model(SESSION.turn("e1").step(0), [])
        await run.journal.fail(SESSION.turn("e1").step(0), claim.token, "own", usage={"input_tokens": 7})
        end = Decision(type="turn.failed", turn="e1", key="e1/end", disposition="parked", body={"turn": "e1", "n": 1})
        for _ in range(2):
            message = RecordInput(decisions=[end], settle=["e1"])
            result = await environment(StepKey.parse(f"{SESSION}/~record/1")).run(run.steps.record, message)
            assert result.usage == {"input_tokens": 7}


def small(event_id: str) -> dict[str, Any]:
    """An event that travels whole."""
    return {"event_id": event_id, "content": "hi", "source": "client"}


@pytest.mark.promise("SUR-15", "SEC-5")
async def test_many_events_that_name_other_journals_hold_a_session_up_no_longer_than_one(tmp_path: Path) -> None:
    bounds = Bounds(beat=0.01, lease=0.1, lacking=0.2)
    async with rig(tmp_path, ["ok"], bounds=bounds) as run:

        async def outcome(number: int) -> str:
            event = await large(run, f"e{number}")
            event["claim"] |= {"journal": f"j{number}", "hash": "0" * 64}
            try:
                await run.ask(f"e{number}", event=event)
            except ApplicationError as error:
                return str(error.type)
            return "said"

        async def lost() -> bool:
            return await outcome(0) == names.CONTENT_LOST

        assert await outcome(0) == names.JOURNAL_BEHIND
        assert await until(lost, within=5)
        assert {await outcome(number) for number in range(1, 20)} == {names.CONTENT_LOST}
