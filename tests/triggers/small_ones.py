"""Secrets, what is smaller, each of a kind, and what was looked at without a proof."""

from __future__ import annotations

from typing import Final

from tests.triggers.trigger import Edit, Plant, Trigger

_DIALLING: Final = "client/inturn/tools/ready/dialling.py"
_EVENTS: Final = "client/inturn/events.py"
_HTTP: Final = "client/inturn/tools/ready/http.py"
_SECRETS: Final = "client/inturn/tools/secrets.py"

_MASKED: Final = "unit/tools/test_secrets.py"

TRIGGERS: Final = (
    Trigger(
        "I forms",
        "a secret in base64 of a text that holds it, in hex, with `%2f` or with `\\/` is not masked",
        {
            _MASKED: (
                "a_secret_is_masked_in_every_form_that_it_takes_on_the_way",
                "less_than_a_byte_of_a_secret_is_left_in_base64_of_a_text_around_it",
                "each_line_of_a_key_is_masked",
                "a_secret_that_is_part_of_another_leaves_nothing_of_it",
            )
        },
        (
            Plant(
                "less_than_a_byte_of_a_secret_is_left_in_base64_of_a_text_around_it",
                Edit(_SECRETS, "encoded = encode(bytes(before) + data).decode()", "encoded = encode(data).decode()"),
            ),
        ),
    ),
    Trigger(
        "I errors",
        "errors of lookups and validators reach Temporal's history and the journal raw",
        {
            _MASKED: (
                "what_checks_raise_and_what_leaves_a_step_shows_no_secret_of_the_process",
                "an_error_keeps_its_meaning_and_loses_the_secret",
                "a_cause_with_a_secret_is_cut_off_and_told_in_a_note",
                "logs_show_no_secret_that_lives",
            ),
            "unit/activities/test_endless_results.py": ("an_error_shows_no_secret_that_its_body_was_never_given",),
        },
        (
            Plant(
                "what_checks_raise_and_what_leaves_a_step_shows_no_secret_of_the_process",
                Edit(
                    "activities/inturn_activities/failures.py",
                    "return sizes.clip(redact(codec.whole(message)), sizes.STEP_FAILURE)",
                    "return sizes.clip(codec.whole(message), sizes.STEP_FAILURE)",
                ),
            ),
            Plant(
                "what_checks_raise_and_what_leaves_a_step_shows_no_secret_of_the_process",
                Edit(
                    "client/inturn/tools/checks.py",
                    "may raise anything\n        return invalid_arguments(redact(describe(error)))",
                    "may raise anything\n        return invalid_arguments(describe(error))",
                ),
            ),
            Plant(
                "an_error_shows_no_secret_that_its_body_was_never_given",
                Edit(
                    "activities/inturn_activities/tools/run_tool.py",
                    'value = result.value if result.status == "ok" else redact(str(result.value))',
                    "value = result.value",
                ),
            ),
        ),
    ),
    Trigger(
        "I credentials",
        "`http_get` gives a host's credential to its other ports, and over plain http",
        {
            "unit/tools/test_http.py": (
                "a_credential_is_bound_to_scheme_host_and_port",
                "a_credential_goes_to_its_host_alone",
                "a_credential_for_what_is_no_place_is_refused",
            )
        },
        (
            Plant(
                "a_credential_is_bound_to_scheme_host_and_port",
                Edit(
                    _HTTP,
                    "return url.scheme, _host(url), url.port or _PORTS.get(url.scheme, 0)",
                    'return "", _host(url), 0',
                ),
            ),
            Plant(
                "a_credential_goes_to_its_host_alone",
                Edit(_HTTP, "self._credentials.get(_origin_of(url))", "next(iter(self._credentials.values()), None)"),
            ),
        ),
    ),
    Trigger(
        "I terminals",
        "logs and `doctor --dot` print escapes of a model's text raw; the journal's files are everybody's to read",
        {
            "unit/worker/test_logs.py": ("no_text_acts_on_a_terminal", "no_text_looks_like_a_record_of_its_own"),
            "unit/cli/test_limits.py": ("no_name_reaches_the_terminal_raw",),
            "unit/cli/test_cli.py": ("no_text_can_act_on_the_terminal", "a_blob_cannot_act_on_the_terminal"),
            "unit/journal/test_sqlite.py": ("only_the_owner_may_read_the_files",),
        },
        (
            Plant(
                "no_text_acts_on_a_terminal",
                Edit(
                    "service/inturn_worker/logs.py",
                    'text = clean(super().format(record) + (f"  [{shown}]" if shown else ""))',
                    'text = super().format(record) + (f"  [{shown}]" if shown else "")',
                ),
            ),
            Plant(
                "no_name_reaches_the_terminal_raw",
                Edit("client/inturn/cli/doctor/graph.py", "escaped = one_line(name).replace", "escaped = name.replace"),
            ),
            Plant(
                "only_the_owner_may_read_the_files",
                Edit("client/inturn/journal/store/sqlite_connection.py", "0o600", "0o644"),
            ),
        ),
    ),
    Trigger(
        "J output",
        "the CLI dies of a text that its stdout cannot show, behind a turn that was paid",
        {
            "unit/cli/test_output.py": (
                "a_text_that_cannot_be_shown_ends_no_turn_that_was_paid",
                "json_stays_json_in_every_encoding",
                "a_full_disk_fails_what_only_reads_and_nothing_that_was_done",
            )
        },
        (
            Plant(
                "json_stays_json_in_every_encoding",
                Edit("client/inturn/terminal.py", 'text.encode(encoding or "utf-8")', 'text.encode("utf-8")'),
            ),
            Plant(
                "a_text_that_cannot_be_shown_ends_no_turn_that_was_paid",
                Edit("client/inturn/cli/output.py", 'stream.reconfigure(errors="backslashreplace")', "pass"),
            ),
        ),
    ),
    Trigger(
        "J groups",
        "a `ToolError` inside a `TaskGroup` loses its text",
        {
            "unit/tools/test_error_groups.py": (
                "a_group_means_what_its_errors_mean",
                "the_line_of_a_group_names_what_happened",
                "a_tool_error_raised_in_a_task_group_is_the_calls_result",
            )
        },
        (
            Plant(
                "a_tool_error_raised_in_a_task_group_is_the_calls_result",
                Edit(
                    "client/inturn/tools/calling.py",
                    "secrets.redact_error(_survivable(ungrouped(failed)))",
                    "secrets.redact_error(_survivable(failed))",
                ),
            ),
            Plant(
                "the_line_of_a_group_names_what_happened",
                Edit(
                    "client/inturn/turns/call_results.py",
                    "    if isinstance(error, BaseExceptionGroup):\n        text =",
                    "    if False:\n        text =",
                ),
            ),
        ),
    ),
    Trigger(
        "J loops and forks",
        "one handle in two event loops, or a journal opened before `fork`: raw errors, hangs",
        {
            "unit/client/test_loops_and_forks.py": (
                "a_lock_that_is_held_in_one_loop_keeps_no_other_loop_waiting",
                "one_journal_serves_two_loops_at_once",
                "a_journal_that_was_opened_before_a_fork_works_in_the_child",
                "a_connection_of_before_a_fork_says_so",
            )
        },
        (
            Plant(
                "a_connection_of_before_a_fork_says_so",
                Edit(
                    "client/inturn/client/temporal/connection.py",
                    "if self._process != os.getpid() and self._temporal is not None:",
                    "if False:",
                ),
            ),
            Plant(
                "a_journal_that_was_opened_before_a_fork_works_in_the_child",
                Edit("client/inturn/journal/store/sqlite.py", "if self._process != os.getpid():", "if False:"),
            ),
        ),
    ),
    Trigger(
        "J locks",
        "a lock object that is entered twice stays held; a zombie's cancel deletes its successor's ticket",
        {
            "unit/activities/test_limits.py": (
                "one_lock_object_that_is_entered_twice_is_given_back_twice",
                "a_zombies_cancel_leaves_its_successors_ticket",
                "a_cancelled_waiter_leaves_no_ticket_unless_it_comes_back",
            )
        },
        (
            Plant(
                "one_lock_object_that_is_entered_twice_is_given_back_twice",
                Edit("client/inturn/tools/locks.py", "self._parts.append(part)", "self._parts[:] = [part, part]"),
            ),
            Plant(
                "a_zombies_cancel_leaves_its_successors_ticket",
                Edit(
                    "activities/inturn_activities/limits/waits.py",
                    "if details is None or not details.cancel_requested:",
                    "if False:",
                ),
            ),
        ),
    ),
    Trigger(
        "J numbers",
        "`OverflowError` reaches users; `sent_at` in milliseconds never expires",
        {
            "unit/client/test_reader.py": (
                "a_seq_that_no_entry_has_is_refused_where_it_is_given",
                "a_listing_of_less_than_one_is_refused",
            ),
            "unit/core/test_hostile_messages.py": ("what_no_event_may_say_is_refused_with_its_reason",),
            "unit/tools/test_shared_state.py": ("numbers_that_make_no_sense_are_refused",),
        },
        (
            Plant(
                "a_seq_that_no_entry_has_is_refused_where_it_is_given",
                Edit("client/inturn/client/reader.py", "if not 0 <= after < MAX_SEQ:", "if False:"),
            ),
            Plant(
                "what_no_event_may_say_is_refused_with_its_reason",
                Edit(_EVENTS, "if isinstance(value, int | float) and value >= LATEST_TIME:", "if False:"),
                (Edit(_EVENTS, "ge=0, lt=LATEST_TIME, allow_inf_nan=False)", "ge=0, allow_inf_nan=False)"),),
            ),
        ),
    ),
    Trigger(
        "J malformed ids",
        "an event that was malformed once owns its id for good",
        {
            "unit/core/test_known_ids.py": (
                "what_came_as_no_event_is_made_whole_by_the_one_that_was_meant",
                "what_was_meant_is_refused_where_there_is_no_room_and_may_come_again",
                "an_event_that_was_set_aside_is_not_replaced_by_another_under_its_id",
            ),
            "integration/test_bad_events.py": ("an_event_that_came_malformed_runs_once_it_comes_as_it_was_meant",),
        },
        (
            Plant(
                "what_came_as_no_event_is_made_whole_by_the_one_that_was_meant",
                Edit(
                    "workflows/inturn_workflows/inbox/inbox.py",
                    "return parked if not parked.valid or (parked.lost and kept_anew) else None",
                    "return parked if parked.lost and kept_anew else None",
                ),
            ),
            Plant(
                "an_event_that_was_set_aside_is_not_replaced_by_another_under_its_id",
                Edit(
                    "workflows/inturn_workflows/inbox/inbox.py",
                    "return parked if not parked.valid or (parked.lost and kept_anew) else None",
                    "return parked",
                ),
            ),
        ),
    ),
    Trigger(
        "J probes",
        "`/readyz` costs a call of the server and a read of the journal for each probe of anybody's",
        {
            "unit/worker/test_health.py": (
                "probes_in_any_number_cost_one_look_a_second",
                "a_check_that_hangs_counts_as_failed_in_time",
                "other_paths_methods_and_noise_are_refused_and_the_endpoint_goes_on",
            )
        },
        (
            Plant(
                "probes_in_any_number_cost_one_look_a_second",
                Edit("service/inturn_worker/health.py", "if latest is None or now - latest[0] >= FRESH:", "if True:"),
            ),
        ),
    ),
    Trigger(
        "J references",
        "a result beside the transcript can be read by nobody",
        {
            "unit/client/test_reader.py": ("a_large_result_is_read_by_its_own_session_alone",),
            "unit/activities/test_run_tool.py": ("a_large_result_lies_beside_the_transcript_with_a_preview_in_it",),
            "unit/cli/test_cli.py": ("a_blob_is_printed_byte_for_byte_or_as_a_document",),
            "integration/test_client.py": ("a_result_that_was_cut_is_read_whole_by_its_own_session_only",),
        },
        (
            Plant(
                "a_large_result_lies_beside_the_transcript_with_a_preview_in_it",
                Edit("client/inturn/tools/results.py", '"ref": ref, ', ""),
            ),
        ),
    ),
    Trigger(
        "J addresses",
        "`is_public` takes `fec0::/10`, `3fff::/20` and `192.88.99.0/24`",
        {
            "unit/tools/test_http.py": (
                "special_addresses_of_every_registry_are_not_public",
                "addresses_beside_the_special_ones_are_public",
                "an_address_inside_another_is_as_public_as_it_is_alone",
            )
        },
        (
            Plant("special_addresses_of_every_registry_are_not_public", Edit(_DIALLING, '"192.88.99.0/24",', "")),
            Plant("special_addresses_of_every_registry_are_not_public", Edit(_DIALLING, '"3fff::/20",', "")),
            Plant(
                "an_address_inside_another_is_as_public_as_it_is_alone",
                Edit(_DIALLING, "    if inner is not None:\n        return is_public(inner)\n", ""),
            ),
        ),
    ),
    Trigger(
        "J shown",
        "an outage lasts less than no time; Markdown of a preview is a link in the Temporal UI",
        {
            "unit/core/test_details.py": ("a_preview_is_text_and_no_markdown",),
            "unit/activities/test_failures.py": ("an_outage_whose_beginning_is_ahead_of_the_clock_has_lasted_no_time",),
            "unit/cli/test_cli.py": ("ages_are_short",),
        },
        (
            Plant(
                "a_preview_is_text_and_no_markdown",
                Edit(
                    "workflows/inturn_workflows/display/details.py",
                    'return _MARKDOWN.sub(lambda found: f"\\\\{found[0]}", " ".join(text.split()))',
                    'return " ".join(text.split())',
                ),
            ),
            Plant(
                "an_outage_whose_beginning_is_ahead_of_the_clock_has_lasted_no_time",
                Edit(
                    "client/inturn/journal/values.py",
                    "return max(self.now - self.since.get(failure, self.now), 0.0)",
                    "return self.now - self.since.get(failure, self.now)",
                ),
            ),
        ),
    ),
    Trigger(
        "K records",
        "a record of more than 2 MiB at the close of a full inbox terminates the session",
        {
            "unit/core/test_carried_bytes.py": ("portions_keep_order_and_bytes_and_lose_nothing",),
            "unit/activities/test_claimed_events.py": ("a_close_that_parks_many_large_events_moves_them_bit_by_bit",),
            "integration/test_inbox_bounds.py": (
                "a_session_fed_with_the_worst_goes_on_in_its_next_run_and_closes_with_all_of_it_recorded",
            ),
        },
        (
            Plant(
                "portions_keep_order_and_bytes_and_lose_nothing",
                Edit("client/inturn/sizes.py", "if size > room and cut[-1]:", "if False:"),
            ),
        ),
    ),
    Trigger(
        "K steering",
        "an interrupt between a steer's join and the claim books an event as merged that the model never heard",
        {
            "unit/activities/test_claimed_events.py": (
                "what_joined_a_turn_that_was_stopped_before_it_was_said_is_told_apart",
                "what_is_carried_inline_is_told_apart_as_well",
            ),
            "integration/test_claim_check.py": (
                "what_joined_a_turn_that_is_stopped_before_it_was_said_gets_a_turn_of_its_own",
            ),
        },
        (
            Plant(
                "what_joined_a_turn_that_was_stopped_before_it_was_said_is_told_apart",
                Edit(
                    "activities/inturn_activities/model/joined_events.py",
                    "return [event_id for event_id in event_ids if event_id not in said]",
                    "return []",
                ),
            ),
            Plant(
                "what_joined_a_turn_that_is_stopped_before_it_was_said_gets_a_turn_of_its_own",
                Edit(
                    "workflows/inturn_workflows/steps.py",
                    "            self.set_apart(turn, result.unsaid)",
                    "            pass",
                ),
            ),
        ),
    ),
    Trigger(
        "K sources",
        "what is carried is cut by the place of a source that has held events, just when a session is attacked",
        {
            "unit/core/test_sequencing.py": (
                "a_thousand_sources_are_remembered_and_those_with_held_events_never_forgotten",
            ),
            "unit/core/test_carried_bytes.py": (
                "all_compartments_full_at_once_fit_and_nothing_but_answers_goes",
                "a_compartment_that_is_full_of_the_worst_keeps_its_bound",
            ),
        },
        (
            Plant(
                "a_thousand_sources_are_remembered_and_those_with_held_events_never_forgotten",
                Edit(
                    "workflows/inturn_workflows/inbox/sequencing.py",
                    "if name not in holding and name != source)",
                    "if name != source)",
                ),
            ),
        ),
    ),
    Trigger(
        "K files",
        "`source.type=file` names another tenant's file",
        {
            "unit/activities/test_provider_files.py": (
                "an_event_that_names_one_is_refused_before_it_is_sent",
                "one_that_another_sdk_sends_is_no_event",
                "a_content_that_somebody_put_into_the_journal_names_none",
                "a_message_that_joins_names_none",
                "a_tools_result_shows_none_and_says_what_it_returned",
                "an_answer_of_the_model_shows_none",
                "a_parked_event_that_is_driven_again_shows_none",
            )
        },
        (
            Plant(
                "an_event_that_names_one_is_refused_before_it_is_sent",
                Edit(_EVENTS, "if any(map(names_file, value)):", "if False:"),
            ),
            Plant(
                "a_parked_event_that_is_driven_again_shows_none",
                Edit(
                    "client/inturn/turns/blocks.py",
                    '    if kind == "url" and',
                    '    if kind == "file":\n        return given\n    if kind == "url" and',
                ),
            ),
        ),
    ),
    Trigger(
        "K clocks",
        "an approver's old clock beats the expiry while no worker runs",
        {
            "unit/core/test_approvals.py": (
                "a_clock_from_before_the_question_does_not_beat_the_expiry",
                "an_answer_that_is_there_in_time_counts_whatever_its_clock_says",
                "who_answered_too_late_by_a_wrong_clock_is_told_so",
            )
        },
        (
            Plant(
                "a_clock_from_before_the_question_does_not_beat_the_expiry",
                Edit(
                    "workflows/inturn_workflows/approvals.py",
                    "if not (call.asked_at or 0.0) <= decided.at <= now:",
                    "if False:",
                ),
            ),
        ),
    ),
    Trigger(
        "K frozen",
        "an attempt that froze between its claim and its body runs the body later, without another look",
        {
            "unit/activities/test_run_tool.py": (
                "an_attempt_that_froze_behind_its_claim_does_not_run_the_body",
                "an_attempt_that_was_outlived_is_stopped_and_commits_nothing",
            ),
            "unit/activities/test_call_model.py": ("an_attempt_that_froze_behind_its_claim_pays_for_nothing",),
            "unit/journal/test_ledger.py": ("an_attempt_that_froze_before_its_claim_takes_nothing_from_a_later_one",),
        },
        (
            Plant(
                "an_attempt_that_froze_behind_its_claim_does_not_run_the_body",
                Edit(
                    "activities/inturn_activities/tools/effects.py",
                    "if begun is None or time.monotonic() - begun > self._bounds.lease / 2:",
                    "if begun is None:",
                ),
            ),
            Plant(
                "an_attempt_that_froze_behind_its_claim_pays_for_nothing",
                Edit(
                    "activities/inturn_activities/model/call_model.py",
                    "if time.monotonic() - attempt.since > lease / 2:",
                    "if False:",
                ),
            ),
            Plant(
                "an_attempt_that_froze_before_its_claim_takes_nothing_from_a_later_one",
                Edit(
                    "client/inturn/journal/ledger/steps.py",
                    "if row and row.overtaken(at, now):\n"
                    '            raise Superseded(f"{step}: a later attempt holds it; nothing was written")\n'
                    "        filled =",
                    "filled =",
                ),
            ),
        ),
    ),
)
