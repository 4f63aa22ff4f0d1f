"""The client's settings: arguments over environment over `.env` over defaults.

Invariant: reading settings changes nothing. `.env` is read, never put into the process's environment; where the server
is comes from `TEMPORAL_*`, as for every Temporal client.
"""

from __future__ import annotations

import os
from typing import Any, Final

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from inturn import names
from inturn.dotenv_file import DOTENV, read_dotenv
from inturn.errors import Misconfigured

DEFAULT_JOURNAL: Final = "sqlite:///inturn.sqlite"
"""Where worker and client look by default: a file in the working directory."""


class ClientSettings(BaseSettings):
    """Environment variables are `INTURN_` plus the field's name. Times are in seconds."""

    model_config = SettingsConfigDict(env_prefix="INTURN_", env_file=DOTENV, extra="ignore")

    task_queue: str = Field(default=names.TASK_QUEUE, min_length=1, max_length=1000)
    journal: str | None = None
    """`sqlite:///PATH` or `postgresql://USER@HOST/DATABASE`; unset: answers come from the worker."""
    connect_timeout: float = Field(default=5, gt=0, le=3600)
    patience: float = Field(default=30, gt=0, le=7 * 24 * 3600)
    """How long a call is repeated while the server cannot take it."""
    worker_timeout: float = Field(default=10, gt=0, le=3600)
    """How long `submit`, `ask` and controls wait for a worker to take them."""


def read_settings(**given: Any) -> ClientSettings:
    """Read the settings; what is given and not `None` counts first.

    Raises:
        Misconfigured: A value breaks its rule, or `.env` cannot be read; the message names it.
    """
    read_dotenv()  # a file that cannot be read is told before pydantic meets it
    try:
        return ClientSettings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        wrong = "; ".join(f"INTURN_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        raise Misconfigured(f"wrong setting: {wrong}") from error


def temporal_config(address: str | None = None, namespace: str | None = None) -> dict[str, Any]:
    """Return what `temporalio.client.Client.connect` takes, from arguments, `TEMPORAL_*`, `.env` and the profile file.

    Raises:
        Misconfigured: The configuration cannot be read.
    """
    from temporalio.envconfig import ClientConfig

    environment = read_dotenv() | dict(os.environ)
    try:
        config: dict[str, Any] = dict(ClientConfig.load_client_connect_config(override_env_vars=environment))
    except Exception as error:  # the SDK raises plain ones
        raise Misconfigured(f"the Temporal client's configuration cannot be read: {error}") from error
    config["target_host"] = address or config.get("target_host") or "localhost:7233"
    config["namespace"] = namespace or config.get("namespace") or "default"
    return config
