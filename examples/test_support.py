"""How to test an agent, without a server or a key: `pytest examples/test_support.py`.

The tools really run; only the model's answers are scripted.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.shop import Shop
from examples.support import refund, support
from inturn import ToolError
from inturn.testing import ToolCall, context, run


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path / "shop.sqlite")
    shop.stock()
    return shop


async def test_a_refund_is_booked_and_the_model_sees_the_result(shop: Shop) -> None:
    call = ToolCall("refund", order_id="1002", cents=2_450)
    turn = await run(support, "My kettle is broken.", script=[call, "It is on its way."], resources=shop)
    assert turn.text == "It is on its way."
    assert turn.tool_calls[0].result == "refunded 2450 cents of order 1002"
    assert shop.rows("SELECT cents FROM refunds") == [{"cents": 2_450}]


async def test_a_large_refund_that_a_person_denies_books_nothing(shop: Shop) -> None:
    call = ToolCall("refund", order_id="1004", cents=12_000)
    turn = await run(support, "Refund the armchair.", script=[call, "I am sorry."], approve=False, resources=shop)
    assert turn.tool_calls[0].status == "denied"
    assert shop.rows("SELECT * FROM refunds") == []


def test_the_same_call_again_has_no_second_effect(shop: Shop) -> None:
    ctx = context(key="shop/order-1002/e1/0/0", resources=shop)
    assert [refund("1002", 2_450, ctx), refund("1002", 2_450, ctx)][1].endswith("(booked before)")
    assert len(shop.rows("SELECT * FROM refunds")) == 1


def test_more_than_was_paid_is_refused(shop: Shop) -> None:
    with pytest.raises(ToolError, match="has 2450 cents left"):
        refund("1002", 2_451, context(resources=shop))
