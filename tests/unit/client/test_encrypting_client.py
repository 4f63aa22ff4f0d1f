"""A client that was connected elsewhere, where keys are set."""

from types import SimpleNamespace
from typing import Any

import pytest
from temporalio.contrib.pydantic import pydantic_data_converter

from inturn import Client
from inturn.client.temporal.connection import Connection
from inturn.encryption import data_converter
from inturn.errors import Misconfigured


def temporal(converter: Any) -> Any:
    return SimpleNamespace(data_converter=converter)


@pytest.mark.promise("SEC-2")
async def test_a_temporal_client_that_does_not_encrypt_is_refused_where_keys_are_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await Connection(temporal=temporal(pydantic_data_converter)).temporal()
    monkeypatch.setenv("INTURN_ENCRYPTION_KEYS", "k:" + "A" * 43 + "=")
    with pytest.raises(Misconfigured, match=r"data_converter=inturn.encryption.data_converter\(\)"):
        await Client(temporal=temporal(pydantic_data_converter)).session("s", agent="a").send("x")
    await Connection(temporal=temporal(data_converter())).temporal()
