"""The search attributes of sessions.

Invariant: a session never starts without the ones it is found by.
"""

from __future__ import annotations

from typing import Final

from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError, RPCStatusCode

from inturn import names

AGENT: Final = SearchAttributeKey.for_keyword(names.AGENT_ATTRIBUTE)
TENANT: Final = SearchAttributeKey.for_keyword(names.TENANT_ATTRIBUTE)
STATE: Final = SearchAttributeKey.for_keyword(names.STATE_ATTRIBUTE)
PARKED: Final = SearchAttributeKey.for_int(names.PARKED_ATTRIBUTE)

SEARCH_ATTRIBUTES: Final = {AGENT.name: "Keyword", TENANT.name: "Keyword", STATE.name: "Keyword", PARKED.name: "Int"}


def start_attributes(tenant: str, agent: str | None) -> TypedSearchAttributes:
    """Return what a session is found by from its start."""
    pairs: list[SearchAttributePair[str]] = [SearchAttributePair(TENANT, tenant)]
    if agent is not None:
        pairs.append(SearchAttributePair(AGENT, agent))
    return TypedSearchAttributes(pairs)


def lacks_attributes(error: RPCError) -> bool:
    """Return whether the server refused a call because it does not know our search attributes."""
    message = error.message.lower()
    return error.status is RPCStatusCode.INVALID_ARGUMENT and "search attribute" in message and "inturn" in message
