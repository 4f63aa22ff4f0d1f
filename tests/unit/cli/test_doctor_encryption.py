"""What the doctor says of keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from inturn.cli.doctor.encryption import examine_encryption, judge_keys, judge_rest
from inturn.encryption import KeyRing, parse_keys
from inturn.encryption.columns import key_of
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
    ("step", "state"),
    [
        ([("a",), ("a",)], "ok"),
        ([("a", "b"), ("a",)], "ok"),  # the new one goes behind, on one worker after another
        ([("b", "a"), ("a", "b")], "ok"),  # before it
        ([("b", "a"), ("a",)], "fail"),  # before it where one has not got it yet
        ([("b",), ("a", "b")], "fail"),  # taken away where one still encrypts with it
        ([("b",), ("b", "a")], "ok"),  # taken away
        ([("a",), ()], "fail"),
    ],
)
def test_each_step_of_a_rotation_is_judged_by_its_workers(step: list[tuple[str, ...]], state: str) -> None:
    own, *others = step
    assert judge_keys(ring(*own), [worker(*names) for names in (own, *others)]).state == state
    assert judge_keys(ring(*own), [worker(*names) for names in (*others, own)]).state == state


def test_what_it_finds_names_worker_and_keys_and_what_to_do_and_no_key() -> None:
    finding = judge_keys(ring("a"), [worker("a"), worker("b", "a")])
    assert all(said in finding.found for said in ("w1 (b, a)", "here are a"))
    assert "INTURN_ENCRYPTION_KEYS" in str(finding.to_do)
    rest = judge_rest(ring("b", "a"), {ring("a").names[0]: 7, ring("gone").names[0]: 2, "": 1})
    assert all(said in rest.found for said in ("under gone", "7 under a", "1 in clear"))
    for shown in (str(finding), str(rest)):
        assert keys("a").partition(":")[2] not in shown


@pytest.mark.parametrize(
    "row", ["\x01inturn:", "\x01inturn:a", "\x01inturn:a:", "\x01inturn:a:!!!", b"\x01inturn:\xff\xfe:x", b"", "", "{}"]
)
def test_any_row_has_a_key_or_none(row: str | bytes) -> None:
    found = key_of(row)
    assert (found is None) is (not row or row == "{}")
    assert judge_rest(ring("a"), {found or "": 1}).state == "fail"


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
