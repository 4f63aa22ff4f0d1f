"""How a changed agent reaches a session that has begun.

Invariant: what a session froze never changes; the change is said in an entry of its own, once. Tools that are new are
declared with it, behind those that were: from then on requests have them, and answers from before it lose their
thinking, which some model may take for bound to the tools: this one, or one that the session comes back to. The
provider's cache of the conversation is written anew then, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from inturn.agents import Agent


def added_tools(frozen: Mapping[str, Any], agent: Agent) -> list[dict[str, Any]]:
    """Return the declarations of the agent's tools that the session's manifest does not have."""
    known = {tool["name"] for tool in frozen.get("tools") or []}
    return [tool for tool in agent.manifest()["tools"] if tool["name"] not in known]


def change_notice(frozen: Mapping[str, Any], agent: Agent) -> dict[str, Any]:
    """Return the body of the `system.message` that tells the model what holds from here on.

    It says all that holds, not what is different: whoever reads it need not know the changes before it.
    """
    now, added = agent.manifest(), added_tools(frozen, agent)
    declared = {tool["name"]: tool for tool in [*(frozen.get("tools") or []), *added]}
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
