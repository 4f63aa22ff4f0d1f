"""The faults of the model's side, F1 to F21: those that stand elsewhere under another name are named there, too."""

from __future__ import annotations

from typing import Final

from tests.triggers.trigger import Edit, Plant, Trigger

_ANSWERS: Final = "client/inturn/turns/answers.py"
_DOUBTS: Final = "client/inturn/turns/doubts.py"
_ERRORS: Final = "activities/inturn_activities/model/claude_errors.py"
_LEASE: Final = "activities/inturn_activities/model/lease.py"
_TRANSCRIPT: Final = "client/inturn/journal/views/transcript.py"

_COMMITTED: Final = "unit/activities/test_committed.py"
_FAILURES: Final = "unit/activities/test_failures.py"
_RUN: Final = "unit/testing/test_run_as_a_worker.py"

TRIGGERS: Final = (
    Trigger(
        "MODEL F1",
        "a changed agent makes every later event of a session fail on models that take no system messages",
        {
            _COMMITTED: (
                "a_changed_agent_is_told_to_a_model_that_takes_no_system_messages",
                "a_session_goes_from_model_to_model_and_back_after_a_change",
                "a_call_that_was_looked_into_is_told_to_an_older_model",
            ),
            "unit/models/test_facts.py": (
                "instructions_within_the_conversation_go_as_text_where_they_would_not_be_read",
            ),
        },
        (
            Plant(
                "a_changed_agent_is_told_to_a_model_that_takes_no_system_messages",
                Edit("client/inturn/journal/views/requests.py", "system=not known.says_system_as_text", "system=True"),
            ),
            Plant(
                "instructions_within_the_conversation_go_as_text_where_they_would_not_be_read",
                Edit("client/inturn/models/facts.py", 'return self.system != "native"', 'return self.system == "text"'),
            ),
        ),
    ),
    Trigger(
        "MODEL F3",
        "a call is found by the model's id: a model that uses ids again has the wrong arguments run",
        {
            _COMMITTED: ("calls_with_one_id_run_with_their_own_arguments_and_end_in_their_own_results",),
            "unit/activities/test_run_tool.py": ("a_call_that_the_journal_does_not_hold_never_runs",),
            "unit/core/test_kept_answers.py": ("an_id_that_cannot_be_this_calls_alone_is_replaced_and_kept_beside",),
        },
        (
            Plant(
                "calls_with_one_id_run_with_their_own_arguments_and_end_in_their_own_results",
                Edit(_ANSWERS, "while not made or made in self._ids or made in self._taken:", "while not made:"),
            ),
        ),
    ),
    Trigger(
        "MODEL F7",
        "a rotated key or a lapsed card parks every event of every tenant within seconds",
        {
            "unit/activities/test_claude_errors.py": ("what_no_request_could_pass_is_the_accounts_fault",),
            _FAILURES: (
                "trouble_of_the_account_is_probed_every_minute_for_a_day_and_is_no_error",
                "a_request_refused_again_and_again_while_others_are_answered_is_to_blame_itself",
            ),
            "integration/test_account_trouble.py": (
                "what_the_account_stands_in_the_way_of_is_waited_out_and_costs_no_event",
            ),
        },
        (
            Plant(
                "what_no_request_could_pass_is_the_accounts_fault",
                Edit(_ERRORS, "and bool(_ACCOUNT_TEXT.search(text))", "and False"),
            ),
            Plant(
                "what_no_request_could_pass_is_the_accounts_fault",
                Edit(_ERRORS, "    if _is_account(error, advice):\n", "    if False:\n"),
            ),
            Plant(
                "trouble_of_the_account_is_probed_every_minute_for_a_day_and_is_no_error",
                Edit(
                    "activities/inturn_activities/failures.py",
                    "if lasted >= (ACCOUNT_PATIENCE if account else patience):",
                    "if lasted >= patience:",
                ),
            ),
            Plant(
                "a_request_refused_again_and_again_while_others_are_answered_is_to_blame_itself",
                Edit(
                    "activities/inturn_activities/failures.py",
                    'if failure.kind == "refused" and count >= REFUSALS:',
                    "if False:",
                ),
            ),
        ),
    ),
    Trigger(
        "MODEL F8",
        "ten parallel calls, or nineteen joined events, leave the cache's lookback: all is written anew",
        {
            "integration/test_model_cache.py": (
                "many_parallel_calls_leave_the_cache_in_reach",
                "many_joined_events_leave_the_cache_in_reach",
                "calls_events_and_a_changed_agent_together_keep_the_rate_of_hits",
                "a_short_step_needs_no_marker_and_a_thinking_tail_takes_none",
            )
        },
        (
            Plant(
                "many_parallel_calls_leave_the_cache_in_reach",
                Edit(
                    "activities/inturn_activities/model/claude_request.py", "if blocks > LOOKBACK and", "if False and"
                ),
            ),
            Plant(
                "many_joined_events_leave_the_cache_in_reach",
                Edit(
                    "activities/inturn_activities/model/claude_request.py", "if blocks > LOOKBACK and", "if False and"
                ),
            ),
        ),
    ),
    Trigger(
        "MODEL F9 large",
        "a lone picture or document that is too large has others blamed that are not",
        {
            "unit/activities/test_doubts.py": (
                "the_pictures_that_are_too_large_are_left_out_and_no_other",
                "a_large_picture_of_a_tools_costs_its_result_alone",
                "a_picture_elsewhere_that_has_grown_is_left_out_and_no_other",
                "a_document_that_is_too_long_is_left_out_and_no_other",
                "a_picture_of_too_many_bytes_is_left_out_and_no_other",
            )
        },
        (
            Plant(
                "the_pictures_that_are_too_large_are_left_out_and_no_other",
                Edit(_DOUBTS, "sorted(suspects, key=lambda place: -measure[place])", "list(suspects)"),
            ),
            Plant(
                "a_picture_of_too_many_bytes_is_left_out_and_no_other",
                Edit(
                    _DOUBTS,
                    "_SIZE.search(said) is not None and _SHOWN.search(said)",
                    "_SIZE.search(said) is not None and _PIXELS.search(said)",
                ),
            ),
        ),
    ),
    Trigger(
        "MODEL F9",
        "a conversation that outgrows the model parks every later event without a word",
        {
            "unit/activities/test_compaction.py": (
                "a_conversation_far_longer_than_the_window_goes_on",
                "what_fits_into_no_request_is_set_aside_and_the_next_event_answered",
            ),
            "unit/activities/test_doubts.py": (
                "what_is_too_much_is_compacted_and_never_doubted",
                "where_even_the_least_is_too_much_the_event_is_set_aside_with_a_clear_error",
                "an_event_that_is_too_much_says_that_it_is",
                "an_agent_that_asks_for_too_much_itself_costs_no_event_its_turn",
            ),
        },
        (
            Plant(
                "what_is_too_much_is_compacted_and_never_doubted",
                Edit(_DOUBTS, "return _SIZE.search(said) is not None and _SHOWN.search(said) is None", "return False"),
            ),
            Plant(
                "a_conversation_far_longer_than_the_window_goes_on",
                Edit("client/inturn/turns/room/making_room.py", "if number > MOST:", "if number > 0:"),
            ),
            Plant(
                "an_agent_that_asks_for_too_much_itself_costs_no_event_its_turn",
                Edit(
                    _DOUBTS,
                    "if not (await self._takes(hi) and await self._takes(hi, max_tokens=most)):",
                    "if not await self._takes(hi):",
                ),
            ),
        ),
    ),
    Trigger(
        "MODEL F11",
        "a pause that ends in thinking, or with a call, is not sent back as it came; pauses have no bound",
        {
            _COMMITTED: ("a_paused_answer_is_sent_back_unchanged", "a_turn_pauses_at_most_so_often"),
            "unit/journal/test_transcript.py": ("a_pause_goes_on_behind_its_message",),
        },
        (
            Plant(
                "a_paused_answer_is_sent_back_unchanged",
                Edit(_TRANSCRIPT, "goes_on = goes_back(body, content)", "goes_on = False"),
            ),
            Plant(
                "a_turn_pauses_at_most_so_often",
                Edit(_ANSWERS, '"pause_turn" if pauses < MAX_PAUSES else "budget_reached"', '"pause_turn"'),
            ),
        ),
    ),
    Trigger(
        "MODEL F13",
        "broken attempts are paid and not counted; what prices need is dropped",
        {
            "unit/activities/test_paid_attempts.py": (
                "what_failed_attempts_used_counts_for_the_turn_and_for_its_session",
                "an_attempt_that_is_stopped_keeps_what_it_used",
                "a_later_step_counts_what_failed_in_an_earlier_one",
            ),
            "unit/journal/test_ledger.py": ("the_end_of_a_turn_without_an_answer_says_what_its_attempts_used",),
        },
        (
            Plant(
                "an_attempt_that_is_stopped_keeps_what_it_used",
                Edit(
                    _LEASE,
                    'used: dict[str, Any] = self._paid | ({"usage": usage} if (usage := self.meter.unwritten) else {})',
                    "used: dict[str, Any] = self._paid",
                ),
            ),
            Plant(
                "the_end_of_a_turn_without_an_answer_says_what_its_attempts_used",
                Edit(
                    "client/inturn/journal/ledger/decisions.py",
                    'more: dict[str, Any] = {"usage": found.usage} if found.usage else {}',
                    "more: dict[str, Any] = {}",
                ),
            ),
        ),
    ),
    Trigger(
        "MODEL F14",
        "phone numbers and mail addresses in session ids go to the provider",
        {
            "unit/activities/test_opaque.py": (
                "the_provider_gets_a_name_that_says_nothing_and_stays",
                "two_journals_call_a_session_differently",
            ),
            "integration/test_model_claude.py": ("the_request_is_marked_for_caching_and_says_whose_it_is",),
        },
        (
            Plant(
                "the_provider_gets_a_name_that_says_nothing_and_stays",
                Edit(
                    "activities/inturn_activities/model/opaque.py",
                    "return hmac.new(secret.encode(), str(session).encode(), hashlib.sha256).hexdigest()[:_HALF]",
                    "return str(session)",
                ),
            ),
            Plant(
                "two_journals_call_a_session_differently",
                Edit("activities/inturn_activities/model/opaque.py", "hmac.new(secret.encode(),", 'hmac.new(b"",'),
            ),
        ),
    ),
    Trigger(
        "MODEL F15",
        "a reason to stop that nobody knows passes as the end; an empty end behind tools goes out",
        {
            "unit/core/test_kept_answers.py": ("a_stop_reason_that_nobody_knows_runs_nothing",),
            _COMMITTED: ("an_empty_answer_behind_tools_is_asked_to_go_on_once",),
            "unit/core/test_turn.py": ("every_other_stop_reason_ends_the_turn_and_runs_no_call",),
        },
        (
            Plant(
                "a_stop_reason_that_nobody_knows_runs_nothing",
                Edit(
                    "client/inturn/turns/stop_reasons.py",
                    '_MEANING.get(stop_reason, "unknown") if isinstance(stop_reason, str) else "unknown"',
                    '_MEANING.get(str(stop_reason), "end_turn")',
                ),
            ),
            Plant(
                "an_empty_answer_behind_tools_is_asked_to_go_on_once",
                Edit(_ANSWERS, "elif self.says_nothing and after_tools and not nudged:", "elif False:"),
            ),
        ),
    ),
    Trigger(
        "MODEL F16",
        "a request of a thousand messages is encoded anew each time",
        {
            "unit/models/test_encoding.py": (
                "a_committed_message_is_encoded_once_and_another_one_as_it_is_now",
                "any_value_is_encoded",
            ),
            "unit/journal/test_transcript.py": ("a_warm_request_of_a_thousand_messages_builds_nothing_anew",),
            "unit/activities/test_call_model.py": (
                "an_inline_answer_is_what_the_journal_tells_and_costs_no_read_on_a_warm_worker",
            ),
            "unit/testing/test_scripted.py": ("of_a_conversation_that_grew_only_what_is_new_is_counted",),
        },
        (
            Plant(
                "a_committed_message_is_encoded_once_and_another_one_as_it_is_now",
                Edit(
                    "client/inturn/models/encoding.py",
                    "message.encoded if isinstance(message, Committed) else encode(message)",
                    "encode(message)",
                ),
            ),
        ),
    ),
    Trigger(
        "MODEL F17",
        "a page of entries, a claim or a transcript has any number of bytes",
        {
            "unit/activities/test_transcript_memory.py": (
                "a_cold_read_takes_pieces_of_bytes_and_not_of_entries",
                "a_claim_brings_no_more_bytes_than_fit",
                "the_bound_of_all_transcripts_holds_for_the_only_one_as_well",
            ),
            "unit/activities/test_parts.py": ("transcripts_in_memory_are_bounded_in_number_and_bytes",),
        },
        (
            Plant(
                "a_cold_read_takes_pieces_of_bytes_and_not_of_entries",
                Edit(
                    "client/inturn/journal/reader.py", "limit = max(1, min(PAGE, PAGE_BYTES // each))", "limit = PAGE"
                ),
            ),
            Plant(
                "a_claim_brings_no_more_bytes_than_fit",
                Edit(
                    "client/inturn/journal/ledger/answers.py",
                    "MAX_CLAIM_BYTES: Final = 1024 * 1024",
                    "MAX_CLAIM_BYTES: Final = 1 << 60",
                ),
            ),
            Plant(
                "the_bound_of_all_transcripts_holds_for_the_only_one_as_well",
                Edit(
                    "activities/inturn_activities/model/transcript_cache.py",
                    "while self._kept and (len(",
                    "while len(self._kept) > 1 and (len(",
                ),
            ),
        ),
    ),
    Trigger(
        "MODEL F18",
        "5,000 calls in one answer make a result that the server takes from nobody",
        {
            "unit/core/test_kept_answers.py": ("of_too_many_calls_the_first_ones_run",),
            _COMMITTED: ("of_thousands_of_calls_in_one_answer_as_many_run_as_fit_and_the_result_stays_small",),
            "unit/activities/test_result_sizes.py": (
                "a_plan_of_as_many_calls_as_an_answer_may_have_is_small_whatever_their_arguments",
                "what_an_event_ended_for_is_told_in_a_few_kilobytes",
            ),
        },
        (
            Plant(
                "of_thousands_of_calls_in_one_answer_as_many_run_as_fit_and_the_result_stays_small",
                Edit(_ANSWERS, "        if place < MAX_CALLS:\n", "        if True:\n"),
            ),
        ),
    ),
    Trigger(
        "MODEL F20",
        "`inturn.testing.run` has rules of its own: a test passes that production fails",
        {
            _RUN: ("a_test_sees_what_a_worker_does",),
            "unit/testing/test_run.py": (
                "calls_of_an_answer_that_was_cut_off_never_run",
                "a_paused_answer_is_continued",
                "the_budget_ends_a_turn_that_goes_in_circles",
            ),
        },
        (
            Plant(
                "a_test_sees_what_a_worker_does",
                Edit(
                    "client/inturn/testing/loop.py",
                    "        kept.bound(pauses=",
                    "        not kept.bound and kept.bound(pauses=",
                ),
            ),
            Plant(
                "the_budget_ends_a_turn_that_goes_in_circles",
                Edit(
                    "client/inturn/testing/loop.py",
                    "spent = exceeded(self._agent.budget, self._used, raised=spending.raised)",
                    "spent = False",
                ),
            ),
        ),
    ),
    Trigger(
        "MODEL F21",
        "a parameter that the API refuses passes; a model that is gone shows at the first event",
        {
            "unit/worker/test_models.py": (
                "a_model_that_the_api_does_not_have_is_named_at_the_start_with_the_one_that_was_meant",
                "a_profile_that_the_sdk_finds_counts",
                "a_gateway_that_lists_no_models_raises_no_alarm",
            ),
            "unit/tools/test_declarations.py": ("a_signature_that_the_api_would_refuse_is_refused_with_its_line",),
        },
        (
            Plant(
                "a_profile_that_the_sdk_finds_counts",
                Edit(
                    "activities/inturn_activities/model/claude.py",
                    "return bool(client.api_key or client.auth_token or client.credentials)",
                    "return bool(client.api_key)",
                ),
            ),
            Plant(
                "a_gateway_that_lists_no_models_raises_no_alarm",
                Edit(
                    "activities/inturn_activities/model/claude.py", 'if model in (error.api_message or ""):', "if True:"
                ),
            ),
        ),
    ),
)

ELSEWHERE: Final = {
    "MODEL F2": ("D name", "D input"),
    "MODEL F4": ("D refusal",),
    "MODEL F5": ("D rows",),
    "MODEL F6": ("D whitespace",),
    "MODEL F10": ("D cache_control",),
    "MODEL F12": ("E3",),
}
"""Where a fault is proved that stands in both lists."""
