"""No step reads or writes a journal that is another than its session's, or ends before what the session has seen."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from inturn import names
from inturn.journal import open_journal
from inturn.tools import tool
from inturn_activities.messages import Decision, ModelResult, RecordInput
from tests.support import outside
from tests.support.steps import SESSION, StepRunner, environment, rig
from tests.support.stores import journal_url


async def _known(runner: StepRunner, count: int = 2) -> tuple[str, int]:
    """Have a session take some turns; return what its workflow knows of the journal then."""
    results = [await runner.ask(f"e{n}") for n in range(count)]
    assert results[0].journal
    return results[0].journal, results[-1].head


async def _waits(runner: StepRunner, journal: str, head: int) -> ApplicationError:
    """Return the error of a model step that is not to run here; nothing is written by it."""
    before = await runner.journal.head(SESSION)
    with pytest.raises(ApplicationError) as waits:
        await runner.ask("next", journal=journal, head=head)
    assert await runner.journal.head(SESSION) == before
    assert waits.value.type == names.JOURNAL_BEHIND
    assert waits.value.category is ApplicationErrorCategory.BENIGN
    assert not waits.value.non_retryable
    assert waits.value.next_retry_delay is not None
    return waits.value


@pytest.mark.promise("SUR-14", "SUR-16")
async def test_a_worker_with_an_empty_new_journal_takes_no_turn(tmp_path: Path) -> None:
    async with rig(tmp_path / "own") as own, rig(tmp_path / "new") as new:
        known = await _known(own)
        assert "has no entry of session acme/s1" in (await _waits(new, *known)).message


@pytest.mark.promise("SUR-14", "SUR-16")
async def test_a_worker_with_another_journal_takes_no_turn_however_long_that_is(tmp_path: Path) -> None:
    async with rig(tmp_path / "own") as own, rig(tmp_path / "other") as other:
        known = await _known(own)
        await _known(other, 5)
        assert "is another than that of session acme/s1" in (await _waits(other, *known)).message


@pytest.mark.promise("SUR-14")
async def test_a_worker_with_an_older_copy_takes_no_turn(tmp_path: Path) -> None:
    async with rig(tmp_path / "own") as own:
        await own.ask("e0")
    older = outside.copy(journal_url(tmp_path / "own"))
    async with rig(tmp_path / "own") as own:
        _, head = await _known(own, 3)
        journal = (await own.journal.position(SESSION)).identity
    async with rig(tmp_path, url=older) as old:
        assert "ends at entry" in (await _waits(old, journal, head)).message
        assert (await old.ask("next", journal=journal, head=3)).stop == "end_turn", "as far as the session has seen"


@pytest.mark.promise("SUR-14")
async def test_a_journal_that_was_moved_is_the_same_one(tmp_path: Path) -> None:
    async with rig(tmp_path / "own") as own:
        known = await _known(own)
    async with rig(tmp_path, url=outside.copy(journal_url(tmp_path / "own"))) as moved:
        result = await moved.ask("next", journal=known[0], head=known[1])
        assert (result.stop, result.journal) == ("end_turn", None), "the session knows it, so it is not told again"


@pytest.mark.promise("SUR-16")
async def test_no_step_of_any_kind_touches_a_journal_that_is_not_the_sessions(tmp_path: Path) -> None:
    ran: list[str] = []

    @tool
    async def act() -> str:
        """Act."""
        ran.append("act")
        return "done"

    lost = Decision(type="event.parked", turn="e9", key="e9/parked", disposition="parked", body={"error": "400"})
    async with rig(tmp_path / "own") as own, rig(tmp_path / "new", tools=[act], deliver=lambda out, ctx: None) as new:
        journal, head = await _known(own)
        steps = {
            "call": new.tool("e1", call="c0", journal=journal, head=head),
            "delivery": new.deliver("e1", journal=journal, head=head),
            "record": environment(SESSION.turn("~record").step(1)).run(
                new.steps.record, RecordInput(decisions=[lost], journal=journal, head=head)
            ),
        }
        for step in steps.values():
            with pytest.raises(ApplicationError) as waits:
                await step
            assert waits.value.type == names.JOURNAL_BEHIND
        assert await new.journal.head(SESSION) == 0
        assert ran == []


async def test_a_step_of_the_right_journal_asks_in_its_claim_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig(tmp_path) as own:
        journal, head = await _known(own)
        asked: list[object] = []
        monkeypatch.setattr(own.journal, "check", asked.append)
        monkeypatch.setattr(own.journal, "position", asked.append)
        assert (await own.ask("next", journal=journal, head=head)).stop == "end_turn"
        assert asked == []


@pytest.mark.promise("SUR-16")
async def test_who_acts_before_its_claim_asks_before_that(tmp_path: Path) -> None:
    async with rig(tmp_path / "own") as own, rig(tmp_path / "new") as new:
        journal, head = await _known(own)
        yes = {"answer": "approved", "approval_id": "c0:1", "by": "ann"}
        with pytest.raises(ApplicationError) as waits:
            await new.tool("e1", call="c0", answered=yes, journal=journal, head=head)
        assert waits.value.type == names.JOURNAL_BEHIND
        assert await new.journal.head(SESSION) == 0


@pytest.mark.promise("SUR-16")
async def test_a_wrong_journal_is_alarmed_once_for_each_session_until_it_is_right(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with rig(tmp_path / "own") as own, rig(tmp_path / "new") as new:
        known = await _known(own)
        with caplog.at_level(logging.WARNING):
            for attempt in range(1, 4):
                with pytest.raises(ApplicationError):
                    await new.ask("next", attempt=attempt, journal=known[0], head=known[1])
        assert len(caplog.records) == 1
        assert "inturn journal accept s1 --tenant acme" in caplog.text


@pytest.mark.promise("SUR-14")
async def test_an_accepted_journal_goes_on_and_says_what_is_missing(tmp_path: Path) -> None:
    async with rig(tmp_path / "own") as own, rig(tmp_path / "new") as new:
        journal, head = await _known(own)
        assert await new.journal.accept(SESSION, journal, head, by="ann")
        assert await new.journal.accept(SESSION, journal, head, by="bob"), "said once"
        result = await new.ask("next", journal=journal, head=head)
        here = await new.journal.position(SESSION)
        assert (result.stop, result.journal, result.head) == ("end_turn", here.identity, here.head)
        gaps = await new.bodies("session.gap")
        assert gaps == [{"kind": "journal", "from": 0, "to": head, "journal": journal, "by": "ann"}]
        again = await new.ask("after", journal=result.journal, head=result.head)
        assert again.stop == "end_turn"
        await _waits(new, journal, head + 10)


@pytest.mark.promise("SUR-14")
async def test_an_older_copy_that_was_accepted_is_told_to_the_session_though_it_has_the_same_beginning(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path / "own") as own:
        journal, head = await _known(own, 1)
        assert not await own.journal.accept(SESSION, journal, head), "nothing is missing"
        assert await own.journal.accept(SESSION, journal, 90)
        result = await own.ask("next", journal=journal, head=90)
        assert result.journal == journal
        assert result.head < 90


@pytest.mark.promise("SUR-14", "SUR-3")
async def test_a_turn_whose_beginning_is_missing_in_an_accepted_journal_fails_instead_of_going_on_without_its_event(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path / "own") as own, rig(tmp_path / "new") as new:
        journal, head = await _known(own)
        await new.journal.accept(SESSION, journal, head)
        with pytest.raises(ApplicationError, match="does not hold the beginning of this turn") as failed:
            await new.ask("e1", step=1, journal=journal, head=head)
        assert failed.value.type == names.OWN_FAILURE
        with pytest.raises(ApplicationError, match="holds no content"):
            await new.ask("e1~1", event=None, journal=journal, head=head)


@pytest.mark.promise("SUR-14")
async def test_a_session_learns_its_journal_from_whichever_step_wrote_first(tmp_path: Path) -> None:
    parked = Decision(type="event.parked", turn="e0", key="e0/parked", disposition="parked", body={"error": "no JSON"})
    async with rig(tmp_path / "own") as own:
        assert (await own.record()).journal is None, "nothing was written"
        first = await own.record(parked)
        result: ModelResult = await own.ask("e1", journal=first.journal, head=first.head)
        assert first.journal == (await own.journal.position(SESSION)).identity
        assert result.journal is None


async def test_the_seal_covers_the_log_up_to_the_turns_end(tmp_path: Path) -> None:
    async with rig(tmp_path) as own:
        result = await own.ask("e1")
        assert result.seal == await own.journal.seal(SESSION, result.head)
        await own.ask("e2")
        assert result.seal == await own.journal.seal(SESSION, result.head)
        assert await own.journal.seal(SESSION, 99) is None
    copied = open_journal(journal_url(tmp_path))
    assert result.seal == await copied.seal(SESSION, result.head)
    await copied.close()


@pytest.mark.promise("SUR-14", "SUR-3")
async def test_what_a_session_decides_is_recorded_in_the_journal_that_was_accepted(tmp_path: Path) -> None:
    lost = Decision(type="event.parked", turn="e9", key="e9/parked", disposition="parked", body={"error": "400"})
    async with rig(tmp_path / "own") as own, rig(tmp_path / "new") as new:
        journal, head = await _known(own)
        await new.journal.accept(SESSION, journal, head)
        message = RecordInput(decisions=[lost], settle=["e9"], journal=journal, head=head)
        result = await environment(SESSION.turn("~record").step(7)).run(new.steps.record, message)
        assert (result.journal, result.head) == ((await new.journal.position(SESSION)).identity, 2)
        assert [entry.event_id for entry in await new.entries("event.parked")] == ["e9"]
