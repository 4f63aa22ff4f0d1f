"""send, ask, wait: events in, answers out.

Invariant: each call carries an event id that is known before anything is sent and shown when anything fails, so the
same call can always be repeated safely.
"""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from inturn.cli.options import AgentName, EventId, SessionId, Timeout, options_of
from inturn.cli.output import document, note, say
from inturn.cli.running import run
from inturn.events import EventOptions, WhenBusy
from inturn.policy import Sequencing
from inturn.sizes import UPLOAD
from inturn.turns.blocks import REFERRED
from inturn.turns.media import Media, judged, why_not

if TYPE_CHECKING:
    from inturn.cli.options import Options
    from inturn.client.client import Client
    from inturn.values import Receipt, Turn

MAX_TITLE: Final = 200
"""Characters of a file's name that the model sees."""

Content = Annotated[
    str, typer.Argument(metavar="CONTENT", help="The text; - reads standard input.", show_default=False)
]
Blocks = Annotated[bool, typer.Option("--blocks", help="CONTENT is a JSON list of content blocks.")]
Id = Annotated[str | None, typer.Option("--event-id", help="Unique in its session; the same id twice is one turn.")]
Source = Annotated[str, typer.Option(help="Where it comes from.")]
Sequence = Annotated[int | None, typer.Option(help="Its number at its source.", min=0)]
Aliases = Annotated[
    list[str] | None, typer.Option("--alias", help="Another id under which it may come again; up to four.")
]
Numbers = Annotated[
    Sequencing | None, typer.Option(help="What its source's numbers are: without holes, or growing ones with holes.")
]
Sender = Annotated[str | None, typer.Option(help="Who wrote it.")]
SentAt = Annotated[str | None, typer.Option(metavar="TIME", help="ISO 8601 with a time zone, or seconds since 1970.")]
Busy = Annotated[WhenBusy, typer.Option(help="What it does while a turn runs.")]
Expires = Annotated[float | None, typer.Option("--expires-after", help="Seconds for which it is wanted.", min=0.0)]
Attach = Annotated[
    list[Path] | None,
    typer.Option("--attach", metavar="FILE", help="Show a picture, a PDF or a text with it; again for more."),
]
ModelName = Annotated[str | None, typer.Option("--model", help="The model to answer it, of those the agent has.")]
Metadata = Annotated[str | None, typer.Option(metavar="JSON", help="A JSON object that travels with it.")]


def send(
    ctx: typer.Context,
    session: SessionId,
    content: Content,
    blocks: Blocks = False,
    attach: Attach = None,
    confirm: Annotated[bool, typer.Option("--confirm", help="Wait until a worker has accepted or refused it.")] = False,
    agent: AgentName = None,
    event_id: Id = None,
    source: Source = "cli",
    alias: Aliases = None,
    sequence: Sequence = None,
    sequencing: Numbers = None,
    sender: Sender = None,
    sent_at: SentAt = None,
    when_busy: Busy = "queue",
    expires_after: Expires = None,
    metadata: Metadata = None,
    model: ModelName = None,
) -> None:
    """Send an event; it is durable once this returns, even while no worker runs."""
    what, event_id = _content(content, blocks), new_event_id() if event_id is None else event_id
    files = [_file(path) for path in attach or ()]
    event = _options(event_id, source, sequence, sender, sent_at, when_busy, expires_after, metadata, model)
    event |= {"aliases": alias or (), "sequencing": sequencing}

    async def work(client: Client) -> None:
        handle = client.session(session, agent=agent)
        with named(session, event_id):
            said = await _attached(client, what, files)
            receipt = await (handle.submit(said, **event) if confirm else handle.send(said, **event))
        _show_receipt(options_of(ctx), receipt)

    run(ctx, work)


def ask(
    ctx: typer.Context,
    session: SessionId,
    content: Content,
    blocks: Blocks = False,
    attach: Attach = None,
    agent: AgentName = None,
    timeout: Timeout = None,
    event_id: Id = None,
    source: Source = "cli",
    alias: Aliases = None,
    sequence: Sequence = None,
    sequencing: Numbers = None,
    sender: Sender = None,
    sent_at: SentAt = None,
    when_busy: Busy = "queue",
    expires_after: Expires = None,
    metadata: Metadata = None,
    model: ModelName = None,
) -> None:
    """Send an event and print its answer."""
    what, event_id = _content(content, blocks), new_event_id() if event_id is None else event_id
    files = [_file(path) for path in attach or ()]
    event = _options(event_id, source, sequence, sender, sent_at, when_busy, expires_after, metadata, model)
    event |= {"aliases": alias or (), "sequencing": sequencing}

    async def work(client: Client) -> None:
        with named(session, event_id):
            said = await _attached(client, what, files)
            turn = await client.session(session, agent=agent).ask(said, timeout=timeout, **event)
        show_turn(options_of(ctx), turn)

    run(ctx, work)


def wait(ctx: typer.Context, session: SessionId, event: EventId, timeout: Timeout = None) -> None:
    """Wait for the answer to an event that was sent before, and print it."""

    async def work(client: Client) -> None:
        with named(session, event):
            show_turn(options_of(ctx), await client.session(session).wait(event, timeout=timeout))

    run(ctx, work)


def new_event_id() -> str:
    """Return an id for an event that has none."""
    return f"cli:{uuid.uuid4().hex[:12]}"


@contextmanager
def named(session: str, event_id: str) -> Iterator[None]:
    """Note the event on what leaves open how it ends, so that the caller can go on from there."""
    from inturn.errors import TurnTimeout, Unavailable

    try:
        yield
    except (Unavailable, TurnTimeout, asyncio.CancelledError) as error:
        error.add_note(f"session {session}, event {event_id}")
        raise


def show_turn(options: Options, turn: Turn) -> None:
    """Print a turn: its text as the result, how it ended as a note."""
    if options.json:
        document(turn)
        return
    say(turn.text)
    if turn.truncated:
        note("the text was cut at 4 KB or is missing; with --journal the whole of it is read")
    if turn.stop_reason != "end_turn":
        note(f"stop reason: {turn.stop_reason}", style="yellow")


def _show_receipt(options: Options, receipt: Receipt) -> None:
    if options.json:
        document(receipt)
        return
    original = f", which is {receipt.disposition}" if receipt.status == "duplicate" and receipt.disposition else ""
    ahead = f", {receipt.position} ahead of it" if receipt.position else ""
    say(f"{receipt.event_id} {receipt.status}{original}{ahead}")


def _content(content: str, blocks: bool) -> Any:
    text = sys.stdin.read() if content == "-" else content
    return _json("CONTENT", text, list) if blocks else text


@dataclass(frozen=True)
class _File:
    """A file that is shown."""

    name: str
    data: bytes
    media: Media


def _file(path: Path) -> _File:
    """Read a file that can be shown."""
    try:
        with path.open("rb") as file:
            data = file.read(UPLOAD + 1)
    except OSError as error:
        raise typer.BadParameter(f"--attach {path}: {error.strerror or error}") from None
    media = judged(data)
    if media is None or len(data) > UPLOAD:
        raise typer.BadParameter(f"--attach {path}: it is no PNG, JPEG, GIF, WebP, PDF or text of at most 20 MiB")
    if why := why_not(media.kind, media.type, media.measure, len(data)):
        raise typer.BadParameter(f"--attach {path}: {why}")
    return _File(path.name, data, media)


async def _attached(client: Client, said: Any, files: list[_File]) -> Any:
    """Return what is said with the files behind it, uploaded."""
    if not files:
        return said
    shown: list[dict[str, Any]] = said if isinstance(said, list) else [{"type": "text", "text": said}]
    for file in files:
        ref, kind = await client.upload(file.data, file.media.type), file.media.kind
        title = {"title": file.name[:MAX_TITLE]} if kind == "document" else {}
        shown = [*shown, {"type": kind, "source": {"type": REFERRED, "ref": ref}, **title}]
    return shown


def _options(
    event_id: str,
    source: str,
    sequence: int | None,
    sender: str | None,
    sent_at: str | None,
    when_busy: WhenBusy,
    expires_after: float | None,
    metadata: str | None,
    model: str | None,
) -> EventOptions:
    return {
        "event_id": event_id,
        "source": source,
        "sequence": sequence,
        "sender": sender,
        "sent_at": None if sent_at is None else _time(sent_at),
        "when_busy": when_busy,
        "expires_after": expires_after,
        "metadata": None if metadata is None else _json("--metadata", metadata, dict),
        "model": model,
    }


def _json(name: str, text: str, kind: type[list[Any]] | type[dict[str, Any]]) -> Any:
    wanted = "list" if kind is list else "object"
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"{name} is not JSON ({error}); it must be a JSON {wanted}") from None
    if not isinstance(value, kind):
        raise typer.BadParameter(f"{name} is JSON, but no {wanted}")
    return value


def _time(text: str) -> float | datetime:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"--sent-at {text!r} is no time; for example 2026-01-31T12:00:00Z") from None
    if at.tzinfo is None:
        raise typer.BadParameter(f"--sent-at {text!r} has no time zone; for example 2026-01-31T12:00:00Z")
    return at
