"""A person's yes or no to a tool call: `python -m examples.approve dora@shop.example`.

The waiting call holds no worker and no connection: it may take days, through restarts and deploys.
"""

from __future__ import annotations

import asyncio
import sys

from inturn import Approval, ApprovalConflict, Client, Session


async def decide(session: Session, approval: Approval, *, yes: bool, by: str) -> str:
    """Answer; the same answer again is fine, and a second person with another one hears who was first."""
    try:
        await (session.approve if yes else session.deny)(approval.approval_id, by=by)
    except ApprovalConflict as conflict:
        return f"{conflict.answer} already by {conflict.by}"
    return "approved" if yes else "denied"


async def main(by: str) -> None:
    """Ask for each call that waits, in whatever session."""
    async with Client() as client:
        async for approval in client.approvals():
            question = f"{approval.session_id}: {approval.tool} {approval.args}? [y/N] "
            answer = await asyncio.to_thread(input, question)
            session = client.session(approval.session_id)
            print(await decide(session, approval, yes=answer.strip().lower() == "y", by=by))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "me"))
