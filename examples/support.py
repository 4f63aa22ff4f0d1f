"""A support agent with real tools: `python worker.py examples.support:agents`.

With `--lifespan examples.support:lifespan` the worker opens the shop once at its start and closes it at its end.
"""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from examples.shop import Refusal, Shop
from inturn import Agent, ToolContext, ToolError, tool

APPROVAL_ABOVE = 5_000
"""Cents."""


@asynccontextmanager
async def lifespan() -> AsyncIterator[Shop]:
    """Open what the tools share: they find it in `ctx.resources`."""
    yield Shop.from_environment()


@tool
def look_up_order(order_id: str, ctx: ToolContext) -> dict[str, Any]:
    """Return an order: customer, item, price in cents, status."""
    try:
        return _shop(ctx).order(order_id)
    except Refusal as refusal:
        raise ToolError(str(refusal)) from refusal


@tool
def list_orders(customer: str, ctx: ToolContext) -> list[dict[str, Any]]:
    """List a customer's orders."""
    return _shop(ctx).rows("SELECT order_id, item, status FROM orders WHERE customer = ?", customer)


@tool(timeout=20, idempotent=True, approval=lambda args: args["cents"] > APPROVAL_ABOVE)
def refund(order_id: str, cents: int, ctx: ToolContext) -> str:
    """Pay an order back, in cents. A person approves large amounts."""
    try:
        return _shop(ctx).refund(order_id, cents, key=ctx.key)
    except Refusal as refusal:
        raise ToolError(str(refusal)) from refusal


@tool(idempotent=True)
def add_note(order_id: str, text: str, ctx: ToolContext) -> str:
    """Write a note on an order."""
    try:
        return _shop(ctx).add_note(order_id, text, key=ctx.key)
    except Refusal as refusal:
        raise ToolError(str(refusal)) from refusal


def _shop(ctx: ToolContext) -> Shop:
    return ctx.resources if isinstance(ctx.resources, Shop) else _default_shop()


@functools.cache
def _default_shop() -> Shop:
    return Shop.from_environment()


support = Agent(
    "support",
    model=os.environ.get("SUPPORT_MODEL", "claude-sonnet-5-5"),
    instructions="You are the support of a small shop. Answer in one or two sentences. Look things up before you speak "
    "of them. When somebody asks for a refund or a note, make it with your tool at once, exactly as asked.",
    tools=[look_up_order, list_orders, refund, add_note],
)
agents = [support]
