"""Plans: what a session is put through, drawn from a seed.

Invariant: a plan is a value, whatever the session makes of it, so that turns can be left out of it to find the few
that matter. What is good in it must be answered; what is bad may cost its own turn and nothing else.
"""

from __future__ import annotations

import base64
import random
import struct
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from inturn.errors import ToolError

Block = dict[str, Any]
Failure = Literal["outage", "unknown", "cut", "stopped"]
Summary = Literal["fine", "null", "refusal", "max_tokens", "odd", "400", "outage", "unknown", "stopped"]
"""What becomes of a request for a summary."""

AGENTS: Final = 8
"""Versions of the agent; see `tests.property.conversations.stage`."""


@dataclass(frozen=True)
class Said:
    """One answer: its blocks, its stop reason, and what fails before it comes."""

    content: list[Block]
    stop: str | None = None
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True)
class Turn:
    """One event and what becomes of it.

    Attributes:
        bad: What it says may be refused, for reasons that nobody can know before.
        agent: The version of the agent that is deployed then, on a worker that has read nothing where `cold`.
        merged: What joins it before its first step.
        steered: What joins it after its first calls.
        says: What the model answers, step by step; a plain text behind them.
        stops: The step after whose answer a person stops it.
        ran: How many of the calls of that step have run by then.
        denies: Whether a person says no to its calls.
        gone: Whether all addresses that were used are gone from here on.
        compacts: Whether somebody asks for a summary before its first step.
        summaries: What becomes of requests for one, in order; then all are fine.
        redriven: Whether it is driven once more where it was set aside.
    """

    content: Any
    bad: bool = False
    agent: int = 0
    cold: bool = False
    merged: list[Any] = field(default_factory=list)
    steered: list[Any] = field(default_factory=list)
    says: list[Said] = field(default_factory=list)
    stops: int | None = None
    ran: int = 0
    denies: bool = False
    gone: bool = False
    compacts: bool = False
    summaries: tuple[Summary, ...] = ()
    redriven: bool = False


def plan(seed: int, turns: int = 12) -> list[Turn]:
    """Return the plan of a seed."""
    rng = random.Random(seed)
    agent, made = 0, list[Turn]()
    broken: tuple[Summary, ...] = ("400", "null", "odd") * 9 if rng.random() < 0.2 else ()
    for number in range(turns):
        agent = rng.randrange(AGENTS) if rng.random() < 0.2 else agent
        made.append(_turn(rng, number, agent))
    return [replace(turn, summaries=broken or turn.summaries) for turn in made]


def _turn(rng: random.Random, number: int, agent: int) -> Turn:
    bad = rng.random() < 0.2
    says = [_said(rng) for _ in range(rng.choice((0, 0, 1, 1, 1, 2, 2, 3)))]
    if bad:  # some say the same once they are cleaned, and what one model refused another may have answered
        says = [replace(said, stop="end_turn") if said.stop == "refusal" else said for said in says]
    return Turn(
        content=_bad_content(rng) if bad else _content(rng, number),
        bad=bad,
        agent=agent,
        cold=rng.random() < 0.1,
        merged=[_content(rng, number, f"m{n}") for n in range(_few(rng))],
        steered=[_content(rng, number, f"s{n}") for n in range(_few(rng))],
        says=says,
        stops=rng.randrange(3) if rng.random() < 0.15 else None,
        ran=rng.randrange(3),
        denies=rng.random() < 0.05,
        gone=rng.random() < 0.05,
        compacts=rng.random() < 0.1,
        summaries=tuple(rng.choice(_SUMMARIES) for _ in range(rng.choice((0, 0, 1, 2, 3)))),
        redriven=rng.random() < 0.3,
    )


_SUMMARIES: Final[tuple[Summary, ...]] = (
    *("fine", "fine", "null", "refusal", "max_tokens", "odd", "400", "outage", "unknown", "stopped"),
)


def _few(rng: random.Random) -> int:
    return rng.choice((0, 0, 0, 0, 0, 0, 1, 2))


# Events.


def _content(rng: random.Random, number: int, label: str = "e") -> Any:
    """Return what the session must be able to send, as it is or cleaned."""
    said = f"{label}{number} says {rng.randrange(10**6)}"
    odd: list[Any] = [
        [_text(said, cache_control={"type": "ephemeral"}), _text("b", cache_control={"type": "ephemeral"})],
        [_text(said), _text(rng.choice(("", " ", "\n\t")))],
        [_text(said), _png(1)],
        [_text(said)] + [_png(rng.choice((10, 3_000))) for _ in range(rng.choice((1, 5, 8)))],
        [_text(said), _image_at(f"https://a.example/{number}.png?{rng.randrange(99)}")],
        [_text(said), _document(rng.choice((None, {"enabled": True}, {"enabled": False})))],
        [_text(said, citations=None), _text("tail", x=1)],
        said + "\ud800",
        [_text("\udc00" + said)],
        said + "\x00\x1b[31m",
        f"{said} [[tool look]]",
    ]
    if label == "e" and rng.random() < 0.2:
        return f"{said} {'word ' * rng.choice((500, 2_500))}"
    return rng.choice(odd) if rng.random() < 0.35 else said


def _bad_content(rng: random.Random) -> Any:
    """Return what the API refuses, or what is no content at all."""
    made: list[Any] = [
        [_image_at("https://gone.invalid/a.png")],
        [_text("look"), _image_at("not an address")],
        [_image("image/tiff", b"II*\0")],
        [_image("image/png", b"hi"), {"type": "image", "source": {"type": "base64", "media_type": "image/png"}}],
        [{"type": "image"}],
        [{"type": "video", "source": {}}],
        [{"type": "tool_result", "tool_use_id": "call_0", "content": "forged"}],
        [{"type": "tool_use", "id": "call_0", "name": "look", "input": {}}],
        [{"type": "thinking", "thinking": "mine", "signature": "x"}],
        [{"type": "document", "source": {"type": "text", "media_type": "text/html", "data": "x"}}],
        [{"type": "document", "source": {"type": "file", "file_id": 5}}],
        [_image("image/png", b"x" * 5_300_000)] if rng.random() < 0.02 else [_png(9_000)],
        [_png(1)] * 101,
        [_text(5)],
        [_text("")],
        [_text(" ")],
        [{"text": "no type"}],
        ["no block", None, 5],
        [],
        "",
        " \n",
        None,
        {"type": "text", "text": "no list"},
        [_text("x", cache_control={"type": "ephemeral", "ttl": "1h"})],
        [_text("x", cache_control={"type": "for ever"})],
        [{"type": "search_result", "source": "s", "title": "t", "content": []}],
        [{"type": "container_upload", "file_id": "f"}],
    ]
    return rng.choice(made)


def _text(text: Any, **more: Any) -> Block:
    return {"type": "text", "text": text, **more}


def _image(media_type: str, data: bytes) -> Block:
    source = {"type": "base64", "media_type": media_type, "data": base64.b64encode(data).decode()}
    return {"type": "image", "source": source}


def _png(width: int) -> Block:
    return _image("image/png", b"\x89PNG\r\n\x1a\n" + b"\0" * 8 + struct.pack(">II", width, 1))


def _image_at(url: str) -> Block:
    return {"type": "image", "source": {"type": "url", "url": url}}


def _document(citations: Any) -> Block:
    source = {"type": "text", "media_type": "text/plain", "data": "a page"}
    return {"type": "document", "source": source, **({"citations": citations} if citations else {})}


# Answers.

_STOPS: Final = (
    *("end_turn", "tool_use") * 6,
    *("max_tokens", "refusal", "pause_turn") * 2,
    "stop_sequence",
    "model_context_window_exceeded",
    "compaction",
    "some_new_reason",
    None,
)
_IDS: Final = ("call_0", "call_0", "call_1", "", "a b!", "ü", "x" * 300, "toolu_1", None, 7)
_NAMES: Final = (*("look", "look", "pay", "gone", "raise") * 3, "undeclared", "do.it", "do it", "", "x" * 200, None)
_INPUTS: Final[tuple[Any, ...]] = (
    *({}, {"n": 1}, {"n": 2}, {"n": "x"}) * 3,
    [1],
    [["n", 1]],
    "{'n': 1",
    None,
    5,
    {"n": "\ud800"},
    {"n": float("nan")},
    {"ü [x]": 1},
    {"n": 10**400},
)


def _said(rng: random.Random) -> Said:
    failures: tuple[Failure, ...] = ()
    if rng.random() < 0.1:
        failures = tuple(rng.choice(("outage", "unknown", "cut", "stopped")) for _ in range(rng.choice((1, 1, 2))))
    if rng.random() < 0.3:
        return Said([{"type": "tool_use", "name": "look", "input": {"n": rng.randrange(9)}}], None, failures)
    stop = rng.choice(_STOPS)
    content = [_block(rng) for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 4, 6)))]
    if rng.random() < 0.02:
        content += [{"type": "tool_use", "id": f"m{n}", "name": "look", "input": {}} for n in range(70)]
    return Said(content, stop, failures)


def _block(rng: random.Random) -> Block:
    kind = rng.randrange(15)
    if kind < 4:
        return _text(rng.choice(("I see.", "Done.", "", " ", "\n\n", "a\ud800", "x")))
    if kind < 6:
        return {"type": "thinking", "thinking": rng.choice(("hm", "well", "", "let me see"))}
    if kind < 7:
        return {"type": "redacted_thinking"}
    if kind < 11:
        return _use(rng)
    return rng.choice(_RARE)


def _use(rng: random.Random) -> Block:
    block: Block = {"type": "tool_use", "name": rng.choice(_NAMES), "input": rng.choice(_INPUTS)}
    if rng.random() < 0.5:
        block["id"] = rng.choice(_IDS)
    if rng.random() < 0.1:
        block["input"] = _deep(rng.choice((30, 150, 300)))
    if rng.random() < 0.1:
        block["caller"] = {"type": "direct"}
    return block


def _deep(levels: int) -> Any:
    value: Any = {}
    for _ in range(levels):
        value = {"n": value}
    return value


_RARE: Final[tuple[Block, ...]] = (
    {"type": "server_tool_use", "name": "web_search", "input": {"query": "x"}},
    {"type": "web_search_tool_result", "content": []},
    {"type": "server_tool_use", "name": "code_execution", "input": {"code": "1"}},
    {"type": "code_execution_tool_result", "content": {"type": "code_execution_result", "stdout": "1"}},
    {"type": "some_new_block", "data": [1]},
    {"type": "text", "text": "said", "some_new_field": 1},
    {"type": "text", "text": "marked", "cache_control": {"type": "ephemeral"}},
    {"type": "text", "text": "cited", "citations": [{"type": "char_location", "cited_text": "a", "document_index": 0}]},
    {"type": "image", "source": {"type": "url", "url": "https://a.example/drawn.png"}},
    {"type": "thinking", "thinking": "another's", "signature": "bm90aGluZw=="},
    {"type": "redacted_thinking", "data": "another's"},
    {"type": "tool_use", "name": "look", "input": {}, "cache_control": {"type": "ephemeral"}},
    {"type": "tool_use", "name": "look", "input": {}, "some_new_field": 1},
)

# What tools return, one after the other.

RESULTS: Final[tuple[Any, ...]] = (
    *("3", "plenty", {"rows": 1}) * 4,
    "",
    " \n",
    None,
    [],
    {},
    [_text("fine")],
    [_text(" ")],
    [_text("")],
    [{"type": "text", "value": "42 rows"}],
    [_text("scored", score=0.9)],
    [{"type": "document", "id": 1, "title": "Terms"}],
    [{"type": "image", "url": "x"}],
    [_png(10)],
    [_png(3_000)],
    [_image("image/tiff", b"II*\0")],
    [_document({"enabled": True})],
    [_image_at("https://a.example/result.png")],
    [{"type": "search_result", "source": "s", "title": "t", "content": [_text("x")]}],
    [{"type": "tool_result", "tool_use_id": "call_0", "content": "x"}],
    [_text("x", cache_control={"type": "ephemeral"}), _text("y", cache_control={"type": "ephemeral", "ttl": "1h"})],
    "half \ud800",
    b"\xff\x00",
    float("nan"),
    "long " * 20_000,
    "wide " * 4_000,
    ToolError("no"),
    ToolError("half \ud800"),
    ToolError(""),
)
