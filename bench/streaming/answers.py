"""The model of the streaming rows: `python -m bench.streaming.answers` streams 200 pieces over 10 s to whoever asks.

Invariant: it does the least that a stream takes, since it shares the machine with what is measured; and when an answer
ended is noted by this machine's clock before its last bytes leave.

`GET /ends` tells when each answer ended, by what the user said last: seconds since the epoch.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import Any, Final

PIECES: Final = 200
SECONDS: Final = 10.0
SLOW: Final = re.compile(rb"stream-[0-9a-z-]+")
"""What a user says who gets a slow answer; everybody else gets one at once."""
PIECE: Final = "twenty letters here "


def event(kind: str, **fields: Any) -> bytes:
    """Return an event of the stream, as a chunk of the body."""
    data = f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nrequest-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n"
)
MESSAGE: Final[dict[str, Any]] = {
    "id": "msg_bench",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5-5",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": {"input_tokens": 9, "output_tokens": 1},
}
BEGIN: Final = event("message_start", message=MESSAGE) + event(
    "content_block_start", index=0, content_block={"type": "text", "text": ""}
)
DELTA: Final = event("content_block_delta", index=0, delta={"type": "text_delta", "text": PIECE})
END: Final = (
    event("content_block_stop", index=0)
    + event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 900})
    + event("message_stop")
    + b"0\r\n\r\n"
)


class Server:
    """Answers, and remembers when each one ended."""

    def __init__(self) -> None:
        self._ends: dict[str, float] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of a connection."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
                body = await reader.readexactly(int(size[1])) if size else b""
                await self._answer(head.split(b" ", 2)[1], body, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, path: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        if path.startswith(b"/v1/messages"):
            await self._stream(SLOW.findall(body)[-1:], writer)
        elif path == b"/ends":
            _whole(writer, b"200 OK", json.dumps(self._ends).encode())
        else:
            _whole(writer, b"404 Not Found", b"{}")

    async def _stream(self, slow: list[bytes], writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + BEGIN)
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(1, PIECES + 1) if slow else ():
            await asyncio.sleep(began + number * SECONDS / PIECES - loop.time())
            writer.write(DELTA)
        for said in slow:
            self._ends[said.decode()] = time.time()
        writer.write((b"" if slow else DELTA) + END)
        await writer.drain()


def _whole(writer: asyncio.StreamWriter, status: bytes, body: bytes) -> None:
    writer.write(b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body))


async def main() -> None:
    """Serve until SIGTERM."""
    server = await asyncio.start_server(Server().serve, "127.0.0.1", 0, backlog=1_000, limit=2**22)
    async with server:
        print(f"answers ready http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
