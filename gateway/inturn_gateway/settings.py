"""The gateway's settings: flags over environment over `.env` over defaults.

Invariant: without a credential to ask for it listens on this machine alone, or does not start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from inturn.dotenv_file import load_dotenv
from inturn.errors import Misconfigured
from inturn_gateway.auth.door import LOOPBACK
from inturn_gateway.auth.tokens import Issuer


class Settings(BaseSettings):
    """Environment variables are `INTURN_` plus the field's name; those of the gateway alone begin `INTURN_GATEWAY_`."""

    model_config = SettingsConfigDict(env_prefix="INTURN_GATEWAY_", extra="ignore", populate_by_name=True)

    host: str = "127.0.0.1"
    port: int = Field(default=8787, ge=0, le=65535)
    hosts: tuple[str, ...] = ()
    """Further names by which it is called (`Host`); `*`: any. Those of this machine always are."""
    origins: tuple[str, ...] = ()
    """Origins of pages that may call `/v1` (CORS), with a credential of their own: cookies never count there."""
    keys: Path | None = Field(default=None, validation_alias="INTURN_KEYS")
    jwt_issuer: str | None = Field(default=None, validation_alias="INTURN_JWT_ISSUER")
    jwt_audience: str | None = Field(default=None, validation_alias="INTURN_JWT_AUDIENCE")
    jwt_jwks: str | None = Field(default=None, validation_alias="INTURN_JWT_JWKS")
    jwt_tenant_claim: str = Field(default="tenant", validation_alias="INTURN_JWT_TENANT_CLAIM")
    jwt_scopes_claim: str = Field(default="scope", validation_alias="INTURN_JWT_SCOPES_CLAIM")
    grace: float = Field(default=20, ge=0, le=24 * 3600, validation_alias="INTURN_GRACE")
    """Seconds that running requests get to finish after SIGTERM; streams end at once, to be resumed elsewhere."""
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$", validation_alias="INTURN_LOG_LEVEL")

    @property
    def issuer(self) -> Issuer | None:
        """Whose tokens count, if any do.

        Raises:
            Misconfigured: Only a part of it is set.
        """
        named = {"ISSUER": self.jwt_issuer, "AUDIENCE": self.jwt_audience, "JWKS": self.jwt_jwks}
        if not any(named.values()):
            return None
        if missing := [f"INTURN_JWT_{name}" for name, value in named.items() if not value]:
            raise Misconfigured(f"tokens need {', '.join(missing)}, too")
        return Issuer(
            str(self.jwt_issuer),
            str(self.jwt_audience),
            str(self.jwt_jwks),
            self.jwt_tenant_claim,
            self.jwt_scopes_claim,
        )

    def check(self, *, api: bool = True) -> None:
        """Return if it may listen where it is told to.

        Args:
            api: Whether it serves what needs a credential.

        Raises:
            Misconfigured: It may not.
        """
        if api and self.keys is None and self.issuer is None and self.host not in LOOPBACK:
            raise Misconfigured(
                f"without credentials it listens on this machine alone, not on {self.host}: name a file of keys "
                "(INTURN_KEYS, `inturn keys create`) or an issuer of tokens (INTURN_JWT_ISSUER)"
            )


def read_settings(**flags: Any) -> Settings:
    """Return the settings; flags that are `None` do not count.

    Raises:
        Misconfigured: A value breaks its rule.
    """
    load_dotenv()
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except (ValidationError, SettingsError) as error:
        wrong = (
            "; ".join(f"{e['loc'][0]}: {e['msg']}" for e in error.errors(include_input=False))
            if isinstance(error, ValidationError)
            else str(error)
        )
        raise Misconfigured(f"wrong setting of the gateway: {wrong}") from error
