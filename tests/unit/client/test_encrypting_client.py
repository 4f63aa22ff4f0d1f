"""A client that was connected elsewhere, where keys are set."""

from types import SimpleNamespace
from typing import Any

import pytest
from temporalio.contrib.pydantic import pydantic_data_converter

from inturn import Client
from inturn.encryption import data_converter
from inturn.errors import Misconfigured


def temporal(converter: Any) -> Any:
    return SimpleNamespace(data_converter=converter)


@pytest.mark.promise("SEC-2")
def test_a_temporal_client_that_does_not_encrypt_is_refused_where_keys_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    Client(temporal=temporal(pydantic_data_converter))
    monkeypatch.setenv("INTURN_ENCRYPTION_KEYS", "k:" + "A" * 43 + "=")
    with pytest.raises(Misconfigured, match=r"data_converter=inturn.encryption.data_converter\(\)"):
        Client(temporal=temporal(pydantic_data_converter))
    Client(temporal=temporal(data_converter()))
