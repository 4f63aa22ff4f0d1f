"""Metrics of steps; those of sessions are the workflow's.

Invariant: only OpenTelemetry's API is used here. Where no SDK is set up, nothing is computed.
"""

from __future__ import annotations

from typing import Final

from opentelemetry import metrics

from inturn.values import Usage

STEPS: Final = "inturn.steps"
"""Counter: bodies of steps that ran, by `kind` (model, tool, deliver) and `status`."""
RETRIES: Final = "inturn.retries"
"""Counter: failed attempts that will be repeated, by `kind` and `class` (own, unknown, outage)."""
ACCOUNT: Final = "inturn.account_trouble"
"""Counter: model calls that nobody's request would have passed (key, bill, limit, model gone), by `model`."""
STUCK: Final = "inturn.stuck"
"""Counter: steps reported for making no progress, by `on` (limit, deadlock, body)."""
JOURNAL_BEHIND: Final = "inturn.journal.behind"
"""Counter: sessions whose steps wait, since the worker's journal is another than theirs, or ends before it."""
COST: Final = "inturn.model.cost"
"""Counter, US dollars: what models cost, by `model`; attempts without an answer, too."""
CACHE_HIT: Final = "inturn.model.cache_hit"
"""Histogram: which part of a prompt came from the cache, where it was cached, by `model`."""
CACHE_MISSED: Final = "inturn.model.cache_missed"
"""Counter: prompts that should have been found in the cache, by `model` and `reason`: each was paid anew."""
TOKENS: Final = "gen_ai.client.token.usage"
"""Histogram, tokens, by `gen_ai.token.type`."""
MODEL_DURATION: Final = "gen_ai.client.operation.duration"
"""Histogram, seconds."""

_meter: Final = metrics.get_meter("inturn")
steps: Final = _meter.create_counter(STEPS, "{step}", "Bodies of steps that ran.")
retries: Final = _meter.create_counter(RETRIES, "{attempt}", "Failed attempts that will be repeated.")
journal_behind: Final = _meter.create_counter(JOURNAL_BEHIND, "{session}", "Sessions that wait for their journal.")
account: Final = _meter.create_counter(ACCOUNT, "{call}", "Model calls that the account stands in the way of.")
stuck: Final = _meter.create_counter(STUCK, "{step}", "Steps reported for making no progress.")
cost: Final = _meter.create_counter(COST, "{USD}", "What models cost.")
cache_hit: Final = _meter.create_histogram(
    CACHE_HIT,
    "1",
    "Part of a prompt that came from the cache.",
    explicit_bucket_boundaries_advisory=[0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99],
)
missed: Final = _meter.create_counter(CACHE_MISSED, "{request}", "Prompts that were not found in the cache.")
# The bounds that the semantic conventions ask for.
tokens: Final = _meter.create_histogram(
    TOKENS, "{token}", "Tokens of model calls.", explicit_bucket_boundaries_advisory=[4**n for n in range(14)]
)
duration: Final = _meter.create_histogram(
    MODEL_DURATION,
    "s",
    "Duration of model calls.",
    explicit_bucket_boundaries_advisory=[0.01 * 2**n for n in range(14)],
)


def count_retry(kind: str, failure: str) -> None:
    """Count a failed attempt that will be repeated, by the step's kind and the failure's class."""
    retries.add(1, {"kind": kind, "class": failure})


def count_journal_behind() -> None:
    """Count a session whose steps wait for its journal."""
    journal_behind.add(1)


def count_account_trouble(model: str) -> None:
    """Count a model call that failed for the account's sake."""
    account.add(1, {"model": model})


def count_cost(model: str, usage: Usage) -> None:
    """Count what a request cost."""
    if usage.usd_nanos:
        cost.add(usage.usd, {"model": model})
    if usage.cache_hit is not None:
        cache_hit.record(usage.cache_hit, {"model": model})


def count_cache_missed(model: str, reason: str) -> None:
    """Count a prompt that should have been found in the cache."""
    missed.add(1, {"model": model, "reason": reason})


def count_stuck(on: str) -> None:
    """Count a step that is reported for making no progress, by what it waits on."""
    stuck.add(1, {"on": on})
