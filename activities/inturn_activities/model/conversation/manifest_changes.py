"""How a changed agent, or a change of what it remembers, reaches a session that has begun.

Invariant: what a session froze never changes; the change is said in an entry of its own, once. Tools that are new are
declared with it, behind those that were: from then on requests have them, and answers from before it lose their
thinking, which some model may take for bound to the tools: this one, or one that the session comes back to. The
provider's cache of the conversation is written anew then, once. An agent without a memory costs no read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from inturn.agents import Agent
from inturn.journal import Journal
from inturn.journal.views.transcript import Transcript
from inturn.keys import StepKey
from inturn.turns.memory import Shown, frozen, name_of, notice, system_of
from inturn_activities.model.attempt import ModelAttempt
from inturn_activities.model.transcript_cache import Transcripts


def added_tools(before: Mapping[str, Any], agent: Agent) -> list[dict[str, Any]]:
    """Return the declarations of the agent's tools that the session's manifest does not have."""
    known = {tool["name"] for tool in before.get("tools") or []}
    return [tool for tool in agent.manifest()["tools"] if tool["name"] not in known]


def change_notice(before: Mapping[str, Any], agent: Agent) -> dict[str, Any]:
    """Return the body of the `system.message` that tells the model what holds from here on.

    It says all that holds, not what is different: whoever reads it need not know the changes before it.
    """
    now, added = agent.manifest(), added_tools(before, agent)
    declared = {tool["name"]: tool for tool in [*(before.get("tools") or []), *added]}
    offered = {tool["name"]: tool for tool in now["tools"]}
    lines = ["Your configuration was changed. From here on these instructions hold:", now["system"] or "(none)"]
    if declared:
        usable = ", ".join(sorted(declared.keys() & offered.keys())) or "none"
        lines.append(f"Of your tools you may use: {usable}. Calling another one gives an error.")
    for name in sorted(n for n in declared.keys() & offered.keys() if declared[n] != offered[n]):
        lines.append(f"The tool {name} is now: {_described(offered[name])}")
    body: dict[str, Any] = {"text": "\n\n".join(lines), "manifest": agent.manifest_hash}
    return body | ({"tools": added} if added else {})


def _described(tool: Mapping[str, Any]) -> str:
    if "input_schema" not in tool:  # one of the provider's own
        return to_json(tool).decode()
    return f"{tool['description']}\nIts input: {to_json(tool['input_schema']).decode()}"


@dataclass(frozen=True, slots=True)
class Memories:
    """Reads the documents of agents."""

    journal: Journal
    transcripts: Transcripts

    @staticmethod
    def system(frozen: Mapping[str, Any]) -> str:
        """Return the system prompt of a session that froze this."""
        return system_of(frozen)

    async def frozen(self, agent: Agent, step: StepKey) -> dict[str, Any] | None:
        """Return what a session freezes that begins with a step; `None`: its agent has no memory, or it has begun."""
        if not agent.memory or step.step != "0":
            return None
        tenant = step.session.tenant
        shown = Shown.of(await self.journal.listed_documents(tenant, agent.memory))
        documents = await self.journal.documents(tenant, [each.name for each in shown.kept])
        return frozen(documents, shown.left)

    async def told(
        self, attempt: ModelAttempt, transcript: Transcript, *, summarised_since: int | None = None
    ) -> Transcript:
        """Return the transcript, after its model was told what others changed.

        `summarised_since`: where what it was told was summarised behind a seq; else at a turn's first step.
        """
        step, agent = attempt.step, attempt.agent
        made = transcript.compactions[-1].seq if transcript.compactions else 0
        due = step.step == "0" if summarised_since is None else made > summarised_since
        if not (agent.memory and due):
            return transcript
        tenant, known = step.session.tenant, transcript.memory
        shown = Shown.of(await self.journal.listed_documents(tenant, agent.memory))
        changed, gone, unshown = shown.changed(known), shown.gone(known), shown.unshown(known)
        if not (changed or gone or unshown):
            return transcript
        body = notice(await self.journal.documents(tenant, changed), gone, unshown)
        note = attempt.entry("system.message", body, key=f"{attempt.key}/memory/{name_of(body)}")
        head = await self.journal.append(step, attempt.claim.token, [note])
        return await self.transcripts.load(step.session, head)
