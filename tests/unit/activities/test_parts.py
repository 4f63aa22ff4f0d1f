"""The parts that the steps are made of."""

from __future__ import annotations

import asyncio
import gc
import importlib
import pkgutil
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import inturn_activities
import inturn_worker
import inturn_workflows
from inturn.agents import Agent
from inturn.journal import Superseded, open_journal
from inturn.keys import SessionKey
from inturn.testing import ScriptedModel
from inturn.tools.threads import NoThread, Threads
from inturn.wire import Message
from inturn_activities.commit import before_cancelled, uncancelled
from inturn_activities.messages import CallPlan, Ended, ModelInput, ModelResult, Policy, ToolInput
from inturn_activities.model.transcript_cache import Transcripts
from inturn_activities.roster import Roster
from tests.support.steps import SESSION, WAIT, StepRunner, environment, rig
from tests.support.stores import journal_url

STEP = SESSION.turn("e1").step(0)


def test_messages_carry_only_what_they_say() -> None:
    assert ModelInput(n=3).model_dump_json() == '{"n":3}'
    assert ModelResult().model_dump_json() == "{}"
    nested = ModelResult(stop="tool_use", calls=[CallPlan(id="c1", tool="x")], policy=Policy(hash="h"), ended=Ended())
    assert nested.model_dump(mode="json") == {
        "stop": "tool_use",
        "calls": [{"id": "c1", "tool": "x"}],
        "policy": {"hash": "h"},
        "ended": {},
    }
    assert ModelResult.model_validate_json(nested.model_dump_json()) == nested


def test_messages_of_newer_peers_keep_their_fields() -> None:
    made = ToolInput.model_validate({"call": "c1", "new": {"a": 1}})
    assert made.model_dump_json() == '{"call":"c1","new":{"a":1}}'


def test_what_a_message_says_may_be_changed_after_it_was_made() -> None:
    made = ModelResult()
    made.head = 7
    assert made.model_dump() == {"head": 7}


@pytest.mark.parametrize(
    "message", [m for m in Message.__subclasses__() if m.__module__ == ModelInput.__module__], ids=lambda m: m.__name__
)
def test_every_message_can_be_made_from_nothing(message: type[Message]) -> None:
    assert message.model_validate({}).model_dump(mode="json") == {}


def test_a_roster_needs_agents_with_names_of_their_own() -> None:
    one = Agent("a", model="m", instructions="")
    with pytest.raises(ValueError, match="two agents are named 'a'"):
        Roster([one, Agent("a", model="m", instructions="other")])
    with pytest.raises(ValueError, match="at least one agent"):
        Roster([])
    assert Roster([one]).get(None) is one
    assert Roster([one]).find("b") is None


async def test_the_result_of_a_last_transaction_wins_over_a_cancel() -> None:
    go = asyncio.Event()

    async def work() -> str:
        await go.wait()
        return "kept"

    task = asyncio.create_task(uncancelled(work()))
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    go.set()
    async with asyncio.timeout(WAIT):
        assert await task == "kept"


async def test_a_cancel_is_put_off_until_any_other_transaction_is_done() -> None:
    go, done = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await go.wait()
        done.set()

    task = asyncio.create_task(before_cancelled(work()))
    await asyncio.sleep(0)
    task.cancel()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done.is_set()


async def test_a_cancel_wins_over_a_last_transaction_that_fails() -> None:
    go = asyncio.Event()

    async def work() -> str:
        await go.wait()
        raise Superseded

    task = asyncio.create_task(uncancelled(work()))
    await asyncio.sleep(0)
    task.cancel()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.promise("EFF-6")
async def test_a_place_that_no_thread_took_is_given_back() -> None:
    threads = Threads(1)
    for _ in range(3):
        async with threads.slot(wait=0.01):
            with pytest.raises(NoThread):
                async with threads.slot(wait=0.01):
                    pass


@pytest.mark.promise("EFF-6")
async def test_what_a_thread_raises_comes_out_and_its_place_is_free_again() -> None:
    threads = Threads(1)
    for error in (ValueError("x"), StopIteration("y"), SystemExit(1)):

        def fail(error: BaseException = error) -> None:
            raise error

        async with threads.slot(wait=1) as place:
            with pytest.raises(type(error) if not isinstance(error, StopIteration) else RuntimeError):
                await place.run(fail)


async def test_a_cancel_leaves_the_thread_its_place_until_it_ends_where_none_may_hang_beside() -> None:
    threads, go = Threads(1), threading.Event()

    async def wait_for_it() -> None:
        async with threads.slot(wait=1) as place:
            await place.run(lambda: go.wait(WAIT))

    task = asyncio.create_task(wait_for_it())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(NoThread):
        async with threads.slot(wait=0.01):
            pass
    go.set()
    async with threads.slot(wait=WAIT):
        pass


async def test_a_transcript_in_memory_is_the_one_in_the_journal(tmp_path: Path) -> None:
    async with rig(tmp_path, None) as r:
        warm = Transcripts(r.journal, sessions=10, size=1_000_000)
        for turn in range(5):
            await r.ask(f"e{turn}", f"message {turn}")
            head = await r.journal.head(SESSION)
            cold = Transcripts(r.journal, sessions=10, size=1_000_000)
            both = [await t.load(SESSION, head) for t in (warm, cold)]
            assert both[0].request_messages() == both[1].request_messages()
            assert len(both[0].request_messages()) == 2 * turn + 2


async def test_loads_of_one_session_at_once_apply_nothing_twice(tmp_path: Path) -> None:
    async with rig(tmp_path, None) as r:
        transcripts = Transcripts(r.journal, sessions=10, size=1_000_000)
        await r.ask("e0", "first")
        await transcripts.load(SESSION, await r.journal.head(SESSION))
        await r.ask("e1", "second")
        head = await r.journal.head(SESSION)
        loaded = await asyncio.gather(*(transcripts.load(SESSION, head) for _ in range(8)))
        assert {len(t.request_messages()) for t in loaded} == {4}


async def test_a_journal_restored_to_an_older_state_is_read_anew(tmp_path: Path) -> None:
    async with rig(tmp_path / "new", None) as r, rig(tmp_path / "old", None) as old:
        transcripts = Transcripts(r.journal, sessions=10, size=1_000_000)
        for turn in range(3):
            await r.ask(f"e{turn}")
        await old.ask("e0", "the only one")
        await transcripts.load(SESSION, await r.journal.head(SESSION))
        transcripts._journal = old.journal
        loaded = await transcripts.load(SESSION, await old.journal.head(SESSION))
        assert len(loaded.request_messages()) == 2


async def test_sessions_that_froze_the_same_tools_share_them_in_memory(tmp_path: Path) -> None:
    journal = open_journal(journal_url(tmp_path))
    agents = [Agent(name, model="m", instructions="the same") for name in ("a", "b")]
    steps = StepRunner(journal, ScriptedModel(), agents)
    transcripts = Transcripts(journal, sessions=10, size=1_000_000)
    manifests = []
    for key, agent in (
        (SessionKey("acme", "s1"), "a"),
        (SessionKey("beta", "s1"), "a"),
        (SessionKey("acme", "s2"), "b"),
    ):
        message = ModelInput(event={"content": "hi"}, agent=agent)
        await environment(key.turn("e1").step(0)).run(steps.steps.call_model, message)
        manifests.append((await transcripts.load(key, await journal.head(key))).manifest)
    assert manifests[0] is manifests[1]
    assert (manifests[0] or {})["agent"] == "a"
    assert (manifests[2] or {})["agent"] == "b"
    await journal.close()


@pytest.mark.parametrize("bounds", [{"sessions": 3, "size": 10**9}, {"sessions": 10**9, "size": 12_000}])
async def test_transcripts_in_memory_are_bounded_in_number_and_bytes(tmp_path: Path, bounds: dict[str, int]) -> None:
    journal = open_journal(journal_url(tmp_path))
    steps = StepRunner(journal, ScriptedModel(), [Agent("a", model="m", instructions="")])
    transcripts = Transcripts(journal, **bounds)
    keys = [SessionKey("acme", f"s{i}") for i in range(20)]
    for key in keys:
        message = ModelInput(event={"content": "x" * 1_000})
        await environment(key.turn("e1").step(0)).run(steps.steps.call_model, message)
        await transcripts.load(key, await journal.head(key))
    kept = [key for key in keys if transcripts.known(key) is not None]
    assert kept == keys[-len(kept) :]
    assert 1 <= len(kept) <= 8
    assert transcripts._bytes == sum(k.size for k in transcripts._kept.values())
    await journal.close()


LISTENERS = "inturn_workflows.stops._listeners"
"""Who hears of stops in this process: a worker each, for as long as it runs, and nothing of a session."""


@pytest.mark.promise("ISO-3")
def test_no_module_of_the_service_holds_mutable_state_of_sessions() -> None:
    found = []
    for module in [*_modules(inturn_activities), *_modules(inturn_workflows), *_modules(inturn_worker)]:
        for name, value in vars(module).items():
            mutable = isinstance(value, dict | list | set | bytearray) or type(value).__name__ in (
                "OrderedDict",
                "defaultdict",
                "deque",
                "WeakValueDictionary",
            )
            if mutable and not name.startswith("__") and not name.isupper():
                found.append(f"{module.__name__}.{name}")
    assert found == [LISTENERS]


@pytest.mark.promise("ISO-3")
async def test_steps_leave_nothing_of_a_session_in_any_module(tmp_path: Path) -> None:
    canary = "canary-7f3a91"
    async with rig(tmp_path, None) as r:
        await r.ask("e1", canary)
    del r
    gc.collect()
    for module in _modules(inturn_activities):
        assert canary not in repr([v for v in vars(module).values() if not isinstance(v, ModuleType)]), module


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(info.name)
