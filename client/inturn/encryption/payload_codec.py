"""Payloads as they travel to Temporal and back: encrypted, and bound to their namespace and workflow.

Rules:
  1. Decoding never raises: an activation that cannot be decoded would fail the workflow's task for ever. What does not
     open stays as it is, and says in `REFUSED` why; who reads it decides.
  2. What came in clear says so, too: whether it may be read depends on what it is.
  3. A payload names what it is bound to in clear, and that is authenticated: whoever knows where it stands compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    ActivitySerializationContext,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)

from inturn.encryption.box import Broken, Locked, is_box, seal, shown, unseal
from inturn.encryption.keys import KeyRing

ENCODING: Final = b"binary/inturn"
REFUSED: Final = "inturn-refused"
"""Metadata that only this codec's decoding writes: the verdict, and after a colon the reason."""
CLEAR: Final = "clear"
LOCKED: Final = "locked"
BROKEN: Final = "broken"
UNREADABLE: Final = (
    "it is encrypted with a key that no worker had when it came. To do: redrive it where that key is, too"
)
"""What is said of a signal that is set aside for want of its key."""
_REPLAY: Final = "ReplayNamespace"
"""What a `Replayer` calls the namespace that it was not told: a history does not say where it is from."""
_CLEAR_REASON: Final = "it came in clear, and only what is encrypted is taken (INTURN_ENCRYPTION_KEYS)"


class EncryptionCodec(PayloadCodec, WithSerializationContext):
    """Encrypts payloads with the first key of a ring, and decrypts them with any."""

    def __init__(self, ring: KeyRing, *, namespace: str = "", workflow_id: str = "") -> None:
        """Bind to a namespace and a workflow; empty: what is encoded is not bound, and what is decoded not compared."""
        self.ring = ring
        self.namespace = namespace
        self.workflow_id = workflow_id

    def with_context(self, context: SerializationContext) -> EncryptionCodec:
        """Return the codec of what a payload belongs to."""
        match context:
            case WorkflowSerializationContext() | ActivitySerializationContext():
                namespace = "" if context.namespace == _REPLAY else context.namespace
                return EncryptionCodec(self.ring, namespace=namespace, workflow_id=context.workflow_id or "")
            case _:
                return self

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Return payloads encrypted."""
        return [self._sealed(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Return payloads as they were before they were encrypted, or with what keeps them from being read."""
        return [self._opened(payload) for payload in payloads]

    def _sealed(self, payload: Payload) -> Payload:
        key, bound = self.ring.first, (self.namespace, self.workflow_id)
        data = seal(key, ("payload", *bound), _place(key.id, *bound), payload.SerializeToString())
        metadata = {"encoding": ENCODING, "key": key.id.encode()}
        metadata |= {
            name: value.encode() for name, value in zip(("namespace", "workflow"), bound, strict=True) if value
        }
        return Payload(metadata=metadata, data=data)

    def _opened(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != ENCODING:
            return _refused(payload, CLEAR, _CLEAR_REASON)
        key_id, namespace, workflow_id = (_text(payload, name) for name in ("key", "namespace", "workflow"))
        try:
            self._compare(namespace, workflow_id)
            place = _place(key_id, namespace, workflow_id)
            text = unseal(self.ring, key_id, ("payload", namespace, workflow_id), place, payload.data)
            return Payload.FromString(text)
        except Locked as error:
            return _refused(payload, LOCKED, str(error))
        except (Broken, ValueError) as error:
            return _refused(payload, BROKEN, str(error))

    def _compare(self, namespace: str, workflow_id: str) -> None:
        """Check that a payload belongs here; one that a codec server encoded may be bound to the namespace alone."""
        if self.namespace and namespace != self.namespace:
            raise Broken(f"it is encrypted for another namespace than {self.namespace!r}")
        if self.workflow_id and workflow_id not in ("", self.workflow_id):
            raise Broken(f"it is encrypted for another workflow than {self.workflow_id!r}")


def verdict(payload: Payload) -> tuple[str, str]:
    """Return what keeps a decoded payload from being read and why; empty where nothing does."""
    if (marked := payload.metadata.get(REFUSED)) is not None:
        said, _, reason = marked.decode("utf-8", "replace").partition(": ")
        return said, reason
    if payload.metadata.get("encoding") == ENCODING and is_box(payload.data):
        return LOCKED, "it is encrypted, and there are no keys here (INTURN_ENCRYPTION_KEYS)"
    return "", ""


def key_named(payload: Payload) -> str:
    """Return the key that a payload is encrypted with, as it says itself."""
    return shown(_text(payload, "key"))


def _refused(payload: Payload, said: str, reason: str) -> Payload:
    marked = Payload()
    marked.CopyFrom(payload)
    marked.metadata[REFUSED] = f"{said}: {reason}".encode()
    return marked


def _place(*parts: str) -> bytes:
    return b"".join(len(part.encode()).to_bytes(4) + part.encode() for part in parts)


def _text(payload: Payload, name: str) -> str:
    return payload.metadata.get(name, b"").decode("utf-8", "replace")
