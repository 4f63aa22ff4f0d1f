"""A journal's URL on PostgreSQL, taken apart here: libpq's own errors show pieces of a password that it misreads.

Invariant: what an `Address` shows of itself is user, host, port and database, and nothing of what was given besides.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from inturn.errors import Misconfigured

POOL: Final = 8
"""Connections of a process; more of them wait for one another in Python."""
_OWN: Final = ("pool", "prepare", "migrate")
_QUERY: Final = re.compile(r"\?([a-z_]+=.*)$", re.DOTALL)
_HOST: Final = re.compile(r"[\w.-]+|\[[\da-fA-F:.]+\]|(%2F|/|@).+|")
_LOOPBACK: Final = re.compile(r"localhost|127(\.\d+){3}|::1|[/@].*|")
_UNSAFE: Final = ("prefer", "allow")
_DEFAULTS: Final = {
    "application_name": "inturn",
    "connect_timeout": "3",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "8000",
    "target_session_attrs": "read-write",
}
"""What libpq is given beyond what the URL says: a dead peer is noticed within seconds, a standby is not taken."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a journal is.

    Attributes:
        name: What may be shown of it.
        parameters: What libpq connects with; the password among them.
        pool: Connections of this process, at most.
        prepare: Whether statements are prepared (not behind a pooler that gives each transaction another connection).
        migrate: Whether whoever opens it brings its tables to this version.
    """

    name: str
    parameters: Mapping[str, str] = field(repr=False)
    pool: int = POOL
    prepare: bool = True
    migrate: bool = False


def parse(url: str) -> Address:
    """Return the address that `postgresql://user:password@host:port/database?…` names.

    What a password has of `@`, `/`, `:` and `%` may stand there as it is, or percent-encoded.

    Raises:
        Misconfigured: It names none. The message shows nothing of a password.
    """
    rest = url.partition("://")[2]
    query = _QUERY.search(rest)
    options = _options(query[1]) if query else {}
    user, password, hosts, database = _parts(rest[: query.start()] if query else rest)
    own = {name: options.pop(name) for name in _OWN if name in options}
    given = {"user": user, "password": password, **_where(hosts), "dbname": database}
    parameters = {name: value for name, value in given.items() if value} | options
    parameters |= _tls(parameters)
    return Address(
        _shown(parameters),
        _DEFAULTS | parameters,
        pool=_count(own.get("pool", str(POOL))),
        prepare=own.get("prepare", "on") not in ("off", "0", "false"),
        migrate=own.get("migrate", "0") in ("on", "1", "true"),
    )


def _parts(text: str) -> tuple[str, str, str, str]:
    userinfo, _, place = text.rpartition("@")
    user, _, password = userinfo.partition(":")
    hosts, _, database = place.partition("/")
    return unquote(user), unquote(password), hosts, unquote(database)


def _where(hosts: str) -> dict[str, str]:
    names, ports = list[str](), list[str]()
    for place in hosts.split(","):
        host, separator, port = place.rpartition(":")
        if not separator or place.endswith("]"):
            host, port = place, ""
        if not _HOST.fullmatch(host) or not (port == "" or port.isdecimal()):
            raise Misconfigured(
                "a journal's URL is postgresql://USER:PASSWORD@HOST:PORT/DATABASE, and this one has no host that could "
                "be one. To do: percent-encode what its password has of @ / ? and #, or keep the password in ~/.pgpass"
            )
        names.append(unquote(host).strip("[]"))
        ports.append(port)
    return {"host": ",".join(names).strip(","), "port": ",".join(ports) if any(ports) else ""}


def _options(query: str) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    return {name: unquote(value) for name, _, value in pairs}


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise Misconfigured("a journal's `pool=` is a number of connections from 1 to 100")
    return int(text)


def _tls(parameters: Mapping[str, str]) -> dict[str, str]:
    """Return what a connection that leaves this machine needs: the server proves who it is."""
    mode = parameters.get("sslmode") or os.environ.get("PGSSLMODE", "")
    hosts = (parameters.get("host") or os.environ.get("PGHOST", "")).split(",")
    if all(_LOOPBACK.fullmatch(host) for host in hosts):
        return {}
    if mode in _UNSAFE:
        raise Misconfigured(
            f"{_shown(parameters)}: with sslmode={mode} whoever sits between can turn encryption off and read the "
            "password and what users say. To do: leave it away (then it is verify-full), or write sslmode=require "
            "(encrypted, whoever it is) or sslmode=disable where the network itself is safe"
        )
    found = {} if mode else {"sslmode": "verify-full"}
    if (mode or "verify-full") == "verify-full" and not _has_root(parameters):
        found["sslrootcert"] = "system"
    return found


def _has_root(parameters: Mapping[str, str]) -> bool:
    given = parameters.get("sslrootcert") or os.environ.get("PGSSLROOTCERT")
    return bool(given) or (Path.home() / ".postgresql" / "root.crt").exists()


def _shown(parameters: Mapping[str, str]) -> str:
    user, host, port = (parameters.get(name, "") for name in ("user", "host", "port"))
    place = f"{host}:{port}" if port else host
    return f"postgresql://{user}{'@' if user else ''}{place}/{parameters.get('dbname', '')}"
