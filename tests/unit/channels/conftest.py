"""What a busy machine must not decide, in tests that send to a strict local platform."""

import pytest

from inturn.channels import platform, sending


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests may take a minute."""
    monkeypatch.setattr(sending, "REQUEST", 60.0)
    monkeypatch.setattr(platform, "TIMEOUTS", dict.fromkeys(platform.TIMEOUTS, 60.0))


@pytest.fixture
def listed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent is listed by its platform at once, however long its request could take."""
    monkeypatch.setattr(sending, "LISTED", -60.0)
