"""The worker's settings: flags over environment over `.env` over defaults.

Invariant: a wrong setting ends in one line that says what is wrong, why, and what to do; never in a traceback.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from inturn import names
from inturn.client.settings import DEFAULT_JOURNAL
from inturn.client.temporal.server_checks import VERSION
from inturn.dotenv_file import load_dotenv
from inturn.errors import Misconfigured
from inturn_activities.limits.limits import Limits

LogFormat = Literal["auto", "json", "console"]


class Settings(BaseSettings):
    """Environment variables are `INTURN_` plus the field's name, except where an alias says otherwise.

    Limits are `INTURN_LIMITS_` plus theirs; those by name are JSON: `INTURN_LIMITS_PER_TOOL='{"send_refund": 2}'`.

    What else a connection needs (`TEMPORAL_API_KEY`, TLS, profiles) is read as every Temporal client reads it.
    """

    model_config = SettingsConfigDict(
        env_prefix="INTURN_",
        extra="ignore",
        populate_by_name=True,
        env_nested_delimiter="_",
        env_nested_max_split=1,
        env_parse_none_str="none",
    )

    address: str | None = Field(default=None, validation_alias="TEMPORAL_ADDRESS")
    namespace: str | None = Field(default=None, validation_alias="TEMPORAL_NAMESPACE")
    task_queue: str = Field(default=names.TASK_QUEUE, min_length=1, max_length=1000)
    journal: str = DEFAULT_JOURNAL
    """`sqlite:///FILE` (relative to the working directory), `sqlite:////FILE` or `postgresql://USER@HOST/DATABASE`."""
    lifespan: str | None = None
    processes: int = Field(default=1, ge=1, le=64)
    version: str | None = Field(default=None, pattern=VERSION)
    """`DEPLOYMENT:BUILD`: the server gives it the sessions of this build, and new ones once that is current."""
    pin: bool = False
    """Sessions stay on their build until they continue as new (servers from 1.31 on)."""
    health_port: int | None = Field(default=None, ge=0, le=65535)
    health_host: str = "0.0.0.0"
    log_format: LogFormat = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    connect_timeout: float = Field(default=10, gt=0, le=3600)
    """Seconds to wait for the server at start."""
    grace: float = Field(default=20, ge=0, le=24 * 3600)
    """Seconds that running steps get to finish after SIGTERM. Orchestrators usually kill after 30."""

    cached_sessions: int = Field(default=500, ge=0, le=1_000_000)
    """Sessions kept in memory, at 110-215 KiB each; all others are replayed when their next event comes."""
    session_slots: int = Field(default=100, ge=2, le=100_000)
    """Workflow tasks at once."""
    step_slots: int = Field(default=500, ge=1, le=100_000)
    """Model and tool calls at once. They mostly wait for somebody else."""
    pollers: int = Field(default=20, ge=2, le=1_000)
    """Of each kind. With the SDK's 5, tasks sat for 2 s now and then (older servers)."""

    beat: float = Field(default=2.0, ge=0.2, le=20)
    """Seconds between the signs of life of a running step. A worker's death is noticed after 2.5 times as long, and
    each sign is a request to the server (and on a hosted cluster a billed action). Stops do not wait for it."""

    prices: str | None = None
    """A file of what models cost, in the form of `inturn/models/prices.json`: it wins over that one."""
    limits: Limits = Limits()
    """What sessions share; `none` lifts a limit."""

    anthropic_api_key: SecretStr | None = Field(default=None, validation_alias="ANTHROPIC_API_KEY")
    anthropic_auth_token: SecretStr | None = Field(default=None, validation_alias="ANTHROPIC_AUTH_TOKEN")

    @model_validator(mode="after")
    def _pins_a_version(self) -> Settings:
        if self.pin and self.version is None:
            raise ValueError("--pin (INTURN_PIN) keeps sessions on a build: name it with --version DEPLOYMENT:BUILD")
        return self

    @property
    def has_key(self) -> bool:
        """Whether Claude can be called."""
        return any(s is not None and s.get_secret_value() for s in (self.anthropic_api_key, self.anthropic_auth_token))


def read_settings(**flags: Any) -> Settings:
    """Return the settings; flags that are `None` do not count.

    `.env` goes into the process's environment, where the Temporal and Anthropic SDKs and the user's tools find it too;
    a variable that is set already stays.

    Raises:
        Misconfigured: A value breaks its rule.
    """
    load_dotenv()
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        wrong = "; ".join(f"{_named(e['loc'], flags)} is {_shown(e['input'])}: {e['msg']}" for e in error.errors())
        raise Misconfigured(f"wrong setting: {wrong}") from error
    except SettingsError as error:
        raise Misconfigured(
            f"wrong setting: {error}. Limits by name are JSON objects: INTURN_LIMITS_PER_TOOL='{{\"send_refund\": 2}}'"
        ) from error


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:99]}…"


def _named(place: tuple[int | str, ...], flags: dict[str, Any]) -> str:
    field = "_".join(str(part) for part in place)
    if flags.get(field) is not None:
        return f"--{field.replace('_', '-')}"
    return field if field.isupper() else f"INTURN_{field.upper()}"
