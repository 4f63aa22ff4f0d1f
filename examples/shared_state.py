"""What sessions share: a stock of vouchers, each given to one customer, however many ask at once.

`python worker.py examples.shared_state:agents` is the worker, `python -m examples.shared_state SPRING-1 SPRING-2` fills
the stock. A worker that dies in the middle gives no voucher twice and loses none.
"""

from __future__ import annotations

import asyncio
import sys

from inturn import Agent, Client, ToolContext, ToolError, tool


@tool(idempotent=True)
async def give_voucher(ctx: ToolContext) -> str:
    """Give the customer a voucher; one for each conversation."""
    if not await ctx.state.put_if_absent("voucher", "given"):
        raise ToolError("This customer has one already.")
    claim = await ctx.shared.claim("vouchers", lease=60)
    if claim is None:
        await ctx.state.delete("voucher")
        raise ToolError("No vouchers are left.")
    await ctx.shared.complete(claim)
    return str(claim.item)


agents = [Agent("shop", model="claude-sonnet-5-5", instructions="Be generous.", tools=[give_voucher])]


async def main(codes: list[str]) -> None:
    """Fill the stock; a script that runs twice puts each code in once."""
    async with Client() as client:
        for code in codes:
            await client.shared.push("vouchers", code, key=code)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
