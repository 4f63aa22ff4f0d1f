"""A journal that is switched under a running worker costs no session its memory, and goes on once it is put back."""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError

from inturn import names
from inturn.testing import ToolCall
from inturn.tools import tool
from inturn.tools.context import ToolContext
from inturn_activities.bounds import Bounds
from tests.support import outside
from tests.support.steps import SESSION, StepRunner, rig
from tests.support.stores import empty_database, journal_url, swap

pytestmark = pytest.mark.promise("SUR-14", "SUR-16")


async def _refused(r: StepRunner, event_id: str, journal: str, head: int) -> ApplicationError:
    """Return why a worker takes no turn; another attempt is to follow."""
    with pytest.raises(ApplicationError) as refused:
        await r.ask(event_id, journal=journal, head=head)
    assert not refused.value.non_retryable
    assert refused.value.type in (names.OUTAGE, names.JOURNAL_BEHIND)
    return refused.value


def _instead(what: str, other: str, own: str) -> str:
    """Return what takes a journal's place."""
    if what == "an older copy":
        return outside.copy(own)
    if what == "nothing":
        return f"{own}.none" if own.startswith("sqlite:") else empty_database()
    return other


@pytest.mark.parametrize("instead", ["another", "an older copy", "nothing"])
async def test_a_worker_takes_no_turn_while_its_journal_is_switched_and_goes_on_when_it_is_back(
    tmp_path: Path, instead: str
) -> None:
    own, other = journal_url(tmp_path, "own"), journal_url(tmp_path, "other")
    async with rig(tmp_path, url=other) as another:
        for n in range(4):
            await another.ask(f"other-{n}", "what nobody may hear")
    async with rig(tmp_path, ["one", "two", "three"], url=own) as r:
        known = (await r.ask("e1", "the codeword is swordfish")).journal
        assert known is not None
        other = _instead(instead, other, own)
        head = (await r.ask("e2", journal=known)).head
        swap(own, other)
        for _ in range(2):
            await _refused(r, "e3", known, head)
        swap(own, other)
        result = await r.ask("e3", journal=known, head=head)
        assert result.stop == "end_turn"
        said = str(r.model.requests[-1].messages)  # type: ignore[attr-defined]
        assert "swordfish" in said
        assert "what nobody may hear" not in said
        assert await r.journal.verify(SESSION) == []


async def test_a_call_whose_journal_is_switched_while_it_runs_is_recorded_in_no_other(tmp_path: Path) -> None:
    own, other = journal_url(tmp_path, "own"), journal_url(tmp_path, "other")
    async with rig(tmp_path, url=other) as another:
        await another.ask("e1")
        before = await another.journal.head(SESSION)
    ran: list[str] = []

    @tool
    async def act(ctx: ToolContext) -> str:
        """Act, and have the journal switched meanwhile."""
        ran.append(ctx.key)
        swap(own, other)
        return "done"

    bounds = Bounds(beat=0.01, lease=0.1, leased_wait=0.2, commit_patience=0.2)
    async with rig(tmp_path, [ToolCall("act"), "end"], tools=[act], bounds=bounds, url=own) as r:
        result = await r.ask("e1")
        with pytest.raises(ApplicationError):
            await r.tool("e1", call=result.calls[0].id, journal=result.journal, head=result.head)
    assert len(ran) == 1
    swap(own, other)
    async with rig(tmp_path, url=other) as another:
        assert await another.journal.head(SESSION) == before
    async with rig(tmp_path, ["end"], tools=[act], url=own) as r:
        ended = await r.tool("e1", call=result.calls[0].id, attempt=2, journal=result.journal, head=result.head)
        assert (ended.status, len(ran)) == ("unknown", 1), "it is not run again, and nothing is guessed"
