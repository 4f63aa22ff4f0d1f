"""A webhook that answers at once: what it acknowledged is durable, and a redelivery is no second turn.

uvicorn examples.webhook:app
curl -H 'x-delivery: d1' -d '{"order": "1001", "text": "Where is it?"}' http://localhost:8000/shop
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from inturn import Client, InvalidEvent, Unavailable


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Connect once."""
    async with Client() as client:
        app.state.client = client
        yield


async def shop(request: Request) -> Response:
    """Take a delivery. `send` needs no worker: it returns when the server has the event."""
    client: Client = request.app.state.client
    body = await request.json()
    try:
        session = client.session(f"order-{body['order']}", agent="support")
        receipt = await session.send(body["text"], event_id=request.headers["x-delivery"], source="webhook")
    except (InvalidEvent, KeyError) as error:
        return JSONResponse({"error": str(error)}, status_code=400)  # sending it again would not help
    except Unavailable:
        return Response(status_code=503, headers={"retry-after": "5"})  # the sender comes again, with the same id
    return JSONResponse({"event_id": receipt.event_id}, status_code=202)


app = Starlette(routes=[Route("/shop", shop, methods=["POST"])], lifespan=lifespan)
