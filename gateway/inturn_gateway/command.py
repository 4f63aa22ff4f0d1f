"""`inturn gateway`: serves HTTP until it is told to stop.

Invariant: a mistake in its set-up ends it with one line and exit code 2, before it listens.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from inturn.cli.failures import USAGE
from inturn.cli.options import options_of
from inturn.cli.running import make_client
from inturn.client.client import Client
from inturn.errors import Misconfigured
from inturn_gateway.app import gateway as application
from inturn_gateway.serving import Server
from inturn_gateway.settings import Settings, read_settings

logger = logging.getLogger("inturn.gateway")


def gateway(
    ctx: typer.Context,
    host: Annotated[str | None, typer.Option(help="Where it listens (127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="8787; 0 takes a free one.")] = None,
    keys: Annotated[
        Path | None, typer.Option(metavar="FILE", help="API keys, as `inturn keys` writes them (INTURN_KEYS).")
    ] = None,
) -> None:
    """Serve sessions over HTTP. Settings come from flags, the environment, and .env, in this order."""
    try:
        settings = read_settings(host=host, port=port, keys=keys)
        settings.check()
        logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
        asyncio.run(_serve(settings, make_client(options_of(ctx))))
    except Misconfigured as error:
        print(f"gateway: {error}", file=sys.stderr)
        raise typer.Exit(USAGE) from error


async def _serve(settings: Settings, client: Client) -> None:
    closing = asyncio.Event()
    app = application(
        client,
        keys=settings.keys,
        issuer=settings.issuer,
        hosts=settings.hosts,
        origins=settings.origins,
        closing=closing,
    )
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=1024)
    except OSError as error:
        raise Misconfigured(f"it cannot listen on {settings.host}:{settings.port}: {error.strerror}") from error
    at = f"[{settings.host}]" if ":" in settings.host else settings.host
    print(f"gateway: http://{at}:{listener.getsockname()[1]}", flush=True)
    try:
        await Server(app, closing, grace=settings.grace).serve(sockets=[listener])
    finally:
        await client.aclose()
