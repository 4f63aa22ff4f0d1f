"""Tools: functions that the model may call, ready ones, and the credentials that they use.

    from inturn.tools import files, http_get

    tools = [*files("./workspace"), http_get(["api.example.com"])]

Invariant: declaring a tool imports nothing but what declares it; what ready tools need is imported when they are named.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from inturn.tools.declared import MAX_TIMEOUT
from inturn.tools.secrets import Secret
from inturn.tools.tool import (
    MAX_LOCK_NAME,
    Approve,
    Lookup,
    Tool,
    arguments_hash,
    as_tool,
    call_async,
    is_async,
    lock_name,
    tool,
)

if TYPE_CHECKING:
    from inturn.tools.credential_store import CredentialStore
    from inturn.tools.credentials import Asked, Credentials, Granted
    from inturn.tools.ready.files import files
    from inturn.tools.ready.http import http_get

__all__ = [
    "MAX_LOCK_NAME",
    "MAX_TIMEOUT",
    "Approve",
    "Asked",
    "CredentialStore",
    "Credentials",
    "Granted",
    "Lookup",
    "Secret",
    "Tool",
    "arguments_hash",
    "as_tool",
    "call_async",
    "files",
    "http_get",
    "is_async",
    "lock_name",
    "tool",
]

_LAZY = {
    "Asked": "credentials",
    "CredentialStore": "credential_store",
    "Credentials": "credentials",
    "Granted": "credentials",
    "files": "ready.files",
    "http_get": "ready.http",
}


def __getattr__(name: str) -> Any:
    """Import a ready tool when it is first named."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{_LAZY[name]}")
    except ModuleNotFoundError as error:
        if name != "http_get":
            raise
        raise ModuleNotFoundError(f"{name} needs the extra: pip install 'inturn[web]' ({error})") from error
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    """List the lazy names, too."""
    return sorted({*globals(), *__all__})
