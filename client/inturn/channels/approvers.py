"""Who may answer an approval by a button.

Invariant: what names a person is the platform's proof; what a button carries only says what is answered. Nobody may
answer unless it was said who may, and no bot ever.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Collection
from typing import TypeAlias

from inturn.channels.inbound import Click

Who: TypeAlias = str | Collection[str] | Callable[[Click], bool | Awaitable[bool]] | None


class Approvers:
    """Those who may.

    Attributes:
        four_eyes: Who asked for the turn may not answer its approvals.
    """

    def __init__(self, who: Who = None, *, four_eyes: bool = False) -> None:
        """Let these answer.

        Args:
            who: Ids of persons (`slack:T1:U7`, or `U7` alone) or of groups, a function of the `Click`, or `"anyone"`.
            four_eyes: See the class.

        Raises:
            ValueError: A text that is no list.
        """
        if isinstance(who, str) and who != "anyone":
            raise ValueError('approvers= is a list of ids, a function, or "anyone"')
        self.four_eyes = four_eyes
        self._who = who

    @property
    def anybody(self) -> bool:
        """Whether there is anybody who may: without, cards have no buttons."""
        return self._who is not None and self._who != [] and self._who != ()

    async def refuses(self, click: Click, mark: str) -> str | None:
        """Return why a click does not count; `None`: it does. `mark` is the clicker's, as cards have the asker's."""
        if click.bot:
            return "bots answer no approvals"
        if self.four_eyes and click.asker and hmac.compare_digest(click.asker.encode(), mark.encode()):
            return "whoever asked for it may not answer"
        return None if await self._may(click) else "you may not answer this"

    async def _may(self, click: Click) -> bool:
        who = self._who
        if who is None:
            return False
        if who == "anyone":
            return True
        if callable(who):
            judged = who(click)
            return bool(await judged if isinstance(judged, Awaitable) else judged)
        return not {click.by, click.by.rpartition(":")[2], *click.groups}.isdisjoint(who)


def mark(secret: str, person: str | None) -> str:
    """Return what stands for a person on a card: eight hex digits that nobody else can work out."""
    if not person:
        return ""
    return hmac.new(secret.encode(), b"asker:" + person.encode(), hashlib.sha256).hexdigest()[:8]
