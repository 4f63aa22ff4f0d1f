"""Content blocks as the Messages API takes them from users and tools.

Invariant: what comes out of here the API takes by its shape, whatever came in: only fields that it knows, no cache
markers (they are the request's own, and four are all it may hold), no blank texts. A block that cannot be sent is named
in a text. No file of the provider's is named: its id opens it to whoever shares the account, so to every tenant.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, cast

Block = dict[str, Any]

TEXT: Final = ("text",)
CONTENT: Final = ("text", "image", "document")
IMAGE_TYPES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_PAGES: Final = frozenset({"application/pdf"})
_PLAIN: Final = frozenset({"text/plain"})
_URL: Final = re.compile(r"https?://\S+")
REFERRED: Final = "inturn"
"""The type of a source that names what was uploaded."""
_REFERENCE: Final = re.compile(r"sha256:[0-9a-f]{64}")
_NOTED: Final = {"media_type": str, "size": int, "measure": int}
"""What its entry says of a reference, once that is settled."""
_WITHIN: Final = 4
"""Blocks within each other in which a file is looked for; no block that can be sent has as many."""
_FIELDS: Final = {
    "text": {"type", "text"},
    "image": {"type", "source"},
    "document": {"type", "source", "title", "context"},
}
_DROPPED: Final = frozenset({"cache_control", "citations"})
"""Fields that the API knows and that do not travel: citations have to be on for all documents of a request or none."""


def text(value: str) -> Block:
    """Return a text block."""
    return {"type": "text", "text": value}


def content_blocks(content: object, types: Collection[str] = CONTENT) -> list[Block]:
    """Return a content's blocks of some types as the API takes them."""
    if isinstance(content, str):
        content = [text(content)]
    made = [_made(item, types) for item in cast("Sequence[object]", content)] if isinstance(content, list) else []
    return [block for block in made if block is not None]


def are_blocks(value: object) -> bool:
    """Return whether a value is a list of content blocks, all fields of which the API knows."""
    if not isinstance(value, list) or not value:
        return False
    return all(_is_block(item) for item in cast("list[object]", value))


def names_file(block: object, depth: int = _WITHIN) -> bool:
    """Return whether a block, or one within it, shows a file that the provider keeps."""
    if not isinstance(block, dict):
        return False
    given = cast("Block", block)
    source: object = given.get("source")
    kept = isinstance(source, dict) and source.get("type") == "file"
    return kept or (depth > 0 and any(names_file(item, depth - 1) for item in inside(given)))


def misnames(block: object, depth: int = _WITHIN) -> bool:
    """Return whether a block, or one within it, would show a reference and has none that can be."""
    if not isinstance(block, dict):
        return False
    given = cast("Block", block)
    source: object = given.get("source")
    refers = isinstance(source, dict) and source.get("type") == REFERRED and not is_reference(source.get("ref"))
    return refers or (depth > 0 and any(misnames(item, depth - 1) for item in inside(given)))


def is_reference(value: object) -> bool:
    """Return whether a value can name something that was uploaded."""
    return isinstance(value, str) and _REFERENCE.fullmatch(value) is not None


def reference_of(block: Mapping[str, Any]) -> str | None:
    """Return the reference that a block shows; `None`: it shows none."""
    source = block.get("source")
    named = source.get("ref") if isinstance(source, dict) and source.get("type") == REFERRED else None
    return named if is_reference(named) else None


def inside(block: Mapping[str, Any]) -> list[object]:
    """Return what a block holds within it, of its own or of its source's: a result's and a document's blocks."""
    source = block.get("source")
    held = [block.get("content"), source.get("content") if isinstance(source, dict) else None]
    return [item for items in held if isinstance(items, list) for item in items]


def _is_block(item: object) -> bool:
    if not isinstance(item, dict):
        return False
    block = cast("Block", item)
    kind = block.get("type")
    if kind not in CONTENT or not block.keys() <= _FIELDS[str(kind)] | _DROPPED:
        return False
    if kind == "text":
        return isinstance(block.get("text"), str)
    return _checked(block) is not None


def _made(item: object, types: Collection[str]) -> Block | None:
    if not isinstance(item, dict):
        return None
    block = cast("Block", item)
    kind = block.get("type")
    if not isinstance(kind, str) or kind not in types or kind not in CONTENT:
        return None
    if kind == "text":
        said = block.get("text")
        return text(said) if isinstance(said, str) and said.strip() else None
    return _checked(block) or text(f"[{kind}: it cannot be shown]")


def _checked(block: Block) -> Block | None:
    """Return an image or a document with the fields that the API takes; `None` where it would take none such."""
    image = block["type"] == "image"
    source = _source(block.get("source"), IMAGE_TYPES if image else _PAGES, nested=not image)
    if source is None:
        return None
    named = {name: block[name] for name in ("title", "context") if not image and _says(block.get(name))}
    return {"type": block["type"], "source": source, **named}


def _source(source: object, media: Collection[str], *, nested: bool) -> Block | None:
    if not isinstance(source, dict):
        return None
    given = cast("Block", source)
    kind, data = given.get("type"), given.get("data")
    if kind == "base64" and given.get("media_type") in media and (found := _base64(data)):
        return {"type": kind, "media_type": given["media_type"], "data": found}
    if kind == "url" and _matches(_URL, given.get("url")):
        return {"type": kind, "url": given["url"]}
    if nested and kind == "text" and given.get("media_type") in _PLAIN and _says(data):
        return {"type": kind, "media_type": "text/plain", "data": data}
    if kind == REFERRED and is_reference(given.get("ref")):
        return {"type": kind, "ref": given["ref"], **_noted(given)}
    if nested and kind == "content" and (held := content_blocks(given.get("content"), ("text", "image"))):
        return {"type": kind, "content": held}
    return None


def _noted(source: Block) -> Block:
    return {name: source[name] for name, type_ in _NOTED.items() if type(source.get(name)) is type_}


def _base64(data: object) -> str | None:
    if not isinstance(data, str):
        return None
    packed = "".join(data.split())
    try:
        return packed if base64.b64decode(packed, validate=True) else None
    except (binascii.Error, ValueError):
        return None


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _says(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
