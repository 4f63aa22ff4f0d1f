"""The payload codec: what goes through it, what it refuses, and that decoding never raises."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.common import RawValue
from temporalio.converter import ActivitySerializationContext, SerializationContext, WorkflowSerializationContext
from temporalio.exceptions import ApplicationError

from inturn.encryption import KeyRing, data_converter
from inturn.encryption.converter import Undecryptable
from inturn.encryption.keys import Key
from inturn.encryption.payload_codec import BROKEN, CLEAR, LOCKED, EncryptionCodec, verdict

HERE = WorkflowSerializationContext(namespace="prod", workflow_id="acme/s1")
A, B, IMPOSTOR = (Key(name, material * 32) for name, material in [("a", b"a"), ("b", b"b"), ("a", b"x")])
JSON = Payload(metadata={"encoding": b"json/plain"}, data=b'{"content": "hello"}')


def codec(*keys: Key, context: SerializationContext = HERE) -> EncryptionCodec:
    return EncryptionCodec(KeyRing(keys or (A,))).with_context(context)


async def sealed(payload: Payload = JSON, by: EncryptionCodec | None = None) -> Payload:
    return (await (by or codec()).encode([payload]))[0]


async def opened(payload: Payload, by: EncryptionCodec | None = None) -> Payload:
    return (await (by or codec()).decode([payload]))[0]


@pytest.mark.promise("SEC-2")
async def test_what_is_encrypted_shows_its_key_and_its_place_and_nothing_else() -> None:
    payload = await sealed()
    assert dict(payload.metadata) == {
        "encoding": b"binary/inturn",
        "key": b"a",
        "namespace": b"prod",
        "workflow": b"acme/s1",
    }
    assert b"hello" not in payload.data
    assert await opened(payload) == JSON
    assert (await sealed()).data != payload.data, "a fresh nonce each time"


async def test_an_activity_reads_what_its_workflow_wrote() -> None:
    context = ActivitySerializationContext("prod", "step", "call_model", "q", "acme/s1", "Session", False)
    assert await opened(await sealed(), codec(context=context)) == JSON


@pytest.mark.promise("SEC-2")
@pytest.mark.parametrize(
    "context",
    [WorkflowSerializationContext("prod", "acme/s2"), WorkflowSerializationContext("test", "acme/s1")],
)
async def test_what_was_encrypted_for_elsewhere_is_refused(context: WorkflowSerializationContext) -> None:
    said, reason = verdict(await opened(await sealed(), codec(context=context)))
    assert said == BROKEN
    assert "another" in reason


@pytest.mark.promise("SEC-2")
@pytest.mark.parametrize("field", ["workflow", "namespace", "key"])
async def test_a_payload_that_names_another_place_than_it_was_encrypted_for_does_not_open(field: str) -> None:
    payload = await sealed(by=codec(A, B))
    payload.metadata[field] = b"b" if field == "key" else b"elsewhere"
    context = WorkflowSerializationContext(
        "elsewhere" if field == "namespace" else "prod", "elsewhere" if field == "workflow" else "acme/s1"
    )
    assert verdict(await opened(payload, codec(A, B, context=context)))[0] in (BROKEN, LOCKED)


@given(st.integers(0, 200), st.integers(1, 255))
async def test_no_changed_byte_opens(place: int, by: int) -> None:
    payload = await sealed()
    data = bytearray(payload.data)
    data[place % len(data)] ^= by
    payload.data = bytes(data)
    assert verdict(await opened(payload))[0] in (BROKEN, LOCKED)


@given(st.dictionaries(st.sampled_from(["encoding", "key", "namespace", "workflow", "x"]), st.binary()), st.binary())
async def test_whatever_comes_in_is_decoded_to_something(metadata: dict[str, bytes], data: bytes) -> None:
    for one in (metadata, metadata | {"encoding": b"binary/inturn"}):
        payload = await opened(Payload(metadata=one, data=data))
        assert payload.data == data
        assert verdict(payload)[0] in (CLEAR, BROKEN, LOCKED)


async def test_every_key_of_the_ring_decrypts_and_a_key_that_is_gone_is_named() -> None:
    old = await sealed(by=codec(A))
    assert await opened(old, codec(B, A)) == JSON
    assert verdict(await opened(old, codec(B))) == (
        LOCKED,
        "it is encrypted with key 'a', which is not among the keys here",
    )
    assert verdict(await opened(old, codec(IMPOSTOR)))[0] == LOCKED


async def test_what_is_encrypted_says_so_where_there_are_no_keys() -> None:
    assert verdict(await sealed())[0] == LOCKED
    assert verdict(Payload(metadata={"encoding": b"binary/inturn"}, data=b"made up"))[0] == ""


@pytest.mark.promise("SEC-2")
async def test_what_came_in_clear_is_marked() -> None:
    payload = await opened(JSON)
    assert verdict(payload)[0] == CLEAR
    assert payload.data == JSON.data
    assert "inturn-refused" not in JSON.metadata


@pytest.mark.promise("SEC-2")
async def test_a_failure_hides_its_message_its_trace_and_its_details() -> None:
    converter = data_converter(KeyRing((A,))).with_context(HERE)
    failure = Failure()
    try:
        raise ApplicationError("the secret message", "secret detail") from ValueError("secret cause")
    except ApplicationError as error:
        await converter.encode_failure(error, failure)
    assert b"secret" not in failure.SerializeToString()
    read = await converter.decode_failure(failure)
    assert isinstance(read, ApplicationError)
    assert (read.message, read.details) == ("the secret message", ("secret detail",))


async def test_a_value_that_cannot_be_decrypted_says_why() -> None:
    payload = await sealed()
    converter = data_converter(KeyRing((B,))).with_context(HERE)
    with pytest.raises(Undecryptable, match="key 'a', which is not among the keys"):
        await converter.decode([payload], [dict])
    assert isinstance((await converter.decode([payload]))[0], RawValue), "nobody asked for its value"


def test_without_keys_nothing_is_encrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INTURN_ENCRYPTION_KEYS", raising=False)
    converter = data_converter()
    assert converter.payload_codec is None
    assert converter.failure_converter_class is dataclasses.replace(converter).failure_converter_class
