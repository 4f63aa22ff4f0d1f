"""Whose fault is it: does an event pay for what the account, or the session's length, did?"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from inturn.testing import Fault
from tests.adversary.stage import Say, Trigger, strict

_NO_CREDIT: Final = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing."
ACCOUNT: Final[dict[str, Any]] = {
    **{status: status for status in ("401", "402", "403", "404", "spend_limit")},
    "no credit": Fault(status=400, message=_NO_CREDIT),
}


async def account(fault: Any, say: Say) -> None:
    async with strict(say) as stage:
        stage.server.faults(fault)
        await stage.ask("e1")


async def overflow(say: Say) -> None:
    async with strict(say, context_window=600) as stage:
        for n in range(1, 8):
            await stage.ask(f"e{n}", "x" * 300)


TRIGGERS: Final[dict[str, Trigger]] = {
    **{f"the account: {name}": partial(account, fault) for name, fault in ACCOUNT.items()},
    "a context window that is full": overflow,
}
