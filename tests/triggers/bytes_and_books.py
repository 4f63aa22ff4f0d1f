"""A session is destroyed by what it accepted; the books say ok when they are not."""

from __future__ import annotations

from typing import Final

from tests.triggers.trigger import Edit, Plant, Trigger

_ADMISSION: Final = "workflows/inturn_workflows/admission.py"
_ACCEPTED: Final = "client/inturn/client/audit/accepted.py"
_CLAIM_CHECK: Final = "client/inturn/client/claim_check.py"
_CONTROLS: Final = "workflows/inturn_workflows/controls.py"
_DECODING: Final = "client/inturn/decoding.py"
_INBOX: Final = "workflows/inturn_workflows/inbox/inbox.py"
_KNOWN: Final = "workflows/inturn_workflows/inbox/known.py"
_LISTING: Final = "client/inturn/client/listing.py"
_MAILBOX: Final = "workflows/inturn_workflows/mailbox.py"
_POSITION: Final = "client/inturn/journal/log/position.py"
_STATE: Final = "workflows/inturn_workflows/state.py"

TRIGGERS: Final = (
    Trigger(
        "A1",
        "215 events of 250 KB, acknowledged without a worker, end the run at the server's bound",
        {
            "unit/client/test_claim_check.py": (
                "of_a_large_event_a_reference_travels_and_the_journal_has_the_rest",
                "a_client_without_a_journal_is_refused_before_the_run_is_full",
                "many_clients_without_a_journal_that_look_at_once_cannot_fill_a_run",
                "small_events_are_refused_too_where_they_would_end_the_run",
                "where_the_journal_is_away_and_the_run_is_full_nothing_is_acknowledged",
            ),
            "integration/test_claim_check.py": (
                "large_events_without_a_worker_are_all_taken_and_all_answered_in_order",
                "large_events_beside_a_tool_that_runs_for_long_cost_its_run_little",
                "without_a_journal_large_events_are_refused_before_they_end_the_run",
            ),
        },
        (
            Plant(
                "of_a_large_event_a_reference_travels_and_the_journal_has_the_rest",
                Edit(_CLAIM_CHECK, "if size <= sizes.INLINE:", "if True:"),
            ),
            Plant(
                "a_client_without_a_journal_is_refused_before_the_run_is_full",
                Edit(_CLAIM_CHECK, "if used + size <= sizes.INLINE_RUN:", "if True:"),
            ),
            Plant(
                "small_events_are_refused_too_where_they_would_end_the_run",
                Edit(
                    _CLAIM_CHECK,
                    "(used := await self._used()) > sizes.SIGNALLED_RUN",
                    "(used := await self._used()) < 0",
                ),
            ),
        ),
    ),
    Trigger(
        "A2",
        "some 1,600 small signals of control characters make the next continue-as-new larger than the server takes",
        {
            "unit/core/test_carried_bytes.py": (
                "a_compartment_that_is_full_of_the_worst_keeps_its_bound",
                "all_compartments_full_at_once_fit_and_nothing_but_answers_goes",
                "over_any_sequence_of_what_comes_and_ends_the_next_run_takes_what_is_carried",
                "of_more_than_is_carried_the_last_are_set_aside_until_the_rest_fits",
                "portions_keep_order_and_bytes_and_lose_nothing",
                "what_does_not_fit_for_decisions_fits_once_they_are_recorded",
            ),
            "unit/core/test_hostile_messages.py": ("every_text_of_a_control_is_bounded_in_bytes_as_written",),
            "integration/test_inbox_bounds.py": (
                "a_session_fed_with_the_worst_goes_on_in_its_next_run_and_closes_with_all_of_it_recorded",
            ),
        },
        (
            Plant(
                "every_text_of_a_control_is_bounded_in_bytes_as_written",
                Edit(_CONTROLS, "(size := sizes.written(value) - 2) > most", "(size := len(value)) > most"),
            ),
            Plant(
                "a_compartment_that_is_full_of_the_worst_keeps_its_bound",
                Edit(_STATE, "while kept and (len(kept) > limit or over > 0):", "while kept and len(kept) > limit:"),
            ),
            Plant(
                "what_does_not_fit_for_decisions_fits_once_they_are_recorded",
                Edit(_STATE, "        return over <= 0\n", "        return True\n"),
            ),
        ),
    ),
    Trigger(
        "A3",
        "a session that was asked and sent to is reset, and its next worker cannot replay it",
        {
            "unit/core/test_mailbox.py": (
                "every_delivery_of_the_same_messages_is_taken_in_one_order",
                "a_signal_comes_behind_the_update_that_its_sender_made_before_it",
                "a_message_waits_for_all_that_the_activation_brings",
            ),
            "integration/test_operators.py": (
                "a_reset_session_that_was_sent_to_both_ways_lives_through_restarts",
                "what_one_handle_sent_keeps_its_order_through_a_reset",
            ),
        },
        (
            Plant(
                "a_message_waits_for_all_that_the_activation_brings",
                Edit(
                    _MAILBOX,
                    "self._updates.append(Updated(key, answer, answered, size))",
                    "Updated(key, answer, answered, size).take()",
                ),
            ),
            Plant(
                "a_signal_comes_behind_the_update_that_its_sender_made_before_it",
                Edit(_MAILBOX, 'behind.get(signal.after or "", first).append(signal)', "first.append(signal)"),
            ),
        ),
    ),
    Trigger(
        "A4",
        "one signal of 2 MB holds the interpreter for seconds, and its session's neighbours with it",
        {
            "unit/core/test_hostile_messages.py": (
                "a_full_message_of_nonsense_costs_little_and_is_refused_in_a_line",
                "what_a_control_says_beside_is_not_kept_and_a_large_one_is_not_read",
                "any_bytes_are_read_or_undecodable",
            ),
            "integration/test_bad_events.py": (
                "full_messages_of_nonsense_cost_neither_the_session_nor_others_more_than_a_moment",
            ),
        },
        (
            Plant(
                "a_full_message_of_nonsense_costs_little_and_is_refused_in_a_line",
                Edit(
                    "client/inturn/events.py", "if isinstance(value, list) and len(value) > sizes.BLOCKS:", "if False:"
                ),
            ),
            Plant(
                "what_a_control_says_beside_is_not_kept_and_a_large_one_is_not_read",
                Edit(_DECODING, "if len(payload.data) > most:", "if False:"),
            ),
        ),
    ),
    Trigger(
        "A5",
        "an update that only waits names an id of 2 MiB: echoed, its task fails while it is repeated",
        {
            "integration/test_bad_events.py": ("an_id_that_is_none_is_refused_wherever_it_enters_and_echoed_nowhere",),
            "unit/core/test_hostile_messages.py": ("what_is_no_event_is_known_by_the_id_it_names",),
            "unit/core/test_inbox.py": ("a_control_is_short_since_the_session_remembers_it",),
            "unit/client/test_keys.py": ("an_id_never_holds_what_keys_are_put_together_with", "only_text_is_an_id"),
        },
        (
            Plant(
                "an_id_that_is_none_is_refused_wherever_it_enters_and_echoed_nowhere",
                Edit(_ADMISSION, "if only_waits(fields) and is_id(event_id):", "if only_waits(fields) and event_id:"),
            ),
            Plant(
                "what_is_no_event_is_known_by_the_id_it_names",
                Edit(_DECODING, "return event_id if is_id(event_id) else None", "return event_id"),
            ),
        ),
    ),
    Trigger(
        "A6",
        "an id that the window forgot waits three times: the main loop raises for ever",
        {
            "unit/core/test_known_ids.py": (
                "an_event_that_runs_is_a_duplicate_though_the_window_forgot_it",
                "an_event_that_is_parked_here_is_a_duplicate_and_so_is_one_that_is_driven_again",
                "copies_of_one_id_never_break_the_queue_or_a_turn",
            ),
            "unit/core/test_inbox.py": ("what_waits_for_longer_than_the_window_remembers_is_a_duplicate_still",),
            "integration/test_faults.py": (
                "an_event_that_our_own_code_fails_at_costs_no_other_its_turn",
                "an_update_that_our_own_code_fails_at_is_accepted_and_parked",
            ),
        },
        (
            Plant(
                "what_waits_for_longer_than_the_window_remembers_is_a_duplicate_still",
                Edit(
                    _KNOWN,
                    "if id_ in running or self.queue.find(id_) or self.sequencer.holds(id_) or self.parked",
                    "if id_ in running or self.parked",
                ),
            ),
            Plant(
                "an_event_that_runs_is_a_duplicate_though_the_window_forgot_it",
                Edit(_KNOWN, "if id_ in running or self.queue.find", "if self.queue.find"),
            ),
            Plant(
                "an_event_that_our_own_code_fails_at_costs_no_other_its_turn",
                Edit(
                    _ADMISSION,
                    '            self._set_aside(args, self._faults.note("admitting a signal", error))',
                    "            raise",
                ),
            ),
        ),
    ),
    Trigger(
        "B1",
        "a run was terminated with events that it had accepted: health ok, audit ok, and nobody has them",
        {
            "unit/client/test_health.py": ("the_first_trouble_to_be_mended_is_named",),
            "unit/client/test_audit_history.py": (
                "every_run_of_the_workflow_id_is_read_once_and_runs_that_are_gone_are_named",
            ),
            "integration/test_books.py": (
                "events_of_a_terminated_run_are_a_health_and_differences_with_and_without_a_worker",
                "a_deep_audit_counts_the_runs_of_every_chain",
            ),
            "integration/test_operators.py": (
                "what_a_terminated_run_had_accepted_comes_before_what_came_since",
                "what_no_worker_ever_saw_is_not_lost_with_its_run",
            ),
        },
        (
            Plant(
                "the_first_trouble_to_be_mended_is_named",
                Edit("client/inturn/client/health.py", 'return "ended" if signs.left else "ok"', 'return "ok"'),
            ),
            Plant(
                "every_run_of_the_workflow_id_is_read_once_and_runs_that_are_gone_are_named",
                Edit(_ACCEPTED, "for latest in [seen.run_id, *await self._listed()]:", "for latest in [seen.run_id]:"),
            ),
            Plant(
                "what_a_terminated_run_had_accepted_comes_before_what_came_since",
                Edit("workflows/inturn_workflows/turn_ends.py", "if result.stop == RECOVERED:", "if False:"),
            ),
        ),
    ),
    Trigger(
        "B1 decided",
        "what a terminated run had decided and not recorded is nowhere",
        {
            "unit/activities/test_unrecorded.py": (
                "an_end_that_a_run_began_with_is_recorded",
                "what_a_record_had_not_said_to_have_written_is_written",
                "a_parked_event_that_was_given_up_stays_given_up",
                "what_was_no_event_is_parked_and_what_has_its_id_is_sent",
                "an_event_that_had_joined_another_is_not_said_again",
            ),
            "integration/test_recovery.py": (
                "what_was_decided_beside_a_turn_stands_when_its_run_is_ended_from_outside",
                "a_run_that_never_began_a_turn_leaves_no_false_alarm",
            ),
        },
        (
            Plant(
                "an_end_that_a_run_began_with_is_recorded",
                Edit(
                    "activities/inturn_activities/recovery.py",
                    "await old.unrecorded.write(journal, session, old.chain)",
                    "pass",
                ),
            ),
            Plant(
                "an_event_that_had_joined_another_is_not_said_again",
                Edit(
                    "activities/inturn_activities/recovery.py",
                    "[running, *await merged(journal, session, done.told)]",
                    "[running]",
                ),
            ),
        ),
    ),
    Trigger(
        "B1 counted",
        "an event that was only counted and came again hides the loss of another",
        {
            "unit/client/test_audit_pairs.py": (
                "a_loss_is_named_whatever_makes_up_for_it",
                "one_that_is_lost_and_one_that_nobody_sent_are_both_named",
                "no_loss_hides_behind_a_flood_of_nonsense",
            ),
        },
        (
            Plant(
                "a_loss_is_named_whatever_makes_up_for_it",
                Edit(
                    "client/inturn/journal/views/turns.py",
                    "return any(until is not None",
                    "return bool(self.signals) or any(until is not None",
                ),
            ),
        ),
    ),
    Trigger(
        "B2",
        "false alarms: an old duplicate counted twice, a signal that carries `wait` accepted by no run",
        {
            "unit/client/test_audit_history.py": (
                "events_are_those_that_the_session_takes_for_events",
                "what_is_parked_under_the_id_that_it_names_was_no_event",
                "what_no_session_reads_names_nobody",
            ),
            "unit/client/test_audit.py": ("events_that_ended_in_every_way_there_is_are_no_difference",),
            "integration/test_books.py": (
                "a_duplicate_older_than_the_window_that_ends_without_a_turn_is_counted_once",
                "signals_that_only_wait_are_no_difference",
                "an_audit_of_a_busy_session_raises_no_false_alarm",
            ),
        },
        (
            Plant(
                "what_is_parked_under_the_id_that_it_names_was_no_event",
                Edit(_ACCEPTED, "into.named |= {invalid.event_id} if invalid.event_id else set()", "pass"),
            ),
            Plant(
                "events_are_those_that_the_session_takes_for_events",
                Edit(
                    _ACCEPTED,
                    "if message.update_id is not None and only_waits(fields):",
                    'if message.update_id is not None and fields.get("wait"):',
                ),
            ),
            Plant(
                "a_duplicate_older_than_the_window_that_ends_without_a_turn_is_counted_once",
                Edit(
                    "workflows/inturn_workflows/steps.py",
                    "if decision.n and (end := result.stood.pop(decision.event_id, None)) is not None:",
                    "if False:",
                ),
            ),
        ),
    ),
    Trigger(
        "B3",
        "a worker that points at another journal answers without memory, and its head goes back",
        {
            "unit/activities/test_positions.py": (
                "a_worker_with_an_empty_new_journal_takes_no_turn",
                "a_worker_with_another_journal_takes_no_turn_however_long_that_is",
                "a_worker_with_an_older_copy_takes_no_turn",
                "no_step_of_any_kind_touches_a_journal_that_is_not_the_sessions",
                "an_accepted_journal_goes_on_and_says_what_is_missing",
            ),
            "integration/test_books.py": ("a_worker_with_a_wrong_journal_takes_no_turn_until_it_has_the_right_one",),
        },
        (
            Plant(
                "a_worker_with_another_journal_takes_no_turn_however_long_that_is",
                Edit(_POSITION, "here.identity == identity and here.head >= head", "here.head >= head"),
            ),
            Plant(
                "a_worker_with_an_older_copy_takes_no_turn",
                Edit(_POSITION, "here.identity == identity and here.head >= head", "here.identity == identity"),
            ),
        ),
    ),
    Trigger(
        "B4",
        "sessions that others began are not listed, another tenant's is, and one odd workflow id ends the listing",
        {
            "unit/client/test_client.py": ("every_listing_names_its_tenant_by_the_workflow_id",),
            "unit/client/test_listing.py": ("a_listing_crosses_no_tenants_whatever_the_server_gives",),
            "integration/test_client.py": (
                "a_listing_goes_by_the_workflow_id_whoever_began_the_session_and_whatever_it_claims",
                "an_underscore_in_a_tenant_stands_for_itself",
                "a_session_that_was_terminated_and_began_anew_is_listed_once",
            ),
        },
        (
            Plant(
                "a_listing_crosses_no_tenants_whatever_the_server_gives",
                Edit(
                    _LISTING,
                    "if key is None or key.tenant != self._tenant or key in self._listed:",
                    "if key is None or key in self._listed:",
                ),
            ),
            Plant(
                "a_listing_goes_by_the_workflow_id_whoever_began_the_session_and_whatever_it_claims",
                Edit(
                    _LISTING,
                    "        return SessionKey.parse(workflow_id)\n    except ValueError:",
                    "        return SessionKey.parse(workflow_id)\n    except ZeroDivisionError:",
                ),
            ),
            Plant(
                "every_listing_names_its_tenant_by_the_workflow_id",
                Edit(
                    _LISTING,
                    "f\"WorkflowId STARTS_WITH '{tenant}/{prefix or ''}'\",",
                    "f\"InturnTenant = '{tenant}'\",",
                ),
            ),
        ),
    ),
    Trigger(
        "B5",
        "a tool that is added to an agent is never offered in sessions that began before",
        {
            "unit/activities/test_added_tools.py": (
                "an_added_tool_is_declared_with_the_change_and_runs",
                "a_session_that_began_without_any_tool_gets_its_first_ones",
                "a_tool_that_comes_in_the_middle_of_a_turn_is_declared_with_the_next_one",
                "a_cold_worker_asks_as_the_warm_one_would",
            ),
        },
        (
            Plant(
                "an_added_tool_is_declared_with_the_change_and_runs",
                Edit(
                    "client/inturn/journal/views/transcript.py",
                    'if entry.type == "system.message" and "tools" in entry.body:',
                    "if False:",
                ),
            ),
            Plant(
                "a_session_that_began_without_any_tool_gets_its_first_ones",
                Edit(
                    "activities/inturn_activities/model/conversation/manifest_changes.py",
                    'if tool["name"] not in known]',
                    "if False]",
                ),
            ),
        ),
    ),
)
