"""An attempt that stands still right behind its claim, as on a machine that froze there."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal

from inturn.journal import Journal


@dataclass
class FrozenClaim:
    """A claim that was granted, and whose attempt does not know so yet."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    thawed: asyncio.Event = field(default_factory=asyncio.Event)


def freeze_next_claim(journal: Journal, name: Literal["claim_model", "claim_call"]) -> FrozenClaim:
    """Have the next attempt that claims stand still with its claim until it is `thawed`; later ones do not."""
    claim, made = getattr(journal, name), FrozenClaim()

    async def freezes(*args: Any, **options: Any) -> Any:
        claimed = await claim(*args, **options)
        setattr(journal, name, claim)
        made.reached.set()
        await made.thawed.wait()
        return claimed

    setattr(journal, name, freezes)
    return made
