"""What is delivered, as a text for people."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from inturn.channels.rendering import arguments
from inturn.values import Approval

AT = datetime(2027, 1, 1, tzinfo=UTC)


@pytest.mark.promise("EFF-7")
@pytest.mark.parametrize(
    "hidden", ["\u202e", "\u2066", "\u200b", "\u2028", "\xad", "\ufeff", "\U000e0041", "\x85", "```"]
)
def test_a_card_hides_nothing_of_its_arguments_and_turns_nothing_round(hidden: str) -> None:
    args = {"to": f"DE21{hidden}99", "who": "Žofie 山田\u3000太郎 \U0001f600"}
    shown = arguments(Approval(approval_id="c:1", call_id="c", tool="pay", args=args, asked_at=AT, expires_at=AT))
    assert hidden not in shown
    assert args["who"] in shown
    assert json.loads(shown) == args
