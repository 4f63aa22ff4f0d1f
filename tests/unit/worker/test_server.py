"""A worker that may not register search attributes says exactly what to run, and starts where they are there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesResponse
from temporalio.service import RPCError, RPCStatusCode

from inturn.client.temporal.search_attributes import SEARCH_ATTRIBUTES
from inturn.errors import Misconfigured
from inturn_worker.server import ensure_search_attributes

KEYWORD = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
INT = IndexedValueType.INDEXED_VALUE_TYPE_INT
ALL = {name: INT if kind == "Int" else KEYWORD for name, kind in SEARCH_ATTRIBUTES.items()}


@dataclass
class Server:
    """A Temporal server's answers about search attributes."""

    registered: dict[str, Any]
    may_list: bool = True
    may_add: bool = True
    namespace: str = "space"
    added: list[str] = field(default_factory=list)

    @property
    def operator_service(self) -> Server:
        """It answers itself."""
        return self

    @property
    def service_client(self) -> Any:
        """Only its address is asked for."""
        return type("S", (), {"config": type("C", (), {"target_host": "temporal.example:7233"})})

    async def list_search_attributes(self, request: Any, **_: Any) -> ListSearchAttributesResponse:
        """List what is registered."""
        if not self.may_list:
            raise RPCError("not for you", RPCStatusCode.PERMISSION_DENIED, b"")
        return ListSearchAttributesResponse(custom_attributes=self.registered)

    async def add_search_attributes(self, request: Any, **_: Any) -> None:
        """Register."""
        if not self.may_add:
            raise RPCError("not for you", RPCStatusCode.PERMISSION_DENIED, b"")
        self.added += sorted(request.search_attributes)
        self.registered |= dict(request.search_attributes)

    async def count_workflows(self, query: str) -> None:
        """Refuse a query over what is not registered."""
        if query.split()[0] not in self.registered:
            raise RPCError("no such search attribute", RPCStatusCode.INVALID_ARGUMENT, b"")


async def test_what_is_missing_is_registered() -> None:
    server = Server({"InturnAgent": KEYWORD})
    await ensure_search_attributes(server)  # type: ignore[arg-type]
    assert server.added == ["InturnParked", "InturnState", "InturnTenant"]


@pytest.mark.parametrize("may_list", [True, False])
async def test_where_it_may_not_the_exact_command_is_given(may_list: bool) -> None:
    server = Server({"InturnAgent": KEYWORD, "InturnTenant": KEYWORD}, may_list=may_list, may_add=False)
    with pytest.raises(Misconfigured) as caught:
        await ensure_search_attributes(server)  # type: ignore[arg-type]
    assert (
        "Run: temporal operator search-attribute create --address temporal.example:7233 --namespace space "
        "--name InturnState --type Keyword --name InturnParked --type Int"
    ) in str(caught.value)


async def test_where_it_may_not_even_look_but_all_is_there_it_starts() -> None:
    await ensure_search_attributes(Server(dict(ALL), may_list=False, may_add=False))  # type: ignore[arg-type]


async def test_an_attribute_of_another_type_is_named_with_the_command_that_removes_it() -> None:
    with pytest.raises(
        Misconfigured, match=r"InturnParked .* is of type Keyword, it must be Int.* remove .*InturnParked"
    ):
        await ensure_search_attributes(Server({**ALL, "InturnParked": KEYWORD}))  # type: ignore[arg-type]
