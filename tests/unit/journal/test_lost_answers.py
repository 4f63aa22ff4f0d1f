"""A transaction that was committed, and whose answer was lost: the same call again leaves what one call leaves.

That is what happens when a connection breaks, or a server ends, between its commit and the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

from inturn.errors import JournalUnavailable
from inturn.journal import Claim, Journal, Superseded
from inturn.journal.ledger import decisions, steps
from inturn.journal.store import postgres_transaction
from inturn.journal.store.postgres import PostgresStore
from inturn.journal.store.postgres_connection import connect
from inturn.journal.store.postgres_url import parse
from inturn.journal.store.sqlite_connection import SqliteTransaction
from inturn.journal.store.store import Transaction
from inturn.keys import StepKey
from inturn.testing.memory import MemoryStore
from inturn.tools.shared_state import State
from tests.support.journal import SESSION, answer, applied, memory, opening
from tests.support.limits import write
from tests.support.port_calls import CALL, LEASE, PORT, SHARED, STEP, TOKEN
from tests.support.processes.postgres import PostgresServer

T = TypeVar("T")


class StillStore(MemoryStore):
    """A store in memory whose clock stands, and which loses answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.lost = 0

    async def write(self, work: Callable[[Transaction], T], *, durable: bool = True, urgent: bool = False) -> T:
        def still(tx: Transaction) -> T:
            tx.now = 1_000.0  # type: ignore[misc]
            return work(tx)

        result = await super().write(still, durable=durable)
        if self.lost:
            self.lost -= 1
            raise JournalUnavailable("the connection broke behind the commit")
        return result

    def taken(self) -> dict[str, list[tuple[Any, ...]]]:
        """All there is."""
        tables = self._connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        kept = [name for (name,) in tables.fetchall() if name != "journal_schema"]
        return {name: sorted(self._connection.execute(f"SELECT * FROM {name}").fetchall(), key=repr) for name in kept}


@pytest.fixture(autouse=True)
def _counted_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every journal make the same tokens in turn."""
    numbers = iter(range(1_000_000))
    monkeypatch.setattr("os.urandom", lambda size: next(numbers).to_bytes(size, "big"))


class FarStore(PostgresStore):
    """A store on PostgreSQL which loses answers when it is told to."""

    def __init__(self, url: str) -> None:
        super().__init__(parse(url))
        self.lost = 0
        self._url = url

    async def write(self, work: Callable[[Transaction], T], *, durable: bool = True, urgent: bool = False) -> T:
        result = await super().write(work, durable=durable, urgent=urgent)
        if self.lost:
            self.lost -= 1
            raise JournalUnavailable("the connection broke behind the commit")
        return result

    def taken(self) -> dict[str, list[tuple[Any, ...]]]:
        """All there is, and it is there no more; but for counters that counted nothing: they only were locked."""
        with connect(parse(self._url)) as connection:
            named = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
            tables = [str(name) for (name,) in named if name != "journal_schema"]
            rows = {name: connection.execute(f"SELECT * FROM {name}".encode()).fetchall() for name in tables}
            connection.execute(f"TRUNCATE {', '.join(tables)}".encode())
            connection.execute("ALTER SEQUENCE tickets RESTART")
        rows["counters"] = [row for row in rows["counters"] if row[1]]
        return {name: sorted(found, key=repr) for name, found in rows.items()}


@pytest.fixture(scope="module")
def far(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of one database for all."""
    database = postgres_server.create()
    yield postgres_server.url(database, "?pool=1")
    postgres_server.drop(database)


async def _run(
    name: str, monkeypatch: pytest.MonkeyPatch, store: StillStore | FarStore, *, lost: int
) -> tuple[object, dict[str, Any]]:
    _counted_tokens.__wrapped__(monkeypatch)  # type: ignore[attr-defined]
    call = await PORT[name](Journal(store))
    store.lost = lost
    for _ in range(lost):
        with pytest.raises(JournalUnavailable):
            await call()
    found = await call()
    await store.close()
    return found, store.taken()


TOLD_ONCE = "break_deadlock"
"""A circle is told to whoever broke it; who asks again hears that there is none."""
KEPT_EACH_TIME = "put_content"
"""Each arrival of an event has a content of its own: one that is rejected takes nothing from the others."""


@pytest.mark.promise("EFF-2", "SUR-5")
@pytest.mark.parametrize("lost", [1, 2])
@pytest.mark.parametrize("name", PORT)
async def test_a_call_whose_answer_was_lost_is_the_same_call(
    name: str, lost: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = await _run(name, monkeypatch, StillStore(), lost=0)
    _compare(name, once, await _run(name, monkeypatch, StillStore(), lost=lost))


@pytest.mark.promise("EFF-2", "SUR-5")
@pytest.mark.parametrize("name", PORT)
async def test_so_it_is_on_postgresql(name: str, monkeypatch: pytest.MonkeyPatch, far: str) -> None:
    monkeypatch.setattr(postgres_transaction, "_CLOCK", "SELECT 1000::float8")
    once = await _run(name, monkeypatch, FarStore(far), lost=0)
    _compare(name, once, await _run(name, monkeypatch, FarStore(far), lost=1))


def _compare(name: str, once: tuple[object, dict[str, Any]], again: tuple[object, dict[str, Any]]) -> None:
    (first, kept), (last, found) = once, again
    if name == KEPT_EACH_TIME:
        assert len({row[:4] for row in found.pop("contents")}) == len(kept.pop("contents")) == 1
        return
    assert found == kept
    assert last == first or (name == TOLD_ONCE and last is None)


async def _began(journal: Journal) -> Claim:
    return await journal.claim_call(CALL, token=TOKEN, lease=LEASE, wants=[write("a")])


async def test_a_claim_whose_answer_was_lost_is_no_body_that_began() -> None:
    journal = Journal(StillStore())
    assert await _began(journal) == await _began(journal)
    other = await journal.claim_call(CALL, lease=LEASE, wants=[write("a")])
    assert (other.status, other.began) == ("leased", True)


async def test_a_token_that_lost_its_claim_does_not_have_it_back_by_being_said_again() -> None:
    store = StillStore()
    journal = Journal(store)
    await journal.claim_model(STEP, opening("e1"), token=TOKEN, lease=LEASE, scheduled=1.0)
    taken = await journal.claim_model(STEP, opening("e1"), lease=LEASE, scheduled=2.0)
    with pytest.raises(Superseded, match="a later attempt holds it"):
        await journal.claim_model(STEP, opening("e1"), token=TOKEN, lease=LEASE, scheduled=1.0)
    await journal.finish(STEP, taken.token, {"stop": "end_turn"}, answer("e1"), applied("e1"))


async def test_a_failure_is_counted_once_and_only_by_the_attempt_that_failed_last() -> None:
    with memory() as tx:
        first = steps.claim_call(tx, CALL, lease=LEASE, begin=True)
        counts = [steps.fail(tx, CALL, first.token, "outage") for _ in range(3)]
        assert [found and found.counts for found in counts] == [{"outage": 1}] * 3
        second = steps.claim_call(tx, CALL, lease=LEASE, begin=True)
        assert steps.fail(tx, CALL, first.token, "outage") is None, "another attempt is at work"
        found = steps.fail(tx, CALL, second.token, "outage")
        assert found is not None
        assert found.counts == {"outage": 2}
        assert steps.fail(tx, CALL, "", "outage") is None


# What a failover of the database took: a claim that was committed and is gone.


def _gone(tx: SqliteTransaction) -> None:
    for table in ("steps", "places"):
        tx.execute(f"DELETE FROM {table}")


@pytest.mark.parametrize("step", [CALL, STEP.turn.step("deliver")], ids=str)
def test_a_running_call_whose_row_is_gone_writes_it_again_and_nobody_runs_beside_it(step: StepKey) -> None:
    with memory() as tx:
        mine = steps.claim_call(tx, step, lease=LEASE, begin=True)
        _gone(tx)
        assert steps.renew(tx, step, mine.token, lease=LEASE)
        assert steps.claim_call(tx, step, lease=LEASE, begin=True).status == "leased"
        assert steps.finish(tx, step, mine.token, {"status": "ok"}, [], None) is not None
        assert steps.claim_call(tx, step, lease=LEASE, begin=True).result == {"status": "ok"}


def test_a_call_that_ends_after_its_row_is_gone_is_done() -> None:
    with memory() as tx:
        mine = steps.claim_call(tx, CALL, lease=LEASE, begin=True)
        _gone(tx)
        assert steps.finish(tx, CALL, mine.token, {"status": "ok"}, [], None) is not None
        assert steps.claim_call(tx, CALL, lease=LEASE, begin=True).status == "done"


def test_another_attempts_row_is_not_written_over_nor_that_of_a_model_step_or_a_closed_session() -> None:
    with memory() as tx:
        mine, model = steps.claim_call(tx, CALL, lease=0, begin=True), steps.claim_model(tx, STEP, opening("e1"))
        steps.claim_call(tx, CALL, lease=LEASE, begin=True)
        assert not steps.renew(tx, CALL, mine.token, lease=LEASE)
        _gone(tx)
        assert not steps.renew(tx, STEP, model.token, lease=LEASE), "its fence and its entries may be gone, too"
        decisions.record(tx, SESSION, [], [], close=True)
        assert not steps.renew(tx, CALL, mine.token, lease=LEASE)
        assert steps.finish(tx, CALL, mine.token, {"status": "ok"}, [], None) is None


async def test_the_renewal_of_all_steps_writes_again_what_is_gone() -> None:
    store = StillStore()
    journal = Journal(store)
    mine = await journal.claim_call(CALL, lease=LEASE)
    other = await journal.claim_call(CALL.turn.step(0, 1), lease=LEASE)
    model = await journal.claim_model(STEP, opening("e1"), lease=LEASE)
    await store.write(lambda tx: tx.execute("DELETE FROM steps WHERE call <> 1"))
    held = [(CALL, mine.token), (CALL.turn.step(0, 1), other.token), (STEP, model.token)]
    assert await journal.renew_all(held, lease=LEASE) == [(STEP, model.token)]
    assert (await journal.claim_call(CALL, lease=LEASE)).status == "leased"


# Shared state outside of tools, where no call numbers what is done.


async def test_what_a_client_changes_is_changed_once_whatever_becomes_of_the_answer() -> None:
    store = StillStore()
    journal = Journal(store)

    async def opened() -> Journal:
        return journal

    shared = State(opened, SHARED)
    for changed in (
        lambda: shared.incr("n"),
        lambda: shared.push("q", "x"),
        lambda: shared.put("v", 1, version=0),
        lambda: shared.put_if_absent("once", 1),
        lambda: shared.update("tags", lambda tags: [*(tags or []), "vip"]),
        lambda: shared.delete("v", version=1),
    ):
        store.lost = 1
        await changed()
    item = await shared.claim("q")
    assert item is not None
    store.lost = 1
    await shared.complete(item)
    assert await shared.claim("q") is None
    assert [value.value for name in ("n", "tags") if (value := await shared.get(name))] == [1, ["vip"]]
