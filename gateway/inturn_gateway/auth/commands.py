"""`inturn keys`: the API keys of the gateway.

Invariant: a key is printed once, by the call that makes it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from inturn.cli.failures import FAILED, USAGE
from inturn.cli.options import options_of
from inturn.errors import Misconfigured
from inturn_gateway.auth.caller import SCOPES, Scope
from inturn_gateway.auth.keys import Key, KeyList, edited, made

commands: Final = typer.Typer(
    name="keys",
    help="API keys of the gateway: each of one tenant, with what it may do.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

File = Annotated[Path, typer.Option("--file", envvar="INTURN_KEYS", help="The file that holds their hashes.")]
_DEFAULT: Final = Path("keys.json")


@commands.command()
def create(
    ctx: typer.Context,
    file: File = _DEFAULT,
    scope: Annotated[
        list[str] | None, typer.Option(help=f"What it may do, several times: {', '.join(SCOPES)}. Unset: send, read.")
    ] = None,
    agent: Annotated[str | None, typer.Option(help="The only agent that it may talk to.")] = None,
    prefix: Annotated[str, typer.Option(help="What the ids of its sessions begin with.")] = "",
    days: Annotated[float | None, typer.Option(help="Until it expires.", min=0.0)] = None,
    name: Annotated[str, typer.Option(help="For people.")] = "",
) -> None:
    """Make a key of the tenant (`--tenant`) and print it: nobody can show it again."""
    options = options_of(ctx)
    with _mistakes():
        until = None if days is None else time.time() + days * 86_400
        shown, key = made(
            options.tenant, _scopes(scope or ["send", "read"]), agent=agent, prefix=prefix, name=name, expires_at=until
        )
        with edited(file) as keys:
            keys.append(key)
    print(json.dumps({"key": shown, **_told(key)}) if options.json else shown)


@commands.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="ik_…, as `ls` shows it.")], file: File = _DEFAULT
) -> None:
    """Take a key out of the file; gateways notice with the next request."""
    with _mistakes(), edited(file) as keys:
        left = [key for key in keys if key.id != key_id]
        known = len(left) < len(keys)
        keys[:] = left
    if not known:
        print(f"inturn: {file} has no key {key_id}", file=sys.stderr)
        raise typer.Exit(FAILED)


@commands.command()
def ls(ctx: typer.Context, file: File = _DEFAULT) -> None:
    """List the keys, without what is secret of them."""
    with _mistakes():
        keys = KeyList.read(file).keys
    for key in keys:
        told = _told(key)
        print(json.dumps(told) if options_of(ctx).json else "  ".join(str(value) for value in told.values() if value))


def _told(key: Key) -> dict[str, object]:
    until = (
        None if key.expires_at is None else datetime.fromtimestamp(key.expires_at, UTC).isoformat(timespec="seconds")
    )
    return {
        "id": key.id,
        "tenant": key.tenant,
        "scopes": " ".join(key.scopes),
        "agent": key.agent,
        "prefix": key.prefix,
        "expires_at": until,
        "name": key.name,
    }


def _scopes(given: list[str]) -> tuple[Scope, ...]:
    known: tuple[Scope, ...] = tuple(scope for scope in SCOPES if given.count(scope))
    if unknown := set(given) - set(known):
        raise Misconfigured(f"no scope is called {', '.join(sorted(unknown))}; there are {', '.join(SCOPES)}")
    return known


@contextmanager
def _mistakes() -> Iterator[None]:
    """End with one line and exit code 2 where the block meets a mistake of the caller's."""
    try:
        yield
    except Misconfigured as error:
        print(f"inturn: {error}", file=sys.stderr)
        raise typer.Exit(USAGE) from error
