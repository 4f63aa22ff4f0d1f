"""Messages as bytes: any can be encoded, and one that nothing changes any more is encoded once."""

from __future__ import annotations

import json

import pytest

from inturn.models.encoding import Committed, encode, encode_message

MESSAGE = {"role": "user", "content": [{"type": "text", "text": "hi"}]}


def test_a_committed_message_is_encoded_once_and_another_one_as_it_is_now() -> None:
    committed, open_ = Committed(MESSAGE), dict(MESSAGE)
    assert encode_message(committed) is encode_message(committed)
    open_["role"] = "assistant"
    assert json.loads(encode_message(open_))["role"] == "assistant"


@pytest.mark.parametrize(
    "value",
    ["half \ud800", float("nan"), 10**4_000, b"\xff", {"a": object()}],
    ids=["half", "nan", "long", "bytes", "object"],
)
def test_any_value_is_encoded(value: object) -> None:
    assert json.loads(encode({"said": value}).decode()).keys() == {"said"}
