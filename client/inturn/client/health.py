"""What is wrong with a session, judged in one place: what, why, and what to do.

Invariant: of several troubles the one is named that has to be mended first: without its run nothing else matters,
without a worker no step can be.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from inturn import names
from inturn.values import Health, SessionStatus

_BY_FAILURE: Final[dict[str, Health]] = {names.JOURNAL_BEHIND: "journal_behind", names.ACCOUNT: "account"}
"""Types of a waiting step's last failure, the more urgent first."""


@dataclass(frozen=True, slots=True)
class Signs:
    """What was seen of a session.

    Attributes:
        left: Events that a run left open that the server or an operator ended; `None`: nobody ended it.
        answers: The session itself answered.
        failing: Its workflow tasks fail.
        polled: Workers poll its task queue.
        failures: Types of its pending steps' last failures.
        lost: Parked events whose content its journal does not have.
    """

    left: Collection[str] | None = None
    answers: bool = True
    failing: bool = False
    polled: bool = True
    failures: Collection[str] = ()
    lost: Collection[str] = ()


def judge(signs: Signs) -> Health:
    """Return what is wrong, the first of all that is."""
    if signs.left is not None:
        return "ended" if signs.left else "ok"
    if not signs.answers and not signs.polled:
        return "no_worker"
    if signs.failing:
        return "task_failing"
    waits: Health | None = next((health for kind, health in _BY_FAILURE.items() if kind in signs.failures), None)
    if waits is not None:
        return waits
    if not signs.answers:
        return "no_worker"
    return "content_lost" if signs.lost else "ok"


_TEXTS: Final[dict[Health, tuple[str, str, str]]] = {
    "ended": (
        "the session's run was ended from outside while events were open",
        "it was terminated, failed or timed out: nothing takes these events up",
        "send it any event, and it begins anew with what was open; `inturn audit --deep` names what was lost",
    ),
    "task_failing": (
        "the session's workflow tasks fail, and are tried again",
        "a worker runs code that cannot replay or read this session",
        "look at the worker's log; go back to the version that wrote the session, or on to one that can read it",
    ),
    "no_worker": (
        "the session does not answer",
        "no worker polls its task queue, or all are busy",
        "start a worker on its task queue; `inturn doctor` looks at that",
    ),
    "journal_behind": (
        "the session waits for its journal",
        "the worker's journal is another than the session's, or ends before what it has seen",
        "point the workers to the right journal (INTURN_JOURNAL); where that is gone, `inturn journal accept SESSION`",
    ),
    "content_lost": (
        "events are parked whose content the journal does not have",
        "the journal lost what it had taken, or their senders name another one",
        "send them again, each with its event id and content: that drives them again; or discard them",
    ),
    "account": (
        "the session waits for the model provider's account",
        "the provider refuses the key, the account or the model",
        "mend the key, the bill or the limit, or the agent's model: the step is tried again by itself",
    ),
}


def texts(health: Health) -> tuple[str, str, str]:
    """Return what is wrong, why, and what to do; `health` is not `ok`."""
    return _TEXTS[health]


def explain(status: SessionStatus) -> str | None:
    """Return in words what is wrong with a session, why, and what to do; `None` where nothing is."""
    if status.health not in _TEXTS:
        return None
    what, why, to_do = texts(status.health)
    said = status.turn.last_error or status.turn.waiting_for if status.turn else None
    return f"{what}: {said or why}. To do: {to_do}"
