"""The data converter of clients, workers and replays: pydantic's, and with keys all that travels is encrypted.

Invariant: worker, client and replay have the same one; one of another kind is refused before anything is sent with it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.common import RawValue
from temporalio.contrib.pydantic import PydanticPayloadConverter, pydantic_data_converter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    EncodingPayloadConverter,
    PayloadConverter,
)
from temporalio.exceptions import ApplicationError

from inturn.encryption.keys import KeyRing, read_keys
from inturn.encryption.payload_codec import BROKEN, CLEAR, ENCODING, EncryptionCodec, verdict
from inturn.errors import Misconfigured
from inturn.wire import Exchanged


class Undecryptable(Misconfigured):
    """What came from Temporal does not open here, or came in clear where there are keys; the message says why."""


class _Unopened(EncodingPayloadConverter):
    """Says why a payload could not be decrypted to whoever wants its value."""

    @property
    def encoding(self) -> str:
        return ENCODING.decode()

    def to_payload(self, value: Any) -> Payload | None:
        return None

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        if type_hint is None:
            return RawValue(payload)  # nobody says that it needs the value: what a lost attempt had reported
        said, reason = verdict(payload)
        if said == BROKEN and isinstance(type_hint, type) and issubclass(type_hint, Exchanged):
            return type_hint()  # who made it had no key, so nothing is lost: the step is taken for not done
        reason = reason or "it is not as this version encrypts"
        raise Undecryptable(f"what came cannot be decrypted: {reason}. INTURN_ENCRYPTION_KEYS must hold its key")


class ReadablePayloadConverter(CompositePayloadConverter):
    """Pydantic's converter, which says of what is encrypted why it cannot be read, and refuses what came in clear.

    A session decides for itself: what it took before there were keys stays taken.
    """

    def __init__(self) -> None:
        """Make a converter."""
        super().__init__(*PydanticPayloadConverter().converters.values(), _Unopened())

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        """Return values; those of steps say whether they may be taken.

        Raises:
            Undecryptable: It cannot be decrypted; or it came in clear, to somebody else.
        """
        values = super().from_payloads(payloads, type_hints)
        hints = type_hints or []
        for payload, value, hint in zip(payloads, values, [*hints, *[None] * len(values)], strict=False):
            said, reason = verdict(payload)
            if isinstance(value, Exchanged):
                value.refused = said or None
            elif said == CLEAR and hint not in (None, RawValue) and not workflow.in_workflow():
                raise Undecryptable(f"what came is not taken: {reason}")
        return values


class _Failures(DefaultFailureConverterWithEncodedAttributes):
    """Encrypts what failures say, and tells in `refused` of one that somebody without the keys made why it is none."""

    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        error = super().from_failure(failure, payload_converter)
        if isinstance(error, ApplicationError):
            sealed = failure.HasField("encoded_attributes")
            error.refused = verdict(failure.encoded_attributes)[0] if sealed else CLEAR  # type: ignore[attr-defined]
        return error


_CLEAR = dataclasses.replace(pydantic_data_converter, payload_converter_class=ReadablePayloadConverter)


def data_converter(keys: KeyRing | None = None) -> DataConverter:
    """Return the data converter that sessions need: for `temporalio.client.Client.connect`, and for a `Replayer`.

    Args:
        keys: With what to encrypt; `None`: as the environment says, `INTURN_ENCRYPTION_KEYS`.

    Raises:
        Misconfigured: The environment's keys cannot be read.
    """
    ring = keys or read_keys()
    if ring is None:
        return _CLEAR
    return dataclasses.replace(
        _CLEAR,
        payload_codec=EncryptionCodec(ring),
        failure_converter_class=_Failures,
    )


def keys_of(converter: DataConverter) -> KeyRing | None:
    """Return the keys that a converter encrypts with; `None` where it does not."""
    codec = converter.payload_codec
    return codec.ring if isinstance(codec, EncryptionCodec) else None


def check_converter(converter: DataConverter) -> None:
    """Check the converter of a Temporal client that a user connected.

    Raises:
        Misconfigured: The environment has keys, and it does not use them.
    """
    ring = read_keys()
    if ring is None or keys_of(converter) is not None:
        return
    raise Misconfigured(
        "INTURN_ENCRYPTION_KEYS is set, and the Temporal client that was given does not encrypt: connect it with "
        "data_converter=inturn.encryption.data_converter()"
    )
