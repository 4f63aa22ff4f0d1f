"""Messages as bytes: any can be encoded, and one that nothing changes any more is encoded once."""

from __future__ import annotations

import json

import pytest

from inturn.models.encoding import Committed, encode, encode_messages

MESSAGE = {"role": "user", "content": [{"type": "text", "text": "hi"}]}


def test_a_committed_message_is_encoded_once_and_another_one_as_it_is_now() -> None:
    committed, open_ = Committed(MESSAGE), dict(MESSAGE)
    first, _ = encode_messages([committed, open_])
    open_["role"] = "assistant"
    again, changed = encode_messages([committed, open_])
    assert again is first
    assert json.loads(first) == MESSAGE
    assert json.loads(changed)["role"] == "assistant"


def test_what_a_committed_message_does_not_have_it_does_not_have() -> None:
    assert not hasattr(Committed(MESSAGE), "decoded")


@pytest.mark.parametrize(
    "value",
    ["half \ud800", float("nan"), 10**4_000, b"\xff", {"a": object()}],
    ids=["half", "nan", "long", "bytes", "object"],
)
def test_any_value_is_encoded(value: object) -> None:
    assert json.loads(encode({"said": value}).decode()).keys() == {"said"}
