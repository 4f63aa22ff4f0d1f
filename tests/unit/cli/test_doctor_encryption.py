"""What the doctor says of keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from inturn.cli.doctor.encryption import examine_encryption, judge_keys, judge_rest
from inturn.encryption import KeyRing, parse_keys
from inturn.encryption.keys import VARIABLE
from inturn.journal import Serving, open_journal
from inturn.keys import SessionKey
from tests.support.keys import keys


def ring(*names: str) -> KeyRing:
    return parse_keys(keys(*names))


def worker(*names: str) -> Serving:
    return Serving("w1", "support", "q", keys=ring(*names).names if names else ())


@pytest.mark.parametrize(
    ("here", "there", "state"),
    [
        ((), (), "ok"),
        (("a",), ("a",), "ok"),
        (("b", "a"), ("a", "b"), "ok"),
        (("a",), (), "fail"),
        ((), ("a",), "fail"),
        (("a",), ("b", "a"), "fail"),
        (("b", "a"), ("a",), "fail"),
    ],
)
def test_workers_and_clients_must_be_able_to_read_each_other(
    here: tuple[str, ...], there: tuple[str, ...], state: str
) -> None:
    assert judge_keys(ring(*here) if here else None, [worker(*there)]).state == state


def test_another_key_of_the_same_name_is_found() -> None:
    other = Serving("w1", "support", "q", keys=("a:00000000",))
    assert judge_keys(ring("a"), [other]).state == "fail"


@pytest.mark.parametrize(
    ("names", "found", "state"),
    [
        ((), {"": 3}, "ok"),
        ((), {"a": 1}, "fail"),
        (("a",), {"a": 3}, "ok"),
        (("b", "a"), {"a": 3, "b": 1}, "warn"),
        (("a",), {"a": 3, "": 1}, "fail"),
        (("b",), {"a": 3}, "fail"),
    ],
)
def test_what_is_stored_must_be_readable_here(names: tuple[str, ...], found: dict[str, int], state: str) -> None:
    under = {next(iter(ring(name).names)) if name else "": count for name, count in found.items()}
    assert judge_rest(ring(*names) if names else None, under).state == state


def test_rows_under_another_key_of_the_same_name_are_not_taken_for_readable() -> None:
    finding = judge_rest(ring("a"), {"a:00000000": 12})
    assert finding.state == "fail"
    assert "another key than that of its name here" in finding.found


async def test_it_looks_at_rest_without_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    from tests.support.journal import plain_turn
    from tests.support.stores import journal_url

    monkeypatch.chdir(tmp_path)
    url = journal_url(tmp_path)
    own, other = keys("a"), keys("b")
    another = other.replace("b:", "a:")
    for given, said in [(own, "ok"), (other, "fail"), (another, "fail"), ("", "fail")]:
        monkeypatch.setenv(VARIABLE, given)
        journal = open_journal(url)
        if given == own:
            await plain_turn(journal, SessionKey("acme", "s1"), "e1", "hello")
        assert [finding.state for finding in await examine_encryption(journal)] == ["ok", said]
        await journal.close()
