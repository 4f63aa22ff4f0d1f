"""What the strict Claude says that a request used, read without the product's own reading."""

from __future__ import annotations

from typing import Any

from inturn.values import Usage


def counted(told: dict[str, Any]) -> Usage:
    """Return the counts that its log has of a request."""
    return Usage(
        input_tokens=told["input_tokens"],
        output_tokens=told["output_tokens"],
        cache_read_tokens=told["cache_read_input_tokens"],
        cache_write_tokens=told["cache_creation_input_tokens"],
        cache_write_1h_tokens=told["cache_creation"]["ephemeral_1h_input_tokens"],
    )
