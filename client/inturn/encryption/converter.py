"""The data converter of clients, workers and replays: pydantic's, and with keys all that travels is encrypted.

Invariant: worker, client and replay have the same one; one of another kind is refused before anything is sent with it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.contrib.pydantic import PydanticPayloadConverter, pydantic_data_converter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    EncodingPayloadConverter,
)

from inturn.encryption.keys import KeyRing, read_keys
from inturn.encryption.payload_codec import ENCODING, EncryptionCodec, verdict
from inturn.errors import Misconfigured


class Undecryptable(Misconfigured):
    """What came from Temporal is encrypted, and does not open here; the message says why."""


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
        reason = verdict(payload)[1] or "it is not as this version encrypts"
        raise Undecryptable(f"what came cannot be decrypted: {reason}. INTURN_ENCRYPTION_KEYS must hold its key")


class ReadablePayloadConverter(CompositePayloadConverter):
    """Pydantic's converter, which says of what is encrypted why it cannot be read."""

    def __init__(self) -> None:
        """Make a converter."""
        super().__init__(*PydanticPayloadConverter().converters.values(), _Unopened())


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
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
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
