"""The conversation that a step answers, brought up to what its agent is and what its event says.

Invariant: what the model is told of a changed agent, or once more of an event, is in the log before it is asked.
"""

from __future__ import annotations

from inturn.journal import Journal
from inturn.journal.views.transcript import Transcript
from inturn_activities.failures import OwnFailure
from inturn_activities.model.attempt import ModelAttempt
from inturn_activities.model.conversation.manifest_changes import Memories, added_tools, change_notice
from inturn_activities.model.opening import said_again
from inturn_activities.model.transcript_cache import Transcripts


async def brought_up(
    journal: Journal, transcripts: Transcripts, memories: Memories, attempt: ModelAttempt
) -> Transcript:
    """Return the transcript; where the agent is not what the session froze, the model is told first.

    Raises:
        OwnFailure: The session is another agent's.
    """
    session, agent, claim = attempt.step.session, attempt.agent, attempt.claim
    transcript = await transcripts.load(session, claim.head, after=attempt.known, entries=claim.entries)
    frozen = transcript.manifest or {}
    if frozen.get("agent") != agent.name:
        raise OwnFailure(f"the session's agent is {frozen.get('agent')!r}, not {agent.name!r}")
    # New tools wait for the next turn where calls want their results: the thinking before those is to stay.
    waits = bool(added_tools(frozen, agent)) and (attempt.step.step != "0" or transcript.owes_results)
    if transcript.manifest_hash != agent.manifest_hash and not waits:
        key = f"{attempt.key}/{agent.manifest_hash}"
        note = attempt.entry("system.message", change_notice(frozen, agent), key=key)
        head = await journal.append(attempt.step, claim.token, [note])
        transcript = await transcripts.load(session, head)
    transcript = await memories.told(attempt, transcript)
    if attempt.user_messages and not transcript.awaits(attempt.step.turn.event_id):
        # They are from a run that was terminated, and the answers since have taken them up.
        again = await said_again(journal, attempt.step.turn, attempt.user_messages, claim.head)
        head = await journal.append(attempt.step, claim.token, again)
        transcript = await transcripts.load(session, head)
    return transcript
