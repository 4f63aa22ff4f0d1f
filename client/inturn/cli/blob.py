"""blob: a value that is too large for its entry, read back.

Invariant: what goes into a file or a pipe is the bytes as they were kept; a terminal gets no control characters.
"""

from __future__ import annotations

import base64
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inturn.cli.options import SessionId, options_of
from inturn.cli.output import document, say
from inturn.cli.running import run

if TYPE_CHECKING:
    from inturn.client.client import Client

Ref = Annotated[str, typer.Argument(metavar="REF", help="sha256:…, as the cut result names it.", show_default=False)]


def blob(ctx: typer.Context, session: SessionId, ref: Ref) -> None:
    """Print the whole of a tool result that was cut, byte for byte."""

    async def work(client: Client) -> None:
        data = await client.session(session).read_blob(ref)
        if options_of(ctx).json:
            document({"ref": ref, "size": len(data), **_encoded(data)})
        elif sys.stdout.isatty():
            say(data.decode(errors="replace"))
        else:
            sys.stdout.buffer.write(data)

    run(ctx, work)


def _encoded(data: bytes) -> dict[str, Any]:
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}
