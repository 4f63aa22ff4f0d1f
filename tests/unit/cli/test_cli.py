"""The command line without a server: its options, its messages, its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from inturn import errors
from inturn.cli import output
from inturn.cli.app import app
from inturn.cli.failures import exit_code, to_do
from inturn.cli.live.tail import entry_line
from inturn.cli.options import hoisted
from inturn.client import client as client_module
from inturn.events import EventOptions
from inturn.values import Audit, Entry, Parked, PendingApproval, Receipt, SessionStatus, Turn, UnknownOutcome

ROOT = Path(__file__).resolve().parents[3]

ERRORS = [
    (errors.InvalidEvent("content is empty"), 2),
    (errors.InturnError("wrong setting: INTURN_PATIENCE"), 2),
    (errors.SessionNotFound("no session default/s"), 1),
    (errors.SessionClosed("session default/s is closed"), 1),
    (errors.SessionBusy("busy", retry_after=2.5), 3),
    (errors.Backpressure("full", retry_after=2.5), 3),
    (errors.TurnFailed("e1", "parked", "400"), 1),
    (errors.TurnTimeout("not answered within 1 s"), 4),
    (errors.ApprovalConflict("denied already", answer="denied", by="eve"), 1),
    (errors.VersionConflict("changed"), 1),
    (errors.Unavailable("no server"), 4),
    (errors.JournalUnavailable("no journal"), 4),
]


class FakeSession:
    """Answers from a script; whatever is an exception is raised."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self._answers = answers
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((name, args, kwargs))
            answer = self._answers[name]
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return call

    async def entries(self, after: int = 0, **kwargs: Any) -> AsyncIterator[Entry]:
        for entry in self._answers.get("entries", ()):
            if entry.seq > after:
                yield entry


class Fake:
    """Stands in for `inturn.Client`."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.session_made = FakeSession(self.answers)
        self.made: dict[str, Any] = {}
        self.waiting: list[PendingApproval] = []

    def __call__(self, address: str | None = None, **options: Any) -> Fake:
        self.made = {"address": address, **options}
        return self

    def session(self, session_id: str, *, agent: str | None = None) -> FakeSession:
        return self.session_made

    async def approvals(self) -> AsyncIterator[PendingApproval]:
        for approval in self.waiting:
            yield approval

    async def aclose(self) -> None:
        return None

    def run(self, *arguments: str, stdin: str | None = None) -> Any:
        return CliRunner().invoke(app, hoisted(arguments), input=stdin)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    for name in [name for name in os.environ if name.startswith(("INTURN_", "TEMPORAL_"))]:
        monkeypatch.delenv(name)
    made = Fake()
    monkeypatch.setattr(client_module, "Client", made)
    return made


def entry(seq: int, type: str, **body: Any) -> Entry:
    return Entry(seq=seq, type=type, event_id="e1", at=datetime(2026, 1, 1, tzinfo=UTC), body=body, hash="h", prev="p")


def test_help_does_not_load_temporalio() -> None:
    code = (
        "import sys\nfrom inturn.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n"
        "    sys.exit('temporalio' in sys.modules or end.code)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'client'}"}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "redrive" in ended.stdout


@pytest.mark.parametrize("raw", [b"NAME=gr\xfc\xdfe\n", b"NAME=a\0b\n"])
def test_a_dotenv_that_cannot_be_read_is_the_callers_mistake_and_no_traceback(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / ".env").write_bytes(raw)
    command = [sys.executable, "-P", "-m", "inturn", "ls"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert ".env cannot be read" in ended.stderr


def test_global_options_may_stand_anywhere_before_two_dashes() -> None:
    assert hoisted(["ls", "--json", "--tenant", "acme"]) == ["--json", "--tenant", "acme", "ls"]
    assert hoisted(["ask", "s", "--address=h:1", "hi"]) == ["--address=h:1", "ask", "s", "hi"]
    assert hoisted(["ask", "s", "--", "--json"]) == ["ask", "s", "--", "--json"]


def test_global_options_reach_the_client_and_unset_ones_are_left_to_it(fake: Fake) -> None:
    fake.answers["parked"] = []
    fake.run("parked", "s", "--tenant", "acme", "--journal", "sqlite:///j.db")
    assert fake.made == {
        "address": None,
        "namespace": None,
        "tenant": "acme",
        "task_queue": None,
        "journal": "sqlite:///j.db",
    }


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda value: type(value).__name__)
def test_each_error_has_its_exit_code_and_one_message_without_a_traceback(
    fake: Fake, error: errors.InturnError, code: int
) -> None:
    fake.answers["ask"] = error
    ended = fake.run("ask", "s", "hi")
    assert ended.exit_code == code == exit_code(error)
    assert ended.stdout == ""
    assert str(error) in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda value: type(value).__name__)
def test_with_json_an_error_is_one_json_object_on_standard_error(
    fake: Fake, error: errors.InturnError, code: int
) -> None:
    fake.answers["ask"] = error
    ended = fake.run("ask", "s", "hi", "--json")
    printed = json.loads(ended.stderr)
    assert ended.exit_code == code
    assert ended.stdout == ""
    assert (printed["error"], printed["message"]) == (type(error).__name__, str(error))


def test_a_refusal_says_when_to_come_back(fake: Fake) -> None:
    fake.answers["submit"] = errors.Backpressure("the inbox is full", retry_after=2.5)
    assert "try again in 2.5 s" in fake.run("send", "s", "hi", "--confirm").stderr
    assert json.loads(fake.run("send", "s", "hi", "--confirm", "--json").stderr)["retry_after"] == 2.5


def test_a_parked_turn_names_the_commands_that_repair_it() -> None:
    advice = to_do(errors.TurnFailed("e1", "parked", "400")) or ""
    assert "inturn redrive SESSION e1" in advice
    assert "inturn discard SESSION e1" in advice
    assert to_do(errors.TurnFailed("e1", "expired", "late")) is None


@pytest.mark.parametrize(
    "message",
    [
        "the journal cannot be read: it is encrypted with key 'b', … To do: add it to INTURN_ENCRYPTION_KEYS",
        "the journal is encrypted, and there are no keys here. To do: set INTURN_ENCRYPTION_KEYS",
        "the journal was moved. To do: point to postgresql://there",
        "the journal has schema version 9, … To do: inturn journal migrate",
    ],
)
def test_an_error_that_says_what_helps_is_given_no_other_advice(message: str) -> None:
    assert to_do(errors.JournalUnavailable(message)) is None
    assert "--journal" in (to_do(errors.JournalUnavailable("no such file")) or "")


def test_what_may_still_happen_is_named_so_that_the_call_can_be_repeated(fake: Fake) -> None:
    fake.answers["ask"] = errors.Unavailable("no worker took it in time")
    assert "session s, event e7" in fake.run("ask", "s", "hi", "--event-id", "e7").stderr


def test_an_event_gets_an_id_before_it_is_sent(fake: Fake) -> None:
    fake.answers["send"] = Receipt(event_id="x", status="sent")
    fake.run("send", "s", "hi")
    fake.run("send", "s", "hi")
    ids = [call[2]["event_id"] for call in fake.session_made.calls]
    assert len(set(ids)) == 2
    assert all(i.startswith("cli:") for i in ids)


def test_content_comes_from_standard_input_or_as_blocks(fake: Fake) -> None:
    fake.answers["send"] = Receipt(event_id="x", status="sent")
    fake.run("send", "s", "-", stdin="long text\n")
    fake.run("send", "s", '[{"type":"text","text":"hi"}]', "--blocks")
    assert [call[1][0] for call in fake.session_made.calls] == ["long text\n", [{"type": "text", "text": "hi"}]]


@pytest.mark.parametrize(
    "arguments",
    [
        ("frobnicate",),
        ("send", "s"),
        ("ask", "s", "hi", "--metadata", "{"),
        ("ask", "s", "hi", "--metadata", "[]"),
        ("ask", "s", "hi", "--metadata", '{"a":' * 5_000),
        ("ask", "s", "hi", "--metadata", '{"a":' + "9" * 5_000 + "}"),
        ("ask", "s", "[" * 100_000, "--blocks"),
        ("ask", "s", "no json", "--blocks"),
        ("send", "s", "hi", "--sent-at", "yesterday"),
        ("send", "s", "hi", "--sent-at", "2026-01-31T12:00:00"),
        ("tail", "s", "--after", "-1"),
        ("close", "s", "--pending", "forget"),
        ("ask", "s", "hi", "--when-busy", "never"),
        ("ask", "s", "hi", "--sequence", "-1"),
        ("ls", "--state", "idle"),
    ],
)
def test_a_mistake_in_the_call_is_exit_code_2_and_nothing_is_sent(fake: Fake, arguments: tuple[str, ...]) -> None:
    ended = fake.run(*arguments)
    assert ended.exit_code == 2
    assert ended.stderr
    assert fake.session_made.calls == []


def test_times_are_read_as_seconds_or_iso_8601(fake: Fake) -> None:
    fake.answers["send"] = Receipt(event_id="x", status="sent")
    fake.run("send", "s", "hi", "--sent-at", "12.5")
    fake.run("send", "s", "hi", "--sent-at", "2026-01-31T12:00:00Z")
    given = [call[2]["sent_at"] for call in fake.session_made.calls]
    assert given == [12.5, datetime(2026, 1, 31, 12, tzinfo=UTC)]


def test_ask_prints_the_text_alone_and_how_it_stopped_beside_it(fake: Fake) -> None:
    fake.answers["ask"] = Turn(event_id="e", text="the answer", stop_reason="max_tokens")
    ended = fake.run("ask", "s", "hi")
    assert (ended.exit_code, ended.stdout) == (0, "the answer\n")
    assert "max_tokens" in ended.stderr


def test_no_text_can_act_on_the_terminal(fake: Fake) -> None:
    fake.answers["ask"] = Turn(event_id="e", text="a\x1b[2Jb\x9b1mc\u202ed\ne\tf")
    assert fake.run("ask", "s", "hi").stdout == "a�[2Jb�1mc�d\ne\tf\n"
    fake.answers["entries"] = [entry(1, "user.message", content="[red]x\x1b]0;title\x07\nsecond line")]
    shown = fake.run("tail", "s").stdout
    assert "\x1b" not in shown
    assert "[red]x" in shown
    assert len(shown.splitlines()) == 1


def test_tail_prints_one_line_per_entry_behind_after_and_json_lines(fake: Fake) -> None:
    long = "word " * 200
    fake.answers["entries"] = [entry(1, "user.message", content=long), entry(2, "agent.message", content=long)]
    assert len(fake.run("tail", "s").stdout.splitlines()) == 2
    lines = fake.run("tail", "s", "--after", "1", "--json").stdout.splitlines()
    assert [json.loads(text)["seq"] for text in lines] == [2]
    assert json.loads(lines[0])["body"]["content"] == long


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (entry(1, "agent.tool_use", call_id="c", tool="add", args={"a": 1}), 'add {"a":1}'),
        (entry(1, "agent.tool_result", call_id="c", tool="add", status="error", text="no"), "add error: no"),
        (entry(1, "turn.failed", error="400", turn="e1"), "400"),
        (entry(1, "approval.requested", tool="pay", approval_id="c1:0"), "pay? c1:0"),
        (
            entry(1, "approval.answered", tool="pay", answer="denied", by="ann", reason="too much"),
            "pay denied by ann: too much",
        ),
        (entry(1, "turn.completed", stop="end_turn", usage={"input_tokens": 7}), "end_turn, 7 + 0 tokens"),
        (entry(1, "from.the.future", what="?"), '{"what":"?"}'),
    ],
)
def test_an_entry_says_what_it_holds(given: Entry, said: str) -> None:
    assert entry_line(given).plain.endswith(said)


def test_show_goes_on_without_a_journal_and_lists_what_waits(fake: Fake) -> None:
    waiting = {"event_id": "e9", "source": "slack", "accepted_at": datetime.now(UTC), "preview": "Where is it?"}
    fake.answers["status"] = SessionStatus.model_validate(
        {"state": "running", "health": "no_worker", "queue": [waiting], "counts": {"accepted": 2, "parked": 1}}
    )
    fake.answers["parked"] = errors.JournalUnavailable("no journal named")
    fake.answers["unknown_calls"] = errors.JournalUnavailable("no journal named")
    ended = fake.run("show", "s")
    assert ended.exit_code == 0
    for said in ("running", "no_worker", "e9", "slack", "Where is it?", "parked 1"):
        assert said in ended.stdout
    assert "no journal named" in ended.stderr


def test_show_and_tail_say_by_whom_and_how_a_turn_was_answered_where_that_is_not_as_usual(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "_console", output._console.__wrapped__)  # a new one, as wide as is said
    fake.answers["status"] = SessionStatus.model_validate({"state": "idle", "head": 4})
    fake.answers["unknown_calls"] = []
    fake.answers["entries"] = [
        entry(1, "turn.started", n=1, turn="e1", settings={"effort": "max"}),
        entry(2, "turn.started", n=2, turn="e2", model="claude-opus-5-5", settings={"effort": "low"}),
        entry(3, "agent.message", content="hi", model="claude-x", fallback={"of": "claude-y", "why": "outage"}),
        entry(4, "agent.message", content="ho", model="claude-x"),
    ]
    monkeypatch.setenv("COLUMNS", "160")
    tailed = fake.run("tail", "s").stdout
    monkeypatch.setenv("COLUMNS", "40")
    shown = fake.run("show", "s").stdout
    assert "model claude-x instead of claude-y (outage)" in shown
    assert "model claude-opus-5-5, as its event asked" in shown
    assert ("effort low" in shown, "effort max" in shown) == (True, False)
    assert "[claude-x instead of claude-y: outage] hi" in tailed
    assert '"claude-opus-5-5" {"effort":"low"}' in tailed
    fake.answers["entries"] = [entry(1, "turn.started", n=1, turn="e1")]
    assert "last turn" not in fake.run("show", "s").stdout


def test_parked_events_are_a_table_or_json(fake: Fake) -> None:
    fake.answers["parked"] = [Parked(event_id="e1", error="400: too long", attempts=3, preview="hi")]
    assert "400: too long" in fake.run("parked", "s").stdout
    assert json.loads(fake.run("parked", "s", "--json").stdout)[0]["event_id"] == "e1"


def test_approvals_are_listed_with_session_and_arguments(fake: Fake) -> None:
    asked = PendingApproval(
        tenant="t",
        session_id="order-17",
        approval_id="c1:0123456789ab",
        call_id="c1",
        tool="refund",
        args={"cents": 9000},
        expires_at=datetime.now(UTC) + timedelta(hours=5, minutes=1),
    )
    fake.waiting = [asked]
    said = fake.run("approvals").stdout
    for part in ("order-17", "c1:0123456789ab", "refund", '{"cents":9000}', "5 h"):
        assert part in said
    assert json.loads(fake.run("approvals", "--json").stdout) == [asked.model_dump(mode="json")]
    fake.waiting = []
    assert "nothing waits" in fake.run("approvals").stderr


@pytest.mark.promise("ORD-4", "ORD-5")
def test_show_says_what_held_events_wait_for_and_what_the_limits_are(fake: Fake) -> None:
    held = {"event_id": "e7", "source": "hook", "sequence": 7, "waiting_for": "5 to 6 of hook", "preview": "seven"}
    limits = {"capacity": 1000, "capacity_bytes": 524288, "waiting_bytes": 99, "rate": 0.5, "burst": 3}
    limits |= {"source_quota": 20, "expires_after": 600.0}
    fake.answers["status"] = SessionStatus.model_validate({"state": "idle", "held": [held], "limits": limits})
    fake.answers["unknown_calls"] = []
    said = " ".join(fake.run("show", "s").stdout.split())
    for part in (
        "held (1)",
        "e7",
        "hook",
        "5 to 6 of hook",
        "99 of 524288 bytes",
        "20 of one source",
        "0.5 turns a second",
    ):
        assert part in said
    assert "expire after 600 s" in said


@pytest.mark.promise("MOD-5")
def test_show_says_what_a_session_cost_and_what_came_from_the_cache(fake: Fake) -> None:
    usage = {"input_tokens": 100, "output_tokens": 20, "cache_read_tokens": 900, "steps": 3, "cache_missed": 1}
    usage |= {"usd_nanos": 1_234_000_000, "failed_usd_nanos": 30_000_000}
    fake.answers["status"] = SessionStatus.model_validate({"state": "idle", "usage": usage})
    fake.answers["unknown_calls"] = []
    said = " ".join(fake.run("show", "s").stdout.split())
    assert "3 model calls · 1,000 + 20 tokens · 90 % of the prompts from the cache · 1 that should" in said
    assert "$1.23 ($0.030 of it without an answer)" in said
    assert json.loads(fake.run("show", "s", "--json").stdout)["usage"]["usd"] == 1.234


UNKNOWN = UnknownOutcome(
    key="default/s/e1/0/0", event_id="e1", call_id="c1", tool="post", late_status="ok", late_result="posted 7"
)


def test_calls_of_unknown_outcome_are_shown_with_what_came_too_late(fake: Fake) -> None:
    fake.answers["status"] = SessionStatus(state="idle")
    fake.answers["unknown_calls"] = [UNKNOWN]
    said = fake.run("show", "s").stdout
    assert "default/s/e1/0/0" in said
    assert "ok: posted 7" in said
    assert json.loads(fake.run("show", "s", "--json").stdout)["unknown"][0]["key"] == UNKNOWN.key
    fake.answers["audit"] = Audit(ok=True, accepted=1, counts={"applied": 1}, unknown=(UNKNOWN,))
    audited = fake.run("audit", "s")
    assert audited.exit_code == 0  # no event is lost
    assert "default/s/e1/0/0" in audited.stdout
    assert "inturn settle" in audited.stderr


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        (("--done", "posted 7", "--by", "ann"), {"done": True, "result": "posted 7", "by": "ann", "reason": None}),
        (
            ("--not-done", "--by", "ann", "--reason", "asked them"),
            {"done": False, "result": None, "by": "ann", "reason": "asked them"},
        ),
    ],
)
def test_settle_names_the_call_and_what_became_of_it(fake: Fake, arguments: tuple[str, ...], given: Any) -> None:
    fake.answers["settle"] = None
    assert fake.run("settle", UNKNOWN.key, *arguments).exit_code == 0
    assert fake.session_made.calls[-1] == ("settle", (UNKNOWN.key,), given)


@pytest.mark.parametrize("arguments", [(), ("--done", "x", "--not-done")])
def test_settle_wants_to_hear_one_thing(fake: Fake, arguments: tuple[str, ...]) -> None:
    assert fake.run("settle", UNKNOWN.key, *arguments).exit_code == 2
    assert fake.run("settle", "toolu_1", "--not-done").exit_code == 2
    assert fake.session_made.calls == []


def test_an_audit_that_is_not_ok_fails(fake: Fake) -> None:
    fake.answers["audit"] = Audit(ok=False, accepted=2, counts={"applied": 1}, differences=("one is missing",))
    ended = fake.run("audit", "s")
    assert ended.exit_code == 1
    assert "one is missing" in ended.stderr
    fake.answers["audit"] = Audit(ok=True, accepted=1, counts={"applied": 1})
    assert fake.run("audit", "s", "--deep", "--json").exit_code == 0
    assert fake.session_made.calls[-1][2] == {"deep": True}


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        (
            ("interrupt", "s", "--event", "e"),
            ("interrupt", (), {"event_id": "e", "reason": None, "clear_queue": False}),
        ),
        (("cancel", "s", "e", "--reason", "r"), ("cancel", ("e",), {"reason": "r"})),
        (("redrive", "s", "e", "--force"), ("redrive", ("e",), {"force": True})),
        (("discard", "s", "e"), ("discard", ("e",), {"reason": None})),
        (("compact", "s", "--instructions", "i"), ("compact", (), {"instructions": "i"})),
        (("pause", "s"), ("pause", (), {})),
        (("resume", "s"), ("resume", (), {})),
        (("close", "s", "--pending", "cancel"), ("close", (), {"pending": "cancel", "timeout": None})),
        (("approve", "s", "c:1", "--by", "eve"), ("approve", ("c:1",), {"by": "eve", "via": "cli", "reason": None})),
        (("deny", "s", "c:1", "--by", "eve"), ("deny", ("c:1",), {"by": "eve", "via": "cli", "reason": None})),
    ],
)
def test_each_control_makes_its_call_and_says_where_there_was_nothing_to_do(
    fake: Fake, arguments: tuple[str, ...], call: tuple[str, tuple[Any, ...], dict[str, Any]]
) -> None:
    fake.answers[call[0]] = True
    assert fake.run(*arguments).exit_code == 0
    assert fake.session_made.calls == [call]
    fake.answers[call[0]] = False
    ended = fake.run(*arguments, "--json")
    assert ended.exit_code == 1
    assert json.loads(ended.stdout)["ok"] is False


def test_chat_answers_line_by_line_and_a_failed_line_does_not_end_it(fake: Fake) -> None:
    answers: Iterator[Turn | Exception] = iter(
        [Turn(event_id="a", text="one"), errors.TurnFailed("b", "parked", "400"), Turn(event_id="c", text="3")]
    )

    async def ask(*args: Any, **kwargs: Any) -> Turn:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    fake.session_made.ask = ask  # type: ignore[attr-defined]
    ended = fake.run("chat", "s", stdin="a\n\nb\nc\n/quit\nnever asked\n")
    assert (ended.exit_code, ended.stdout) == (0, "one\n3\n")
    assert "400" in ended.stderr


def test_chat_lists_its_commands_and_sends_none_of_them(fake: Fake) -> None:
    ended = fake.run("chat", "s", stdin="/help\n/exit\n")
    assert (ended.exit_code, ended.stdout) == (0, "")
    for command in ("/help", "/quit", "/exit", "Ctrl-C"):
        assert command in ended.stderr
    assert fake.session_made.calls == []


def test_ask_takes_every_option_of_an_event(fake: Fake) -> None:
    fake.answers["ask"] = Turn(event_id="e1", text="ok")
    options = "--event-id e1 --source hook --sequence 3 --sender ann --sent-at 12.5 --when-busy steer --expires-after 9"
    options += " --alias a --alias b --sequencing sparse"
    fake.run("ask", "s", "hi", *options.split(), "--metadata", '{"a": 1}', "--timeout", "5", "--model", "m")
    assert fake.session_made.calls == [
        (
            "ask",
            ("hi",),
            {
                "event_id": "e1",
                "source": "hook",
                "aliases": ["a", "b"],
                "sequence": 3,
                "sequencing": "sparse",
                "sender": "ann",
                "sent_at": 12.5,
                "when_busy": "steer",
                "expires_after": 9.0,
                "metadata": {"a": 1},
                "model": "m",
                "timeout": 5.0,
            },
        )
    ]
    assert EventOptions.__annotations__.keys() <= fake.session_made.calls[0][2].keys()


@pytest.mark.parametrize(
    ("data", "value"),
    [(b"a\x1b[2Jb", {"text": "a\x1b[2Jb"}), (b"\xff\x00", {"base64": "/wA="})],
    ids=["text", "bytes"],
)
def test_a_blob_is_printed_byte_for_byte_or_as_a_document(fake: Fake, data: bytes, value: dict[str, Any]) -> None:
    fake.answers["read_blob"] = data
    assert fake.run("blob", "s", "sha256:ab").stdout_bytes == data
    assert json.loads(fake.run("blob", "s", "sha256:ab", "--json").stdout) == {
        "ref": "sha256:ab",
        "size": len(data),
        **value,
    }
    fake.answers["read_blob"] = errors.InvalidEvent("session default/s has no sha256:ab")
    assert fake.run("blob", "s", "sha256:ab").exit_code == 2


def test_a_blob_cannot_act_on_the_terminal(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.answers["read_blob"] = b"a\x1b[2Jb"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with pytest.raises(SystemExit):
        app(["blob", "s", "sha256:ab"])
    assert capsys.readouterr().out == "a�[2Jb\n"


def test_ages_are_short() -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    ages = [output.ago(now - timedelta(seconds=seconds), now=now) for seconds in (-3, 0, 59, 61, 7200, 200_000)]
    assert ages == ["0 s", "0 s", "59 s", "1 min", "2 h", "2 d"]
    assert output.ago(None) == ""


def test_clearing_the_queue_is_done_even_if_nothing_ran(fake: Fake) -> None:
    fake.answers["interrupt"] = False
    assert fake.run("interrupt", "s", "--clear-queue").exit_code == 0
    assert fake.run("interrupt", "s").exit_code == 1
