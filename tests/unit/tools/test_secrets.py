"""A secret shows itself nowhere but where it is asked for."""

from __future__ import annotations

import asyncio
import base64
import copy
import gc
import html
import io
import json
import logging
import pickle
import pprint
import traceback
import urllib.parse
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel
from pydantic_core import to_json

from inturn.errors import Retry, ToolError
from inturn.testing import context
from inturn.tools import Credentials, Granted, Tool
from inturn.tools.checks import check_call
from inturn.tools.raised import settled
from inturn.tools.secrets import MASK, CallSecrets, Redacted, Redactor, Secret, redact
from inturn.turns.call_results import CallResult
from inturn_activities import failures
from inturn_worker.logs import configure_logs

CANARY = "canary/" + "tok+en ä1234"
KEY = "-----BEGIN KEY-----\n" + "QUJDREVGR0hJSktMTU5PUFFS\n" * 2 + "-----END KEY-----"


class Account(BaseModel):
    name: str
    token: Secret


@dataclass
class Held:
    token: Secret


def secrets_of(*values: str) -> CallSecrets:
    made = CallSecrets()
    for value in values:
        made.add(Secret(value))
    return made


@pytest.mark.promise("SEC-3")
def test_no_way_of_showing_a_secret_shows_it() -> None:
    secret = Secret(CANARY)
    account = Account(name="a", token=secret)
    shown = [
        str(secret),
        repr(secret),
        f"{secret}",
        f"{secret!r:>40}",
        "%s %r" % (secret, secret),  # noqa: UP031 - as logging does
        repr([secret]),
        pprint.pformat({"a": secret}),
        repr(account),
        account.model_dump_json(),
        str(account.model_dump()),
        to_json({"a": secret}, fallback=str).decode(),
        json.dumps({"a": secret}, default=str),
        repr(Held(secret)),
        repr(asdict(Held(secret))),
        repr(copy.deepcopy(Held(secret))),
        repr(Granted(CANARY, renewal=CANARY)),
        "".join(traceback.format_exception(ValueError(secret))),
    ]
    assert not any("canary" in text for text in shown)
    assert secret.get_secret_value() == CANARY
    for broken in (pickle.dumps, copy.copy(pickle.dumps)):
        with pytest.raises(TypeError, match="cannot be pickled"):
            broken(secret)
    assert isinstance(Account.model_validate({"name": "a", "token": "x"}).token, Secret)


def test_the_context_of_a_call_does_not_show_what_it_was_given() -> None:
    made = context(_secrets=secrets_of(CANARY))
    assert "canary" not in repr(made)


FORMS = [
    CANARY,
    f"Bearer {CANARY}",
    urllib.parse.quote(CANARY),
    urllib.parse.quote(CANARY, safe=""),
    urllib.parse.quote_plus(CANARY),
    json.dumps({"token": CANARY}),
    json.dumps({"token": CANARY}, ensure_ascii=False),
    repr({"token": CANARY}),
    base64.b64encode(CANARY.encode()).decode(),
    base64.urlsafe_b64encode(CANARY.encode()).decode(),
    *(base64.b64encode(f"{user}:{CANARY}".encode()).decode() for user in ("u", "us", "use", "user")),
    base64.urlsafe_b64encode(f"x{CANARY}and more".encode()).decode(),
    CANARY.encode().hex(),
    CANARY.encode().hex().upper(),
    "canary%2ftok%2ben%20%c3%a41234",
    json.dumps({"token": CANARY}).replace("/", "\\/"),
    json.dumps(json.dumps({"token": CANARY})),
    json.dumps(json.dumps({"token": CANARY}, ensure_ascii=False), ensure_ascii=False),
    html.escape(f"<a title='{CANARY}'>"),
    html.escape(CANARY).replace("/", "&#x2F;"),
    *(CANARY.encode().hex(separator) for separator in ":- "),
    CANARY.encode().hex(":").upper(),
    *(base64.encodebytes(b"x" * n + CANARY.encode() + b"y" * 99).decode().strip() for n in (30, 44, 50, 56)),
    json.dumps(base64.encodebytes(b"x" * 50 + CANARY.encode()).decode().strip()),
    base64.encodebytes(b"x" * 50 + CANARY.encode()).decode().strip().replace("\n", "\r\n  "),
    base64.b32encode(CANARY.encode()).decode(),
    *(base64.b32encode(b"u" * n + CANARY.encode() + b"z").decode() for n in range(1, 5)),
    *(base64.b64encode(CANARY.encode(how)).decode() for how in ("utf-16", "utf-16-le", "utf-16-be")),
    base64.b64encode(f"user:{CANARY}".encode("utf-16-le")).decode(),
    CANARY.encode("utf-16-be").hex(),
]


def test_texts_of_others_stay_as_they_are_though_lines_break_in_them() -> None:
    text = "one line\nand another, of words that are no secret's\r\n" * 20
    assert secrets_of(CANARY, "abcdef", "hunter2").redact_text(text) is text


@pytest.mark.promise("SEC-3")
@pytest.mark.parametrize("text", FORMS)
def test_a_secret_is_masked_in_every_form_that_it_takes_on_the_way(text: str) -> None:
    redacted = secrets_of(CANARY).redact_text(f"before {text} after")
    assert MASK in redacted
    assert redacted.startswith("before ")
    assert redacted.endswith(" after")
    encoded = (urllib.parse.quote(CANARY)[:10], base64.b64encode(CANARY.encode()).decode()[:12])
    for part in ("canary", "1234", CANARY.encode().hex()[:12], *encoded):
        assert part not in redacted


def test_each_line_of_a_key_is_masked() -> None:
    redacted = secrets_of(KEY).redact_text("  " + KEY.replace("\n", "\n  "))
    assert "QUJD" not in redacted


def test_a_secret_that_is_part_of_another_leaves_nothing_of_it() -> None:
    assert secrets_of("abcdefgh", "abcdefghijkl").redact_text("x abcdefghijkl y abcdefgh z") == f"x {MASK} y {MASK} z"


@given(value=st.text(min_size=1), around=st.text())
def test_whatever_a_secret_is_masking_never_fails_and_leaves_no_copy(value: str, around: str) -> None:
    redacted = secrets_of(value).redact_text(around + value + around)
    assert value in MASK or value not in redacted.replace(MASK, "") or value in around + around


def test_an_empty_secret_masks_nothing() -> None:
    assert secrets_of("").redact_text("text") == "text"


def test_without_secrets_everything_stays_the_very_same() -> None:
    value, error = object(), ValueError("x")
    assert CallSecrets().redact_value(value) is value
    assert CallSecrets().redact_error(error) is error
    assert secrets_of(CANARY).redact_error(error) is error


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (CANARY, MASK),
        ({"a": [CANARY, 1, None], CANARY: True}, {"a": [MASK, 1, None], MASK: True}),
        ((CANARY, 1.5), [MASK, 1.5]),
        (CANARY.encode(), MASK),
        (Account(name=CANARY, token=Secret("x")), {"name": MASK, "token": "**********"}),
        (ValueError(CANARY), MASK),
        (7, 7),
        (None, None),
    ],
)
def test_results_of_every_kind_are_masked(value: Any, expected: Any) -> None:
    assert secrets_of(CANARY).redact_value(value) == expected


def test_a_result_that_cannot_be_searched_is_not_shown() -> None:
    class Mute:
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert "cannot be searched" in secrets_of(CANARY).redact_value(Mute())


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        try:
            if cause is not None:
                raise cause
        finally:
            raise error
    except BaseException as caught:
        return caught


@pytest.mark.promise("SEC-3")
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ToolError(f"no {CANARY}"), ToolError),
        (Retry(f"no {CANARY}", after=3), Retry),
        (RuntimeError(CANARY), Redacted),
        (KeyError({"token": CANARY}), Redacted),
        (ExceptionGroup("many", [RuntimeError(CANARY)]), Redacted),
    ],
)
def test_an_error_keeps_its_meaning_and_loses_the_secret(error: Exception, kind: type[Exception]) -> None:
    made = secrets_of(CANARY).redact_error(raised(error))
    assert type(made) is kind
    assert getattr(made, "after", None) == getattr(error, "after", None)
    shown = "".join(traceback.format_exception(made))
    assert "canary" not in shown
    assert "raised" in shown, "the note tells where it came from"


@pytest.mark.promise("SEC-3")
def test_a_cause_with_a_secret_is_cut_off_and_told_in_a_note() -> None:
    error = raised(ToolError("cannot"), cause=RuntimeError(f"401 for {CANARY}"))
    made = secrets_of(CANARY).redact_error(error)
    shown = "".join(traceback.format_exception(made))
    assert made is error
    assert "canary" not in shown
    assert f"401 for {MASK}" in shown


class Worded(Exception):
    """Words its text itself."""

    def __str__(self) -> str:
        return "cannot"


@pytest.mark.promise("SEC-3")
@pytest.mark.parametrize("settle", [False, True])
def test_a_note_with_a_secret_is_redacted(settle: bool) -> None:
    error = raised(Worded(), cause=RuntimeError(f"401 for {CANARY}"))
    error.add_note(f"with {CANARY}")
    made = secrets_of(CANARY).redact_error(settled(error) if settle else error)
    shown = "".join(traceback.format_exception(made))
    assert "canary" not in shown
    assert f"401 for {MASK}" in shown
    assert f"with {MASK}" in shown


@pytest.mark.promise("SEC-3")
@pytest.mark.parametrize("chosen", ["json", "console"])
def test_logs_show_no_secret_that_lives(chosen: Any) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    secret = Secret(CANARY)
    try:
        configure_logs(chosen, "info", stream)
        logging.getLogger("a").info("using %s", secret.get_secret_value())
        try:
            raise RuntimeError(secret.get_secret_value())
        except RuntimeError:
            logging.getLogger("a").exception("failed with %s", {"token": secret.get_secret_value()})
    finally:
        logging.captureWarnings(False)
        root.handlers, root.level = before, level
    assert "canary" not in stream.getvalue()
    assert stream.getvalue().count(MASK) >= 3


def test_a_secret_that_is_gone_masks_nothing_any_more() -> None:
    text = "gone" + "-for-good"
    assert redact(text) == text
    secret = Secret(text)
    assert redact(text) == MASK
    del secret
    gc.collect()
    assert redact(text) == text


async def test_a_tool_without_async_gets_a_credential_too() -> None:
    async def token(asked: Any) -> Granted:
        return Granted(CANARY)

    ctx = context(resources={"credentials": Credentials({"a": token})}, _loop=asyncio.get_running_loop())
    secret = await asyncio.to_thread(lambda: asyncio.run(ctx.credentials("a")))
    assert secret.get_secret_value() == CANARY
    assert ctx._secrets.redact_text(CANARY) == MASK


@pytest.mark.promise("SEC-3")
@pytest.mark.parametrize("before", range(7))
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_less_than_a_byte_of_a_secret_is_left_in_base64_of_a_text_around_it(before: int, encode: Any) -> None:
    text = encode(b"a" * before + CANARY.encode() + b"z" * before).decode()
    shown = secrets_of(CANARY).redact_text(text)
    assert MASK in shown
    left, right = shown.split(MASK)
    assert len(left) + len(right) <= len(encode(b"a" * before + b"z" * before)) + 4


@pytest.mark.promise("SEC-3")
def test_what_checks_raise_and_what_leaves_a_step_shows_no_secret_of_the_process() -> None:
    held = Secret(CANARY)

    def check(value: int) -> int:
        raise KeyError(f"Basic {base64.b64encode(f'user:{CANARY}'.encode()).decode()}")

    def work(n: Any) -> None: ...

    work.__annotations__["n"] = Annotated[int, AfterValidator(check)]
    ended = check_call(Tool(work), {"n": 1})
    assert isinstance(ended, CallResult)
    assert MASK in ended.value
    error = failures.again("NotYet", f"cannot reach {urllib.parse.quote(CANARY, safe='')}", after=1)
    assert MASK in error.message
    assert held.get_secret_value() == CANARY


def test_a_secret_that_stands_in_every_text_leaves_the_texts_of_others_readable() -> None:
    short = Secret("x")
    assert redact("no extra exits") == "no extra exits"
    assert Redactor([short])("x") == MASK
