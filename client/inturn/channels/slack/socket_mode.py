"""Socket Mode: Slack's requests by a connection that we open, so that no public address is needed.

Invariant: an envelope is acknowledged once what it brings is durable, and never before; one that is not comes again by
Slack's own retries. The connection is the proof: it was opened with the app's own token.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import aiohttp

from inturn.channels.call import Call
from inturn.channels.channel import Take

if TYPE_CHECKING:
    from inturn.channels.slack.api import SlackApi

PING: Final = 20.0
"""Seconds between signs of life; a connection without them is opened anew."""
AT_ONCE: Final = 32
"""Envelopes that are being taken at once; Slack waits with the others."""
LONGEST: Final = 30.0
"""Seconds between two tries to connect, at most."""
MAX_MESSAGE: Final = 1 << 20

log = logging.getLogger("inturn.channels.slack")


async def hold(api: SlackApi, take: Take) -> None:
    """Keep a connection open until cancelled."""
    tries = 0
    while True:
        try:
            opened = await api.call("apps.connections.open", {})
            await _serve(str(opened.get("url")), take)
            tries = 0
        except Exception as error:
            tries += 1
            log.warning("Slack's Socket Mode is away (%s); again soon", type(error).__name__)
        await asyncio.sleep(min(2.0**tries - 1, LONGEST))


async def _serve(url: str, take: Take) -> None:
    """Serve one connection until it ends; Slack ends each after some hours, and says so before."""
    slots = asyncio.Semaphore(AT_ONCE)
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, heartbeat=PING, max_msg_size=MAX_MESSAGE) as socket,
        asyncio.TaskGroup() as group,
    ):
        async for message in socket:
            envelope = _envelope(message)
            if envelope.get("type") == "disconnect":
                break
            if isinstance(envelope.get("envelope_id"), str):
                await slots.acquire()
                group.create_task(_taken(socket, envelope, take, slots))


async def _taken(
    socket: aiohttp.ClientWebSocketResponse, envelope: dict[str, Any], take: Take, slots: asyncio.Semaphore
) -> None:
    try:
        reply = await take(_call(envelope))
        if reply.status < 500:
            said = json.loads(reply.body) if reply.body and envelope.get("accepts_response_payload") is True else None
            ack = {"envelope_id": envelope["envelope_id"]} | ({"payload": said} if isinstance(said, dict) else {})
            await socket.send_str(json.dumps(ack))
    except Exception as error:  # not acknowledged: it comes again, and the others go on
        log.info("an envelope was not acknowledged (%s)", type(error).__name__)
    finally:
        slots.release()


def _call(envelope: dict[str, Any]) -> Call:
    """Return the call that Slack would have made: events as JSON, commands and buttons as forms."""
    payload = envelope.get("payload")
    said = payload if isinstance(payload, dict) else {}
    if envelope.get("type") == "events_api":
        return Call(json.dumps(said).encode(), headers={"content-type": "application/json"}, now=time.time())
    form = said if envelope.get("type") == "slash_commands" else {"payload": json.dumps(said)}
    fields = {name: value for name, value in form.items() if isinstance(value, str)}
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return Call(urlencode(fields).encode(), headers=headers, now=time.time())


def _envelope(message: aiohttp.WSMessage) -> dict[str, Any]:
    try:
        value = json.loads(message.data) if message.type is aiohttp.WSMsgType.TEXT else None
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
