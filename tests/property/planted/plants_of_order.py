"""Bugs in the order: of sources, of turns, of what belongs to one turn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest import mock

from inturn.policy import InboxPolicy
from inturn_workflows.inbox import inbox as inbox_module
from inturn_workflows.inbox import queue as queue_module
from inturn_workflows.inbox.books import Books
from inturn_workflows.inbox.endings import Endings
from inturn_workflows.inbox.events import Admission, Arrival, Queued, Refusal
from inturn_workflows.inbox.inbox import Inbox
from inturn_workflows.inbox.queue import EventQueue
from inturn_workflows.inbox.rate import TokenBucket
from inturn_workflows.inbox.sequencing import Release, Sequencer, Source
from tests.property.planted.planting import Plant, all_of, at_restore, instead, with_policy, wrap

FAR = 1e12


def _last_in_first_out(take: Any) -> Any:
    def bug(inbox: Inbox, now: float, policy: InboxPolicy) -> list[Queued]:
        inbox.queue.events.reverse()
        taken = take(inbox, now, policy)
        inbox.queue.events.reverse()
        return taken  # type: ignore[no-any-return]

    return bug


def _interrupt_waits_in_line(admit: Any) -> Any:
    def bug(inbox: Inbox, arrival: Arrival, *given: Any, **named: Any) -> Admission:
        admission: Admission = admit(inbox, arrival, *given, **named)
        receipt = admission.receipt
        if arrival.event.when_busy == "interrupt" and receipt.status == "accepted" and receipt.position == 0:
            inbox.queue.events.append(inbox.queue.events.pop(0))
        return admission

    return bug


def _only_what_was_sent_interrupts(admit: Any) -> Any:
    def bug(inbox: Inbox, arrival: Arrival, *given: Any, **named: Any) -> Admission:
        admission: Admission = admit(inbox, arrival, *given, **named)
        return admission if arrival.event.when_busy == "interrupt" else replace(admission, interrupts=None)

    return bug


def _steers_past_its_source(steer: Any) -> Any:
    def bug(inbox: Inbox, *given: Any) -> Any:
        with mock.patch.object(Queued, "numbered", property(lambda queued: False)):
            return steer(inbox, *given)

    return bug


def _one_too_far(advance: Any) -> Any:
    def bug(sequencer: Sequencer, queued: Queued) -> Any:
        followers = advance(sequencer, queued)
        source = sequencer.sources[queued.source]
        source.next = (source.next or 0) + 1
        return followers

    return bug


def _gap_one_too_long(end: Any) -> Any:
    def bug(sequencer: Sequencer, source: str, policy: InboxPolicy) -> Release:
        released: Release = end(sequencer, source, policy)
        if released.gap is not None:
            released.gap = replace(released.gap, last=released.gap.last + 1)
        return released

    return bug


def _placed(wrong: dict[str, str]) -> Plant:
    def make(place: Any) -> Any:
        return lambda sequencer, *given: (lambda found: wrong.get(found, found))(place(sequencer, *given))

    return wrap("verdict", make, Sequencer)


def _held_number_held_twice(place: Any) -> Any:
    def bug(sequencer: Sequencer, source: str, sequence: int, *given: Any) -> Any:
        held = any(queued.source == source and queued.sequence == sequence for queued in sequencer.held)
        found = place(sequencer, source, sequence, *given)
        return "held" if held and found == "late" else found

    return bug


def _clock_of_the_newest(deadline: Any) -> Any:
    def bug(sequencer: Sequencer, source: str, policy: InboxPolicy) -> float:
        mine = [queued.at for queued in sequencer.held if queued.source == source]
        return float(
            deadline(sequencer, source, policy) and deadline(sequencer, source, policy) + max(mine) - min(mine)
        )

    return bug


def _alone(sequencer: Sequencer, queued: Queued) -> list[Queued]:
    sequencer._touch(queued.source).next = queued.sequence + 1
    return [queued]


def _released_as_they_came(up_to: Any) -> Any:
    def bug(sequencer: Sequencer, *given: Any) -> Release:
        released: Release = up_to(sequencer, *given)
        released.ready.sort(key=lambda queued: queued.n)
        return released

    return bug


def _no_entry_of_a_gap(decide: Any) -> Any:
    return lambda books, type_, *given: None if type_ == "session.gap" else decide(books, type_, *given)


def _gap_policy_turned_around(end: Any) -> Any:
    def bug(sequencer: Sequencer, source: str, policy: InboxPolicy) -> Release:
        other = "skip" if policy.on_gap == "park" else "park"
        return end(sequencer, source, policy.model_copy(update={"on_gap": other}))  # type: ignore[no-any-return]

    return bug


def _wait_of_the_last(sequencer: Sequencer, source: str, until: float) -> None:
    sequencer._touch(source).wait_until = until


def _wrong_one_makes_room(sequencer: Sequencer, policy: InboxPolicy) -> Release:
    newest = sequencer.held[-1].source
    return sequencer._end(newest, policy)


def _forgotten_while_it_holds(touch: Any) -> Any:
    def bug(sequencer: Sequencer, source: str, *said: Any) -> Source:
        kept: Source = touch(sequencer, source, *said)
        if len(sequencer.sources) > 2:
            del sequencer.sources[next(iter(sequencer.sources))]
        return kept

    return bug


def _never_forgotten(sequencer: Sequencer, source: str, said: str | None = None) -> Source:
    kept = sequencer.sources.pop(source, Source())
    sequencer.sources[source] = kept
    kept.sparse = kept.sparse if said is None else said == "sparse"
    return kept


def _policy_alone(sequencer: Sequencer, source: str, policy: InboxPolicy, said: str | None = None) -> bool:
    return policy.sequencing == "sparse"


def _merge_across_sources(can_merge: Any) -> Any:
    def bug(queue: EventQueue, queued: Queued, policy: InboxPolicy) -> bool:
        source = queue.events[-1].source if queue else queued.source
        disguised = queued.model_copy(update={"event": {**queued.event, "source": source}})
        return can_merge(queue, disguised, policy)  # type: ignore[no-any-return]

    return bug


def _steer_any_turn(steer: Any) -> Any:
    def bug(inbox: Inbox, turn: str, now: float, policy: InboxPolicy) -> Any:
        for queued in inbox.queue.events:
            queued.steers = queued.steers and turn
        return steer(inbox, turn, now, policy)

    return bug


def _joins_the_turn_before(cancel: Any) -> Any:
    def bug(inbox: Inbox, *given: Any) -> bool:
        joining = {queued.turn for queued in inbox.queue.events if queued.joins}
        cancelled = cancel(inbox, *given)
        for queued in inbox.queue.events[1:]:
            queued.joins = queued.turn in joining
        return cancelled  # type: ignore[no-any-return]

    return bug


def _reject_sees_no_held(check: Any) -> Any:
    def bug(inbox: Inbox, arrival: Arrival, *given: Any, **named: Any) -> Refusal | None:
        if arrival.event.when_busy == "reject" and not inbox.queue and not named["busy"]:
            arrival = replace(arrival, event=arrival.event.model_copy(update={"when_busy": "queue"}))
        return check(inbox, arrival, *given, **named)  # type: ignore[no-any-return]

    return bug


def _expired_costs_a_token(expires: Any) -> Any:
    def bug(inbox: Inbox, queued: Queued, now: float, policy: InboxPolicy) -> bool:
        expired = expires(inbox, queued, now, policy)
        if expired:
            inbox.rate.spend(now, policy)
        return expired  # type: ignore[no-any-return]

    return bug


def _stops_behind_a_gap(note_refusal: Any) -> Any:
    def bug(inbox: Inbox, event: Any, refusal: Refusal, *given: Any) -> None:
        note_refusal(inbox, event, replace(refusal, behind_a_gap=False), *given)

    return bug


def _room_is_made_first(admit: Any) -> Any:
    def bug(inbox: Inbox, queued: Queued, now: float, policy: InboxPolicy, turn: str | None) -> Any:
        sequencer, where = inbox.sequencer, (queued.source, queued.sequence)
        while sequencer.verdict(*where, policy) == "held" and len(sequencer.held) >= policy.hold_capacity:
            inbox._released(sequencer.release_early(policy), now, policy, turn)
        return admit(inbox, queued, now, policy, turn)

    return bug


PLANTS: dict[str, Plant] = {
    "the newest event is taken first": wrap("take", _last_in_first_out),
    "an interrupting event waits in line": wrap("admit", _interrupt_waits_in_line),
    "an interrupting event overtakes its source": instead("front_for", lambda queue, queued: 0, EventQueue),
    "a steering event overtakes its source": wrap("steer", _steers_past_its_source),
    "an event that had expired when it came interrupts": instead(
        "interrupts", lambda queued, now, default: queued.mode == "interrupt", Queued
    ),
    "what a numbered event lets go does not interrupt": wrap("admit", _only_what_was_sent_interrupts),
    "reject does not see what is held": wrap("check", _reject_sees_no_held),
    # Sources.
    "one number too many is passed": wrap("advance", _one_too_far, Sequencer),
    "those that waited for an event stay behind": instead("advance", _alone, Sequencer),
    "a late event is processed": _placed({"late": "next"}),
    "a late event is held": _placed({"late": "held"}),
    "a number is held twice": wrap("verdict", _held_number_held_twice, Sequencer),
    "a gap is told one too long": wrap("_end", _gap_one_too_long, Sequencer),
    "a gap is not told": wrap("decide", _no_entry_of_a_gap, Books),
    "a gap never ends": instead("_deadline", lambda sequencer, source, policy: FAR, Sequencer),
    "a gap ends at once": with_policy("_deadline", Sequencer, gap_timeout=0.0),
    "a gap's clock starts with the newest": wrap("_deadline", _clock_of_the_newest, Sequencer),
    "a gap is skipped where it is to park, and parks where it is to skip": wrap(
        "_end", _gap_policy_turned_around, Sequencer
    ),
    "nobody is told when a gap ends": instead("next_due", lambda sequencer, policy: None, Sequencer),
    "a refused event does not stop the clock": instead("extend_wait", lambda *given: None, Sequencer),
    "any refused event stops the clock": instead("misses", lambda *given: True, Sequencer),
    "one that held events keep out stops the clock": wrap("note_refusal", _stops_behind_a_gap),
    "a second refusal starts the clock": instead("extend_wait", _wait_of_the_last, Sequencer),
    "a cancelled held event leaves a gap": with_policy("cancel", Sequencer, sequencing="sparse"),
    "a cancelled sparse event keeps a place": with_policy("cancel", Sequencer, sequencing="dense"),
    "sparse events leave as they came": wrap("_up_to", _released_as_they_came, Sequencer),
    "sparse events do not wait": with_policy("_deadline", Sequencer, reorder_window=0.0),
    "cleared sources wait for what was cleared": instead(
        "clear", lambda sequencer: _without_moving(sequencer), Sequencer
    ),
    "the hold buffer has no bound": all_of(
        with_policy("check", hold_capacity=500), with_policy("_admit_numbered", hold_capacity=500)
    ),
    "the hold buffer makes room before what has come counts": wrap("_admit_numbered", _room_is_made_first),
    "the hold buffer makes room at the wrong source": instead("release_early", _wrong_one_makes_room, Sequencer),
    "a full inbox refuses what would fill a gap": instead("fills", lambda *given: False, Sequencer),
    "a source that holds events is forgotten": wrap("_touch", _forgotten_while_it_holds, Sequencer),
    "what an event says of its source is not heard": instead("sparse", _policy_alone, Sequencer),
    "sources are never forgotten": instead("_touch", _never_forgotten, Sequencer),
    "restore loses what is held": at_restore(lambda state: state.inbox.sequencer.held.clear()),
    "restore loses the sources' places": at_restore(lambda state: state.inbox.sequencer.sources.clear()),
    "restore loses a cancelled one's place": at_restore(
        lambda state: setattr(state.inbox.sequencer, "held", [q for q in state.inbox.sequencer.held if q.event])
    ),
    # What belongs to one turn.
    "events of two sources are merged": wrap("can_merge", _merge_across_sources, EventQueue),
    "one too many is merged": wrap("can_merge", lambda can_merge: _one_more(can_merge), EventQueue),
    "more bytes are merged than one event may have": instead("MAX_CONTENT_BYTES", 2**40, queue_module),
    "more bytes steer at once than one event may have": instead("MAX_CONTENT_BYTES", 2**40, inbox_module),
    "a merged event is not booked": instead("merge", lambda *given: None, Endings),
    "events lose their host and join the turn before": wrap("cancel", _joins_the_turn_before),
    "an event steers another turn": wrap("steer", _steer_any_turn),
    "more steers at once than one turn takes": with_policy("steer", merge_limit=200),
    # Rates.
    "the advice ignores the rate": instead("wait", lambda bucket, turns, now, policy: 0.0, TokenBucket),
    "turns cost no token": instead("spend", lambda bucket, now, policy: None, TokenBucket),
    "an expired event costs a token": wrap("_expires", _expired_costs_a_token),
    "the burst is one too large": wrap("ready_at", lambda ready_at: _larger_burst(ready_at), TokenBucket),
    "the bucket is full again after continue-as-new": at_restore(
        lambda state: setattr(state.inbox.rate, "full_at", 0.0)
    ),
    "the rate wakes too early": wrap(
        "next_due", lambda due: lambda inbox, policy: 0.0 if inbox.queue else due(inbox, policy)
    ),
}


def _without_moving(sequencer: Sequencer) -> list[Queued]:
    cleared, sequencer.held = sequencer.held, []
    return [queued for queued in cleared if queued.event]


def _one_more(can_merge: Any) -> Any:
    def bug(queue: EventQueue, queued: Queued, policy: InboxPolicy) -> bool:
        return can_merge(queue, queued, policy.model_copy(update={"merge_limit": policy.merge_limit + 1}))  # type: ignore[no-any-return]

    return bug


def _larger_burst(ready_at: Any) -> Any:
    return lambda bucket, policy: ready_at(bucket, policy.model_copy(update={"burst": policy.burst + 1}))
