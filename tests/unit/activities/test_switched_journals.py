"""A journal that is switched under a running worker costs no session its memory, and goes on once it is put back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError

from inturn import names
from inturn.testing import ToolCall
from inturn.tools import tool
from inturn.tools.context import ToolContext
from inturn_activities.bounds import Bounds
from tests.support.steps import SESSION, StepRunner, rig

pytestmark = pytest.mark.promise("SUR-14", "SUR-16")
FILES = ("journal.db", "journal.db-wal", "journal.db-shm")


def _switch(directory: Path, away: Path, instead: Path | None = None) -> None:
    """Put a journal's files away, and others in their place."""
    away.mkdir(exist_ok=True)
    for name in FILES:
        if (directory / name).exists():
            (directory / name).rename(away / name)
        if instead is not None and (instead / name).exists():
            shutil.copy(instead / name, directory / name)


async def _refused(r: StepRunner, event_id: str, journal: str, head: int) -> ApplicationError:
    """Return why a worker takes no turn; another attempt is to follow."""
    with pytest.raises(ApplicationError) as refused:
        await r.ask(event_id, journal=journal, head=head)
    assert not refused.value.non_retryable
    assert refused.value.type in (names.OUTAGE, names.JOURNAL_BEHIND)
    return refused.value


@pytest.mark.parametrize("instead", ["another", "an older copy", "nothing"])
async def test_a_worker_takes_no_turn_while_its_journal_is_switched_and_goes_on_when_it_is_back(
    tmp_path: Path, instead: str
) -> None:
    own, away, other = tmp_path / "own", tmp_path / "away", tmp_path / "other"
    async with rig(other) as another:
        for n in range(4):
            await another.ask(f"other-{n}", "what nobody may hear")
    async with rig(own, ["one", "two", "three"]) as r:
        known = (await r.ask("e1", "the codeword is swordfish")).journal
        assert known is not None
        if instead == "an older copy":
            shutil.rmtree(other)
            shutil.copytree(own, other)
        head = (await r.ask("e2", journal=known)).head
        _switch(own, away, None if instead == "nothing" else other)
        for _ in range(2):
            await _refused(r, "e3", known, head)
        _switch(own, tmp_path / "aside")
        _switch(away, tmp_path / "empty", None)
        for name in FILES:
            if (tmp_path / "empty" / name).exists():
                (tmp_path / "empty" / name).rename(own / name)
        result = await r.ask("e3", journal=known, head=head)
        assert result.stop == "end_turn"
        said = str(r.model.requests[-1].messages)  # type: ignore[attr-defined]
        assert "swordfish" in said
        assert "what nobody may hear" not in said
        assert await r.journal.verify(SESSION) == []


async def test_a_call_whose_journal_is_switched_while_it_runs_is_recorded_in_no_other(tmp_path: Path) -> None:
    own, away, other = tmp_path / "own", tmp_path / "away", tmp_path / "other"
    async with rig(other) as another:
        await another.ask("e1")
        before = await another.journal.head(SESSION)
    ran: list[str] = []

    @tool
    async def act(ctx: ToolContext) -> str:
        """Act, and have the journal switched meanwhile."""
        ran.append(ctx.key)
        _switch(own, away, other)
        return "done"

    bounds = Bounds(beat=0.01, lease=0.1, leased_wait=0.2, commit_patience=0.2)
    async with rig(own, [ToolCall("act"), "end"], tools=[act], bounds=bounds) as r:
        result = await r.ask("e1")
        with pytest.raises(ApplicationError):
            await r.tool("e1", call=result.calls[0].id, journal=result.journal, head=result.head)
    assert len(ran) == 1
    async with rig(other) as another:
        assert await another.journal.head(SESSION) == before
    shutil.rmtree(own)
    shutil.move(away, own)
    async with rig(own, ["end"], tools=[act]) as r:
        ended = await r.tool("e1", call=result.calls[0].id, attempt=2, journal=result.journal, head=result.head)
        assert (ended.status, len(ran)) == ("unknown", 1), "it is not run again, and nothing is guessed"
