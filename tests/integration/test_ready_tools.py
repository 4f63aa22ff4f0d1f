"""Ready tools and credentials in real workers: refreshed by one, shown nowhere."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.support.agents.toolbox import MARKER, tools
from tests.support.histories import runs
from tests.support.outside import dump
from tests.support.rig import Rig

# With what JSON, a URL and a repr write differently.
CANARY = "canary/" + '7f3a+"zebra-quilt"'
TRACES = ("canary/", "canary%2F", "zebra-quilt", "Y2FuYXJ5", "renewal-bank")
"""What is left of it in any form: as it is, in a URL, its end, in base64; and the refresh token."""


def found(data: bytes) -> list[str]:
    return [trace for trace in TRACES if trace.encode() in data]


@pytest.mark.promise("SEC-3")
async def test_a_credential_is_found_in_no_history_no_journal_and_no_log_whatever_tools_do_with_it(rig: Rig) -> None:
    options = ("--lifespan", "tests.support.agents.toolbox:lifespan", "--log-format", "json")
    process = rig.process(*options, agents="tests.support.agents.toolbox:agents", INTURN_TEST_CANARY=CANARY).start()
    async with rig.client() as client:
        session = client.session("s")
        turn = await session.ask(" ".join(f"[[tool {tool.name} {{}}]]" for tool in tools), event_id="e1")
        statuses = {call.tool: call.status for call in turn.tool_calls}
        assert (await session.ask("and now?", event_id="e2")).text.endswith("and now?")
        whole = str([entry async for entry in session.entries()]).encode()
        histories = ""
        for run_id in await runs(rig.temporal, str(rig.key("s"))):
            handle = rig.temporal.get_workflow_handle(str(rig.key("s")), run_id=run_id)
            histories += (await handle.fetch_history()).to_json()
            histories += str((await handle.describe()).raw_description)
    assert process.stop() == 0
    ok, failed = (
        {"show", "in_thread", "in_task"},
        {"blow", "blow_again", "put_off", "refuse", "keep", "share", "share_with_all"},
    )
    assert statuses == dict.fromkeys(ok, "ok") | dict.fromkeys(failed, "error")

    journal = dump(rig.journal)
    [log] = [path.read_bytes() for path in rig.directory.glob("worker-*.log")]
    places = {"journal file": journal, "entries": whole, "histories": histories.encode(), "log": log}
    assert {name: found(data) for name, data in places.items() if found(data)} == {}
    # The search would have found it: what stood beside it is there, and what stands in its place.
    for name in ("journal file", "entries", "log"):
        assert MARKER.encode() in places[name], name
        assert b"[secret]" in places[name], name
    assert MARKER in histories, "the failure of an attempt is in the history"
    assert "nobody hears of [secret]" in log.decode()


PROCESS = """
import asyncio, os, sys
from pathlib import Path
from inturn.tools import Credentials, CredentialStore, Granted

async def issue(asked):
    Path(sys.argv[2], f"{os.getpid()}").touch(exist_ok=True)
    others = len(os.listdir(sys.argv[2]))
    await asyncio.sleep(0.1)
    n = int(asked.last.renewal.get_secret_value()) + 1 if asked.last else 1
    return Granted(f"token-{n}", expires_in=float(sys.argv[3]), renewal=str(n))

async def main():
    credentials = Credentials({"a": issue}, store=CredentialStore(sys.argv[1]), margin=1)
    got = await asyncio.gather(*(credentials.get("a", tenant="t") for _ in range(20)))
    print(" ".join(sorted({secret.get_secret_value() for secret in got})))

sys.stdin.read()
asyncio.run(main())
"""


def race(tmp_path: Path, *, processes: int, expires_in: float) -> tuple[Counter[str], int]:
    """Have processes ask at once; returns what they got, and how many of them refreshed."""
    refreshed = tmp_path / "refreshed"
    refreshed.mkdir(exist_ok=True)
    command = [sys.executable, "-c", PROCESS, str(tmp_path / "store"), str(refreshed), str(expires_in)]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    tokens = Counter(process.communicate(timeout=60)[0].strip() for process in started)
    return tokens, len(list(refreshed.iterdir()))


@pytest.mark.promise("SHR-8")
def test_of_the_processes_that_share_a_store_one_refreshes(tmp_path: Path) -> None:
    tokens, refreshed = race(tmp_path, processes=4, expires_in=3600)
    assert tokens == {"token-1": 4}
    assert refreshed == 1


@pytest.mark.promise("SHR-8")
def test_the_next_process_goes_on_from_what_the_last_one_was_granted(tmp_path: Path) -> None:
    """A refresh token that is used up is never used again: the chain of renewals has no fork."""
    tokens, refreshed = race(tmp_path, processes=3, expires_in=0)
    assert tokens == {"token-1": 1, "token-2": 1, "token-3": 1}
    assert refreshed == 3
