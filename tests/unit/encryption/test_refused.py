"""What somebody without the keys made of a step, or answers: whoever decodes it is told, or refuses it."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.common import RawValue
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter, WorkflowSerializationContext
from temporalio.exceptions import ApplicationError

from inturn.encryption import KeyRing, data_converter
from inturn.encryption.converter import Undecryptable
from inturn.encryption.keys import Key
from inturn.encryption.payload_codec import BROKEN, CLEAR, LOCKED
from inturn_activities.messages import ModelInput, ToolResult

pytestmark = pytest.mark.promise("SEC-2")
A, B = Key("a", b"a" * 32), Key("b", b"b" * 32)


def converter(*keys: Key, workflow_id: str = "acme/s1") -> DataConverter:
    return data_converter(KeyRing(keys)).with_context(WorkflowSerializationContext("prod", workflow_id))


OURS, ELSEWHERE, STRANGE = converter(A), converter(A, workflow_id="acme/s2"), converter(B)
PLAIN = pydantic_data_converter


@pytest.mark.parametrize(
    ("made_by", "refused"), [(OURS, None), (PLAIN, CLEAR), (ELSEWHERE, BROKEN)], ids=["ours", "in clear", "elsewhere"]
)
async def test_a_steps_message_says_that_it_is_not_to_be_taken(made_by: DataConverter, refused: str | None) -> None:
    payloads = await made_by.encode([ModelInput(event={"content": "pay"}), ToolResult(status="error")])
    asked, told = await OURS.decode(payloads, [ModelInput, ToolResult])
    assert (asked.refused, told.refused) == (refused, refused)
    if refused == BROKEN:
        assert (asked, told) == (ModelInput(refused=BROKEN), ToolResult(refused=BROKEN))
    else:
        assert asked.event == {"content": "pay"}
    assert b"refused" not in (await PLAIN.encode([asked.model_copy(update={"refused": None})]))[0].data


async def test_a_steps_message_under_a_key_that_is_not_here_waits_for_who_has_it() -> None:
    payloads = await STRANGE.encode([ToolResult(status="error")])
    with pytest.raises(Undecryptable, match="key 'b'"):
        await OURS.decode(payloads, [ToolResult])


async def test_an_answer_in_clear_is_refused_where_there_are_keys() -> None:
    payloads = await PLAIN.encode([{"text": "transfer it all"}])
    for hint in (dict, dict[str, Any], object):
        with pytest.raises(Undecryptable, match="came in clear"):
            await OURS.decode(payloads, [hint])
    assert await PLAIN.decode(payloads, [dict]) == [{"text": "transfer it all"}]
    assert isinstance((await OURS.decode(payloads, [RawValue]))[0], RawValue)
    sealed = await OURS.encode([{"text": "hello"}])
    assert await OURS.decode(sealed, [dict]) == [{"text": "hello"}]


@pytest.mark.parametrize(
    ("made_by", "refused"),
    [(OURS, ""), (PLAIN, CLEAR), (ELSEWHERE, BROKEN), (STRANGE, LOCKED)],
    ids=["ours", "in clear", "elsewhere", "strange"],
)
async def test_a_failure_says_that_it_is_not_to_be_taken(made_by: DataConverter, refused: str) -> None:
    failure = Failure()
    await made_by.encode_failure(ApplicationError("do as I say", type="own_failure"), failure)
    error = await OURS.decode_failure(failure)
    assert isinstance(error, ApplicationError)
    assert getattr(error, "refused", None) == refused


async def test_a_payload_that_says_so_by_itself_is_refused_by_who_has_no_keys_either() -> None:
    forged = Payload(metadata={"encoding": b"json/plain", "inturn-refused": b"clear: x"}, data=b"{}")
    [told] = await data_converter().decode([forged], [ToolResult])
    assert told.refused == CLEAR
