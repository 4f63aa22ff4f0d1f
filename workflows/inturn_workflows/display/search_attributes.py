"""A session's search attributes: what finds it in the Temporal UI and in lists.

Invariant: they are upserted in the rare states only; a plain turn costs no event.
"""

from __future__ import annotations

from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributeKey

from inturn import names
from inturn_workflows.state import SessionState

_AGENT = SearchAttributeKey.for_keyword(names.AGENT_ATTRIBUTE)
_STATE = SearchAttributeKey.for_keyword(names.STATE_ATTRIBUTE)
_PARKED = SearchAttributeKey.for_int(names.PARKED_ATTRIBUTE)


class SearchAttributes:
    """The attributes as they were upserted last."""

    def __init__(self, state: SessionState) -> None:
        self._state = state
        self._shown: tuple[str | None, int] = (None, len(state.inbox.parked))
        self._agent = workflow.info().typed_search_attributes.get(_AGENT)
        """Whose it is, as whoever began the session said, who need not be of this project."""

    def upsert(self) -> None:
        """Upsert what has changed; and once the agent, where the start did not name it."""
        updates: list[Any] = []
        shown = (self._state.rare_state, len(self._state.inbox.parked))
        if shown[0] != self._shown[0]:
            updates.append(_STATE.value_set(shown[0]) if shown[0] else _STATE.value_unset())
        if shown[1] != self._shown[1]:
            updates.append(_PARKED.value_set(shown[1]))
        if self._agent is None and self._state.agent is not None:
            self._agent = self._state.agent
            updates.append(_AGENT.value_set(self._agent))
        self._shown = shown
        if updates:
            workflow.upsert_search_attributes(updates)
