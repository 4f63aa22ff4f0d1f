"""docs/wire.md holds for other SDKs: its examples run as they are printed, against a real server and worker."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inturn import Session
from tests.support.processes.server import ROOT, clean_environment
from tests.support.rig import Rig

BLOCKS = dict(re.findall(r"^```(sh|ts|text)\n(.*?)^```", (ROOT / "docs/wire.md").read_text(), re.MULTILINE | re.DOTALL))
PACKAGE = ROOT / "tests" / "support" / "typescript" / "package.json"


@pytest.fixture
async def session(rig: Rig) -> AsyncIterator[Session]:
    """A new session, on the page's task queue and of its tenant; a worker runs."""
    rig.task_queue, rig.tenant = "inturn", "default"
    async with rig.worker(), rig.client() as client:
        yield client.session(f"order-{uuid.uuid4().hex[:8]}")


async def test_the_commands_for_the_cli_do_what_the_page_says(rig: Rig, session: Session, tmp_path: Path) -> None:
    found = await _printed(rig, tmp_path, str(ROOT / "scripts" / "temporal"), "--which")
    (tmp_path / "temporal").symlink_to(found.partition("\t")[0])
    commands = BLOCKS["sh"].replace("order-17", session.session_id)
    printed = await _printed(rig, tmp_path, "sh", "-euc", commands)
    assert "You said: and now?" in printed
    assert (await session.status()).state == "idle", "paused, and resumed"
    assert [e.event_id async for e in session.entries() if e.type == "turn.started"] == ["m1", "m2"]
    audit = await session.audit(deep=True)
    assert audit.ok, audit.differences


@pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="there is no node with npm")
async def test_the_typescript_prints_what_the_page_shows(rig: Rig, session: Session, tmp_path: Path) -> None:
    shutil.copy(PACKAGE, tmp_path)
    await _printed(rig, tmp_path, "npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
    (tmp_path / "example.js").write_text(BLOCKS["ts"].replace("order-18", session.session_id))
    assert await _printed(rig, tmp_path, "node", "example.js") == BLOCKS["text"]


async def _printed(rig: Rig, directory: Path, *command: str) -> str:
    """Return what a program prints that runs in `directory` and finds the programs there first."""
    path = os.pathsep.join([str(directory), os.environ["PATH"]])
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=directory,
        env=clean_environment() | {"PATH": path, "TEMPORAL_ADDRESS": rig.address},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)
