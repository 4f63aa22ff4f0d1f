"""codec: what is encrypted, shown in the Temporal UI and CLI."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Annotated, Final

import typer

from inturn.cli.options import options_of
from inturn.cli.output import say

TOKEN: Final = "INTURN_CODEC_TOKEN"
_UI: Final = ("http://localhost:8233", "http://127.0.0.1:8233", "http://localhost:8080")

Host = Annotated[str, typer.Option(help=f"Where to listen; not on loopback only with {TOKEN}.")]
Port = Annotated[int, typer.Option(help="The port; 0: any that is free.", min=0, max=65535)]
Origins = Annotated[
    list[str] | None, typer.Option("--origin", metavar="URL", help=f"The Temporal UI's. Unset: {', '.join(_UI)}.")
]


def codec(ctx: typer.Context, host: Host = "127.0.0.1", port: Port = 8081, origin: Origins = None) -> None:
    """Serve the Temporal UI and CLI with what INTURN_ENCRYPTION_KEYS decrypt, until it is stopped."""
    from inturn.client.settings import temporal_config
    from inturn.encryption.codec_server import CodecSettings, make_server
    from inturn.encryption.keys import VARIABLE, read_keys
    from inturn.errors import Misconfigured

    ring = read_keys()
    if ring is None:
        raise Misconfigured(f"there is nothing to decrypt with: set {VARIABLE} as for the workers")
    namespace = str(temporal_config(namespace=options_of(ctx).namespace)["namespace"])
    origins = tuple(one.rstrip("/") for one in origin or _UI)
    settings = CodecSettings(ring, namespace, origins, os.environ.get(TOKEN) or None)
    with make_server(host, port, settings) as server, contextlib.suppress(KeyboardInterrupt):
        say(f"inturn codec ready http://{host}:{server.server_address[1]} namespace={namespace}")
        sys.stdout.flush()  # whoever waits for it may read a pipe
        server.serve_forever()
