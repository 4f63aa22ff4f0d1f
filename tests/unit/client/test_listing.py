"""Listing sessions page by page: each once, none of another tenant, from where an earlier listing was left."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from inturn import Client, InvalidEvent, Unavailable
from inturn.client.listing import Sessions, query_for
from inturn.journal import Journal
from inturn.keys import SessionKey
from tests.support.journal import plain_turn

RUNNING = WorkflowExecutionStatus.RUNNING


class Visibility:
    """A server's visibility: runs in an order, and pages that are named by where they begin."""

    def __init__(self, ids: Sequence[str]) -> None:
        self.ids = ids
        self.asked: list[tuple[str, int, bytes | None]] = []

    def list_workflows(self, query: str, *, page_size: int, next_page_token: bytes | None) -> Any:
        self.asked.append((query, page_size, next_page_token))
        listing = SimpleNamespace(current_page=None, next_page_token=next_page_token)

        async def fetch_next_page() -> None:
            if next_page_token is not None and not next_page_token.isdigit():
                raise RPCError("invalid page token", RPCStatusCode.INVALID_ARGUMENT, b"")
            start = int(next_page_token or 0)
            listing.current_page = [_run(id_) for id_ in self.ids[start : start + page_size]]
            more = start + page_size < len(self.ids)
            listing.next_page_token = str(start + page_size).encode() if more else None

        listing.fetch_next_page = fetch_next_page
        return listing


def _run(workflow_id: str) -> Any:
    return SimpleNamespace(id=workflow_id, typed_search_attributes=[], status=RUNNING, start_time=None, close_time=None)


def listing(
    visibility: Visibility, journal: Journal | None = None, *, limit: int | None = None, page: str | None = None
) -> Sessions:
    async def temporal() -> Any:
        return visibility

    async def its_journal() -> Journal | None:
        return journal

    connection: Any = SimpleNamespace(temporal=temporal, journal=its_journal)
    return Sessions(connection, "acme", "a query", limit=limit, page=page)


IDS = [f"acme/s{number}" for number in range(7)]


@pytest.mark.parametrize("limit", [1, 2, 3, 6])
async def test_a_list_is_gone_on_with_from_where_it_was_left(limit: int) -> None:
    visibility, seen, page, pages = Visibility(IDS), list[str](), None, 0
    while True:
        found = listing(visibility, limit=limit, page=page)
        assert found.next_page is None
        seen += [info.session_id for info in [info async for info in found]]
        page, pages = found.next_page, pages + 1
        if page is None:
            break
    assert seen == [f"s{number}" for number in range(7)]
    assert pages == -(-7 // limit)


async def test_one_that_fits_the_rest_names_no_page_behind_it() -> None:
    found = listing(Visibility(IDS), limit=7)
    assert len([info async for info in found]) == 7
    assert found.next_page is None
    everything = listing(Visibility(IDS))
    assert len([info async for info in everything]) == 7
    assert everything.next_page is None
    assert [info async for info in listing(Visibility([]), limit=3)] == []


@pytest.mark.promise("ISO-1")
async def test_a_listing_crosses_no_tenants_whatever_the_server_gives() -> None:
    given = ["acme/a", "acme_/b", "acme", "acme/c/d", "", "ACME/e", "acme/f f", "acme/a"]
    assert [info.session_id for info in [info async for info in listing(Visibility(given))]] == ["a"]


async def test_what_is_no_session_of_the_tenant_or_came_before_is_not_listed_and_a_page_is_filled_up() -> None:
    ids = ["acme/s0", "other/s1", "acme/s0", "acme/", "nonsense", "acme/a/b", "acme/s1", "acme/s2"]
    found = listing(Visibility(ids), limit=2)
    assert [info.session_id for info in [info async for info in found]] == ["s0", "s1"]
    assert found.next_page is not None
    rest = listing(Visibility(ids), limit=2, page=found.next_page)
    assert [info.session_id for info in [info async for info in rest]] == ["s2"]


async def test_who_reads_the_journal_sees_when_a_session_wrote_last(journal: Journal) -> None:
    await plain_turn(journal, SessionKey("acme", "s1"), "e1")
    found = [info async for info in listing(Visibility(IDS[:2]), journal)]
    last = (await journal.read(SessionKey("acme", "s1")))[-1]
    assert [info.active_at for info in found] == [None, last.at]
    await journal.close()
    assert [info.active_at for info in [info async for info in listing(Visibility(IDS[:1]))]] == [None]


@pytest.mark.promise("SEC-5")
@pytest.mark.parametrize("page", ["", "x", "%%%", "é", "a" * 5_000, "ab\ncd", "bm9uc2Vuc2U=", "AAAA"])
async def test_a_page_that_no_listing_gave_is_refused(page: str) -> None:
    with pytest.raises(InvalidEvent, match="page"):
        _ = [info async for info in listing(Visibility(IDS), page=page)]


async def test_a_server_that_does_not_answer_is_unavailable() -> None:
    visibility = Visibility(IDS)

    async def fetch() -> None:
        raise RPCError("away", RPCStatusCode.UNAVAILABLE, b"")

    visibility.list_workflows = lambda *a, **k: SimpleNamespace(fetch_next_page=fetch)  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        _ = [info async for info in listing(visibility)]


@pytest.mark.promise("ISO-1")
@pytest.mark.parametrize("prefix", ["", "a/b", "a'b", "a b", "x" * 129, "s' OR WorkflowId STARTS_WITH 'other", "a%"])
def test_a_prefix_that_begins_no_id_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidEvent, match="prefix"):
        Client(tenant="acme").sessions(prefix=prefix)


def test_a_prefix_stays_within_the_tenant() -> None:
    query = query_for("acme", agent=None, state=None, parked=None, prefix="slack:")
    assert "WorkflowId STARTS_WITH 'acme/slack:'" in query


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_of_nothing_is_refused(limit: int) -> None:
    with pytest.raises(InvalidEvent, match="limit"):
        Client().sessions(limit=limit)
