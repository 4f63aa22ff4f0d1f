"""Permits and rates that many want at once: as many as there are, whoever was hopeful."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from inturn.journal import Claim, Journal, Want, open_journal
from inturn.keys import SessionKey, StepKey
from tests.support.journal import opening
from tests.support.limits import permit, rate, write
from tests.support.stores import journal_url

pytestmark = pytest.mark.usefixtures("store")
LEASE = 10.0


@pytest_asyncio.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    made = open_journal(journal_url(tmp_path))
    await made.open()
    yield made
    await made.close()


def _step(who: int) -> StepKey:
    return SessionKey("acme", f"s{who}").turn("e1").step(0)


async def _claim(journal: Journal, who: int, *wants: Want, lease: float = LEASE) -> Claim:
    return await journal.claim_model(_step(who), opening("e1"), wants=wants, lease=lease)


async def _statuses(journal: Journal, count: int, *wants: Want) -> list[str]:
    claims = await asyncio.gather(*(_claim(journal, who, *wants) for who in range(count)))
    return sorted(claim.status for claim in claims)


@pytest.mark.promise("ISO-4")
async def test_twelve_that_want_three_permits_at_once_are_three_and_nine_who_wait(journal: Journal) -> None:
    for round_ in range(4):
        statuses = await _statuses(journal, 12, permit(f"round {round_}", of=3))
        assert statuses == ["claimed"] * 3 + ["waiting"] * 9
        present = [p for p in await journal.places() if p.resource == f"round {round_}" and p.state == "held"]
        assert len(present) == 3
        for who in range(12):
            await journal.leave(_step(who))


async def test_twelve_that_want_three_tokens_at_once_take_three(journal: Journal) -> None:
    assert await _statuses(journal, 12, rate(3, refill=0)) == ["claimed"] * 3 + ["waiting"] * 9


async def test_a_newcomer_does_not_pass_who_waits_though_a_permit_is_free(journal: Journal) -> None:
    only = permit(of=1)
    first = await _claim(journal, 1, only)
    assert (await _claim(journal, 2, only)).status == "waiting"
    await journal.release(_step(1), first.token)
    assert (await _claim(journal, 3, only)).status == "waiting", "2 came first"
    assert (await _claim(journal, 2, only)).status == "claimed"


async def test_a_newcomer_takes_no_token_that_somebody_waits_for(journal: Journal) -> None:
    slow = rate(1, refill=1 / 3)
    await _claim(journal, 1, slow)
    assert (await _claim(journal, 2, slow)).status == "waiting"
    assert (await _claim(journal, 3, slow)).status == "waiting"
    waiting = {place.call: place.number for place in await journal.places() if place.state != "held"}
    assert waiting[str(_step(2))] < waiting[str(_step(3))]


async def test_who_lacks_a_lock_reserves_no_permit(journal: Journal) -> None:
    await _claim(journal, 1, write("a"), permit(of=2))
    assert (await _claim(journal, 2, write("a"), permit(of=2))).status == "waiting"
    assert (await _claim(journal, 3, permit(of=2))).status == "claimed"


async def test_a_claim_that_was_too_hopeful_leaves_no_trace_but_its_ticket(journal: Journal) -> None:
    await _claim(journal, 1, permit(of=1), rate(5, refill=0))
    assert (await _claim(journal, 2, permit(of=1), rate(5, refill=0))).status == "waiting"
    assert await journal.head(_step(2).session) == 0
    assert (await _claim(journal, 3, rate(4, refill=0))).status == "claimed", "one token was taken, and not two"
