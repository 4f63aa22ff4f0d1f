"""What became of an approval that somebody clicked: the first answer counts, whoever gave it.

Invariant: what a card tells is what the session knows; only where nobody is there to say it, it is what the click said.
"""

from __future__ import annotations

import asyncio
import time

from inturn.channels import Click
from inturn.channels.inbound import Answered
from inturn.client.control.approvals import ApprovalReader
from inturn.client.session import Session
from inturn.errors import ApprovalConflict, InturnError
from inturn_gateway import bounds


async def answer(session: Session, click: Click, via: str, *, wait: bool) -> None:
    """Answer an approval as a click says.

    Raises:
        ApprovalConflict: It has another answer.
    """
    said = session.approve if click.yes else session.deny
    await said(click.approval_id, by=click.by, via=via, reason=click.reason, wait=wait)


async def outcome(session: Session, click: Click, via: str) -> Answered:
    """Return the answer that counts, and whose it is, of an approval that a click has answered."""
    said = Answered("approved" if click.yes else "denied", click.by, click.reason, time.time())
    reader = ApprovalReader(session._transport)
    try:
        async with asyncio.timeout(bounds.OUTCOME_WITHIN):
            await answer(session, click, via, wait=True)  # once more, to hear whether another one was first
            while True:
                if (known := await reader.answer(click.approval_id)) is not None:
                    return answered(known.answer, known.by)
                await asyncio.sleep(bounds.OUTCOME_POLL)
    except ApprovalConflict as error:
        return answered(error.answer, error.by, str(error))
    except (TimeoutError, InturnError):
        return said


def answered(answer: str, by: str | None, reason: str | None = None) -> Answered:
    """Return an answer as the journal or a conflict has it."""
    match answer:
        case "approved" | "denied" | "expired":
            return Answered(answer, by)
        case _:
            return Answered("refused", reason=reason)
