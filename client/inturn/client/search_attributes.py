"""The search attributes of sessions, and how a server gets them.

Invariant: a session never starts without the ones it is found by. A server that lacks them is given them where it lets
us; else the user reads the exact command.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client as Temporal
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError, RPCStatusCode

from inturn import names
from inturn.client.rpc_errors import short
from inturn.errors import Unavailable

AGENT: Final = SearchAttributeKey.for_keyword(names.AGENT_ATTRIBUTE)
TENANT: Final = SearchAttributeKey.for_keyword(names.TENANT_ATTRIBUTE)
STATE: Final = SearchAttributeKey.for_keyword(names.STATE_ATTRIBUTE)
PARKED: Final = SearchAttributeKey.for_int(names.PARKED_ATTRIBUTE)

SEARCH_ATTRIBUTES: Final = {AGENT.name: "Keyword", TENANT.name: "Keyword", STATE.name: "Keyword", PARKED.name: "Int"}
_TYPES: Final = {
    "Keyword": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "Int": IndexedValueType.INDEXED_VALUE_TYPE_INT,
}


def start_attributes(tenant: str, agent: str | None) -> TypedSearchAttributes:
    """Give what a session is found by from its start."""
    pairs: list[SearchAttributePair[str]] = [SearchAttributePair(TENANT, tenant)]
    if agent is not None:
        pairs.append(SearchAttributePair(AGENT, agent))
    return TypedSearchAttributes(pairs)


def lacking(error: RPCError) -> bool:
    """Tell whether the server refused a call because it does not know our search attributes."""
    message = error.message.lower()
    return error.status is RPCStatusCode.INVALID_ARGUMENT and "search attribute" in message and "inturn" in message


def command(namespace: str) -> str:
    """Give the command that registers them."""
    flags = " ".join(f"--name {name} --type {kind}" for name, kind in SEARCH_ATTRIBUTES.items())
    return f"temporal operator search-attribute create --namespace {namespace} {flags}"


async def register(temporal: Temporal, why: RPCError) -> None:
    """Register them. The server needs a moment until it knows them: the call comes again.

    Raises:
        Unavailable: This client may not; the message holds the command.
    """
    attributes = {name: _TYPES[kind] for name, kind in SEARCH_ATTRIBUTES.items()}
    request = AddSearchAttributesRequest(namespace=temporal.namespace, search_attributes=attributes)
    try:
        await temporal.operator_service.add_search_attributes(request, timeout=timedelta(seconds=10))
    except RPCError as error:
        if error.status is not RPCStatusCode.ALREADY_EXISTS:
            raise Unavailable(
                f"the server lacks search attributes that sessions need, and this client may not register them "
                f"({short(error)}). Run: {command(temporal.namespace)}"
            ) from why
