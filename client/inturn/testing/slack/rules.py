"""What Slack refuses of a request, and by which word.

Invariant: what is not known to be right is refused; a limit is Slack's own.
"""

from __future__ import annotations

import re
from typing import Any, Final

MARKDOWN: Final = 12_000
TEXT: Final = 40_000
SECTION: Final = 3_000
BLOCKS: Final = 50
VALUE: Final = 2_000
FIELDS: Final = {
    "chat.postMessage": {
        *("channel", "text", "markdown_text", "blocks", "thread_ts", "unfurl_links", "unfurl_media", "metadata"),
    },
    "chat.update": {"channel", "ts", "text", "blocks", "markdown_text", "metadata"},
    "chat.postEphemeral": {"channel", "user", "text", "blocks", "thread_ts"},
    "auth.test": set[str](),
    "apps.connections.open": set[str](),
}
PING: Final = re.compile(r"<[!@#][^>]*>")
ADDRESS: Final = re.compile(r"https?://")


class No(Exception):
    """Slack's `ok: false`, with its word."""


def check(method: str, body: dict[str, Any]) -> None:
    """Refuse a request that Slack would refuse.

    Raises:
        No: With Slack's word.
    """
    if unknown := sorted(body.keys() - FIELDS[method]):
        raise No(f"invalid_arguments: {unknown}")
    if not method.startswith("chat."):
        return
    if "markdown_text" in body and ("text" in body or "blocks" in body):
        raise No("markdown_text_conflict")
    if not (body.get("text") or body.get("markdown_text") or body.get("blocks")):
        raise No("no_text")
    if len(str(body.get("markdown_text", ""))) > MARKDOWN or len(str(body.get("text", ""))) > TEXT:
        raise No("msg_too_long")
    for text in (body.get("markdown_text", ""), body.get("text", "")):
        text.encode("utf-16")
    _blocks(body.get("blocks", []))


def _blocks(blocks: Any) -> None:
    if not isinstance(blocks, list) or len(blocks) > BLOCKS:
        raise No("invalid_blocks")
    for block in blocks:
        match block.get("type"):
            case "section":
                text = block["text"]["text"]
                if not 0 < len(text) <= SECTION:
                    raise No("invalid_blocks")
            case "actions":
                _buttons(block["elements"])
            case "context":
                if not 1 <= len(block["elements"]) <= 10:
                    raise No("invalid_blocks")
            case _:
                raise No("invalid_blocks")


def _buttons(elements: Any) -> None:
    if not 1 <= len(elements) <= 25:
        raise No("invalid_blocks")
    for element in elements:
        known = {"type", "action_id", "text", "value", "style", "url"}
        if element["type"] != "button" or not element.keys() <= known:
            raise No("invalid_blocks")
        if len(element.get("value", "")) > VALUE or len(element["text"]["text"]) > 75:
            raise No("invalid_blocks")


def pings(body: dict[str, Any]) -> list[str]:
    """Return what of a message would call people."""
    texts = [body.get("text", ""), body.get("markdown_text", "")]
    texts += [block["text"]["text"] for block in body.get("blocks", []) if block.get("type") == "section"]
    return [found for text in texts for found in PING.findall(text)]


def unfurls(body: dict[str, Any]) -> bool:
    """Whether a message would show what is behind an address."""
    text = f"{body.get('text', '')}{body.get('markdown_text', '')}"
    off = body.get("unfurl_links") is False and body.get("unfurl_media") is False
    return bool(ADDRESS.search(text)) and not off
