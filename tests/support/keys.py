"""Keys of encryption for tests, and clients that have some."""

from __future__ import annotations

import base64
import hashlib

import temporalio.client
from temporalio.common import HeaderCodecBehavior
from temporalio.contrib.pydantic import pydantic_data_converter

from inturn.encryption import data_converter, parse_keys


def keys(*names: str) -> str:
    """Return the setting for keys of these names; of one name it is always the same key."""
    return ",".join(f"{name}:{base64.b64encode(hashlib.sha256(name.encode()).digest()).decode()}" for name in names)


async def connected(address: str, *names: str, namespace: str = "default") -> temporalio.client.Client:
    """Return a Temporal client that encrypts with these keys; without any it does not."""
    if not names:
        return await temporalio.client.Client.connect(
            address, namespace=namespace, data_converter=pydantic_data_converter
        )
    converter, headers = data_converter(parse_keys(keys(*names))), HeaderCodecBehavior.CODEC
    return await temporalio.client.Client.connect(
        address, namespace=namespace, data_converter=converter, header_codec_behavior=headers
    )
