"""Flags win over the environment, the environment over `.env`, and a wrong value is named as the user gave it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from inturn.client.settings import read_settings as read_client_settings
from inturn.errors import Misconfigured
from inturn_activities.limits.limits import Limits
from inturn_worker.settings import read_settings


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty working directory and an environment without our variables, both as before afterwards."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(("INTURN_", "TEMPORAL_", "ANTHROPIC_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    yield
    for name in set(os.environ) - set(before):
        del os.environ[name]


def test_a_flag_wins_over_the_environment_and_the_environment_over_dotenv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("INTURN_TASK_QUEUE=from-file\nINTURN_PROCESSES=3\nTEMPORAL_NAMESPACE=from-file\n")
    monkeypatch.setenv("INTURN_TASK_QUEUE", "from-environment")
    settings = read_settings(namespace="from-flag", journal=None)
    assert settings.namespace == "from-flag"
    assert settings.task_queue == "from-environment"
    assert settings.processes == 3


def test_what_dotenv_says_reaches_the_sdks_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TEMPORAL_API_KEY=k1\nANTHROPIC_API_KEY=k2\n")
    assert read_settings().has_key
    assert os.environ["TEMPORAL_API_KEY"] == "k1"


@pytest.mark.parametrize(("value", "has"), [("", False), ("k", True)])
def test_an_empty_key_is_no_key(monkeypatch: pytest.MonkeyPatch, value: str, has: bool) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", value)
    assert read_settings().has_key is has


def test_a_wrong_flag_is_named_as_a_flag_and_a_wrong_variable_as_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Misconfigured, match="--processes is 0: "):
        read_settings(processes=0)
    monkeypatch.setenv("INTURN_GRACE", "soon")
    with pytest.raises(Misconfigured, match="INTURN_GRACE is 'soon': "):
        read_settings()


def test_limits_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings().limits == Limits(max_steps=50, lock_timeout=300, victim="oldest_waiter")
    monkeypatch.setenv("INTURN_LIMITS_MAX_STEPS", "none")
    monkeypatch.setenv("INTURN_LIMITS_PER_TOOL", '{"send_refund": 2}')
    monkeypatch.setenv("INTURN_LIMITS_VICTIM", "youngest")
    assert read_settings().limits == Limits(max_steps=None, per_tool={"send_refund": 2}, victim="youngest")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MAX_STEPS", "0", "INTURN_LIMITS_MAX_STEPS is '0': "),
        ("VICTIM", "me", "INTURN_LIMITS_VICTIM is 'me': "),
        ("MAX_STEP", "5", "INTURN_LIMITS_MAX_STEP is '5': "),
        ("PER_TOOL", "{a", "Limits by name are JSON objects"),
    ],
)
def test_a_wrong_limit_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
    monkeypatch.setenv(f"INTURN_LIMITS_{name}", value)
    with pytest.raises(Misconfigured, match=message):
        read_settings()


def test_a_key_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-canary")
    assert "sk-canary" not in repr(read_settings())


@pytest.mark.parametrize("wrong", ["shop", "shop:", ":1", "sh.op:1", "shop:1:2", "shop:1 2"])
def test_a_version_that_no_server_takes_is_named(wrong: str) -> None:
    with pytest.raises(Misconfigured, match="--version is"):
        read_settings(version=wrong)


def test_what_is_to_be_pinned_needs_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings(version="shop:1.2+x", pin=True).pin
    with pytest.raises(Misconfigured, match="name it with --version DEPLOYMENT:BUILD"):
        read_settings(pin=True)
    monkeypatch.setenv("INTURN_VERSION", "none")  # as `inturn dev` has it
    assert read_settings().version is None


NUMBERS = (
    *("CONNECT_TIMEOUT", "GRACE", "BEAT", "CACHED_SESSIONS", "SESSION_SLOTS", "STEP_SLOTS", "POLLERS"),
    *("LIMITS_MAX_STEPS", "LIMITS_RATE_PER_TENANT", "LIMITS_LOCK_TIMEOUT", "LIMITS_BACKLOG_SPACING"),
    "LIMITS_STUCK_AFTER",
)


@pytest.mark.promise("ISO-4", "SUR-17")
@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400", "1e300", "9" * 30, "9" * 5_000, "-1", ""])
def test_a_number_that_nothing_can_be_done_with_is_refused_in_a_short_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"INTURN_{name}", value)
    with pytest.raises(Misconfigured) as refused:
        read_settings()
    assert len(str(refused.value)) < 600


@pytest.mark.promise("ISO-4")
@pytest.mark.parametrize("limits", ['{"m": Infinity}', '{"m": 1e400}', '{"m": 0}', '{"m": null}', "[]", '{"m": "x"}'])
def test_limits_by_name_are_numbers_that_count(monkeypatch: pytest.MonkeyPatch, limits: str) -> None:
    monkeypatch.setenv("INTURN_LIMITS_RATE_PER_MODEL", limits)
    with pytest.raises(Misconfigured):
        read_settings()


@pytest.mark.parametrize("name", ["CONNECT_TIMEOUT", "PATIENCE", "WORKER_TIMEOUT"])
@pytest.mark.parametrize("value", ["nan", "inf", "1e400", "9" * 5_000, "0"])
def test_a_clients_number_is_bounded_too(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"INTURN_{name}", value)
    with pytest.raises(Misconfigured):
        read_client_settings()
