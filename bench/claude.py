"""What `call_model` costs by Claude's provider, and nothing beside it: the SDK answers from memory, without a network.

Invariant: what is measured is the CPU of this whole process, the journal's threads included.
"""

from __future__ import annotations

import json
import statistics
import time
from typing import Any, Final

import httpx2

from bench import budgets
from bench.report import Book
from bench.rig import Rig
from bench.sides import TEXT
from inturn.agents import Agent
from inturn.journal import open_journal
from inturn_activities.model.claude import Claude
from inturn_activities.registry import Steps

SIZES: Final = {budgets.CLAUDE_CPU: 1_000, budgets.CLAUDE_CPU_LONG: 10_000}
CALLS: Final = 20
PIECE: Final = 20
"""Characters of a streamed piece."""
AGENT: Final = Agent("bench", model="claude-sonnet-5-5", instructions="Be brief.")


async def measure(rig: Rig, book: Book, rounds: int, calls: Any) -> None:
    """Fill the rows of CPU: one session that grows by `calls`, measured at each size."""
    journal = open_journal(f"sqlite:///{rig.directory / 'claude.sqlite'}")
    await journal.open()
    client = httpx2.AsyncClient(transport=httpx2.MockTransport(_answer))
    claude = Claude(api_key="none", base_url="http://claude.invalid", http_client=client)
    try:
        quick, real = Steps(journal, calls.model, [AGENT]), Steps(journal, claude, [AGENT])
        for name, size in SIZES.items():
            while calls.count < size // 2:
                await calls.run(quick)
            await calls.run(real)  # reads what is new
            for _ in range(rounds):
                book.add(name, statistics.median([await _cpu(calls, real) for _ in range(CALLS)]) * 1000)
            book.note(name, f"{CALLS} calls a round, the SDK's transport in memory")
    finally:
        await claude.aclose()
        await journal.close()


async def _cpu(calls: Any, steps: Steps) -> float:
    began = time.process_time()
    await calls.run(steps)
    return time.process_time() - began


def _answer(request: httpx2.Request) -> httpx2.Response:
    headers = {"content-type": "text/event-stream", "request-id": "req_bench"}
    return httpx2.Response(200, headers=headers, content=_STREAM)


def _event(kind: str, **fields: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n"


def _stream() -> bytes:
    message = {"id": "msg_bench", "model": AGENT.model, "usage": {"input_tokens": 9, "output_tokens": 1}}
    pieces = [TEXT[at : at + PIECE] for at in range(0, len(TEXT), PIECE)]
    events = [
        _event("message_start", message=message),
        _event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *(_event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece}) for piece in pieces),
        _event("content_block_stop", index=0),
        _event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 120}),
        _event("message_stop"),
    ]
    return "".join(events).encode()


_STREAM: Final = _stream()
