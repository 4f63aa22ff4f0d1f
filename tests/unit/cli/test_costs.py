"""`inturn costs`: what turns cost, as a table and as JSON; and the doctor's line on money."""

from __future__ import annotations

import asyncio
import json
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from inturn.amounts import nanos
from inturn.cli.app import app
from inturn.cli.doctor.prices import judge_prices
from inturn.cli.options import hoisted
from inturn.journal import NewEntry, Outcome, Recorded, Spent, open_journal
from inturn.journal.money.costs import Cost
from inturn.keys import SessionKey
from inturn.values import Usage
from tests.support.journal import answer, opening

SONNET = Usage(
    input_tokens=100, output_tokens=20, cache_read_tokens=900, usd_nanos=nanos("0.05"), failed_usd_nanos=nanos("0.01")
)
OPUS = Usage(input_tokens=10, output_tokens=2, usd_nanos=nanos("1.5"))


async def fill(url: str) -> None:
    journal = open_journal(url)
    turns = [
        ("acme", "s1", "e1", Spent(SONNET, "support", "claude-sonnet-5-5")),
        ("acme", "s1", "e2", Spent(SONNET, "support", "claude-sonnet-5-5")),
        ("acme", "s2", "e1", Spent(OPUS, "sales", "claude-opus-5-5")),
        ("other", "s1", "e1", Spent(OPUS, "sales", None)),
    ]
    for tenant, session, event, spent in turns:
        step = SessionKey(tenant, session).turn(event).step(0)
        claim = await journal.claim_model(step, opening(event))
        outcome = Outcome(event, event, "applied", "end_turn", spent=spent)
        await journal.finish(step, claim.token, {"stop": "end_turn"}, answer(event), outcome)
    await journal.record(
        SessionKey("acme", "s3"),
        [Recorded(NewEntry("event.expired", {}, "e1", key="e1/expired"), Outcome("e1", "e1", "expired"))],
    )
    await journal.close()


@pytest.fixture
def journal(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/j.db"
    asyncio.run(fill(url))
    return url


def costs(journal: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, hoisted(["costs", *arguments, "--journal", journal, "--tenant", "acme"]))


def test_costs_are_shown_by_agent_the_dearest_first_with_their_sum(journal: str) -> None:
    shown = costs(journal)
    assert shown.exit_code == 0, shown.output
    lines = [line.split() for line in shown.output.splitlines() if line.strip()]
    assert [line[0] for line in lines if line[0] in ("sales", "support", "all")] == ["sales", "support", "all"]
    assert ["support", "2", "200", "1,800", "0", "40", "90", "%", "$0.10", "$0.020"] in lines
    assert ["all", "3", "210", "1,800", "0", "42", "89", "%", "$1.60", "$0.020"] in lines


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("model", ["claude-opus-5-5", "claude-sonnet-5-5"]),
        ("session", ["s2", "s1"]),
        ("agent", ["sales", "support"]),
        ("tenant", ["acme", "other"]),
    ],
)
def test_costs_are_told_as_json_exact_and_in_dollars(journal: str, by: str, names: list[str]) -> None:
    told = json.loads(costs(journal, "--by", by, "--json").output)
    assert [row[by] for row in told] == names
    assert sum(row["usd_nanos"] for row in told) == nanos("1.6") + (nanos("1.5") if by == "tenant" else 0)
    if by == "model":
        assert told[1] == {
            "model": "claude-sonnet-5-5",
            "turns": 2,
            "input": 200,
            "output": 40,
            "cache_read": 1_800,
            "cache_write": 0,
            "usd_nanos": nanos("0.1"),
            "failed_usd_nanos": nanos("0.02"),
            "usd": 0.1,
            "cache_hit": 0.9,
        }


def test_turns_of_before_are_left_out(journal: str) -> None:
    assert json.loads(costs(journal, "--since", "2100-01-01", "--json").output) == []
    assert "no turn ended" in costs(journal, "--since", "2100-01-01").output
    assert len(json.loads(costs(journal, "--since", "1h", "--json").output)) == 2
    assert costs(journal, "--since", "long ago").exit_code == 2


def test_looking_where_there_is_no_journal_makes_none(tmp_path: Path) -> None:
    shown = costs(f"sqlite:///{tmp_path}/none.db")
    assert shown.exit_code == 4
    assert "there is no journal" in shown.output
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_says_how_old_the_prices_are_and_what_was_spent() -> None:
    spent = Cost("all", 1_200, 100, 20, 900, 0, nanos("12.3"), 0)
    young = judge_prices("2026-11-30", "genai-prices 0.2.3", date(2027, 2, 20), spent)
    assert young.state == "ok"
    assert young.found == (
        "prices of 2026-11-30 (genai-prices 0.2.3); in the last day $12.30 in 1,200 turns, "
        "90 % of the prompts from the cache"
    )
    old = judge_prices("2026-11-30", "genai-prices 0.2.3", date(2027, 3, 10), spent)
    assert (old.state, "100 days old" in old.found) == ("warn", True)
