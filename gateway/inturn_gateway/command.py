"""`inturn gateway`: serves HTTP until it is told to stop.

Invariant: a mistake in its set-up ends it with one line and exit code 2, before it listens.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from inturn.channels import Channel
from inturn.cli.failures import USAGE
from inturn.cli.options import options_of
from inturn.cli.running import make_client
from inturn.client.client import Client
from inturn.errors import Misconfigured
from inturn.loading import add_to_import_path, load_attribute
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
    channels: Annotated[
        list[str] | None, typer.Option(metavar="MODULE:ATTR", help="Channels, or lists of them: /hooks/NAME.")
    ] = None,
    api: Annotated[bool, typer.Option(help="Serve /v1.")] = True,
    openai: Annotated[
        list[str] | None, typer.Option(metavar="AGENT", help="Agents that speak Chat Completions: /openai/v1.")
    ] = None,
) -> None:
    """Serve sessions over HTTP. Settings come from flags, the environment, and .env, in this order."""
    try:
        settings = read_settings(host=host, port=port, keys=keys)
        settings.check(api=api or bool(openai))
        add_to_import_path(Path.cwd())
        mounted = load_channels(channels or ())
        logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
        asyncio.run(_serve(settings, make_client(options_of(ctx)), mounted, api, openai or ()))
    except Misconfigured as error:
        print(f"gateway: {error}", file=sys.stderr)
        raise typer.Exit(USAGE) from error


async def _serve(
    settings: Settings, client: Client, channels: Sequence[Channel], api: bool, models: Sequence[str]
) -> None:
    closing = asyncio.Event()
    app = application(
        client,
        channels=channels,
        keys=settings.keys,
        issuer=settings.issuer,
        hosts=settings.hosts,
        origins=settings.origins,
        api=api,
        models=models,
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


def load_channels(specs: Sequence[str]) -> list[Channel]:
    """Return the channels of all these names.

    Raises:
        Misconfigured: A name leads nowhere, or to something else.
    """
    found = list[Channel]()
    for spec in specs:
        value = load_attribute(spec)
        listed = value if isinstance(value, list | tuple) else [value]
        if not listed or not all(isinstance(each, Channel) for each in listed):
            raise Misconfigured(f"{spec} must be a Channel, or a list of them that is not empty")
        found += listed
    return found
