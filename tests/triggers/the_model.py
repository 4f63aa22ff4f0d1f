"""A gate that is judged elsewhere; what is committed as it came; what is paid and thrown away."""

from __future__ import annotations

from typing import Final

from tests.triggers.trigger import Edit, Plant, Trigger

_ANSWERS: Final = "client/inturn/turns/answers.py"
_ARGUMENTS: Final = "client/inturn/turns/arguments.py"
_BLOCKS: Final = "client/inturn/turns/blocks.py"
_CALL_MODEL: Final = "activities/inturn_activities/model/call_model.py"
_ASKING: Final = "activities/inturn_activities/model/asking.py"
_CODEC: Final = "client/inturn/journal/log/codec.py"
_LEASE: Final = "activities/inturn_activities/model/lease.py"
_REQUESTS: Final = "client/inturn/journal/views/requests.py"
_RESULTS: Final = "client/inturn/tools/results.py"
_RUN_TOOL: Final = "activities/inturn_activities/tools/run_tool.py"
_TOOL: Final = "client/inturn/tools/tool.py"
_SAID: Final = "client/inturn/journal/views/said.py"
_TRANSCRIPT: Final = "client/inturn/journal/views/transcript.py"

_GATES: Final = "unit/activities/test_gates.py"
_KEPT: Final = "unit/core/test_kept_answers.py"
_COMMITTED: Final = "unit/activities/test_committed.py"
_PAID: Final = "unit/activities/test_paid_attempts.py"

TRIGGERS: Final = (
    Trigger(
        "C1",
        "the argument check fails once while a call is planned, and passes when it runs: no yes is asked for",
        {
            _GATES: (
                "an_argument_check_that_fails_once_when_the_call_is_planned_opens_no_gate",
                "a_predicate_that_changes_its_mind_asks_and_runs_with_the_answer",
                "a_predicate_that_raises_asks_whenever_it_does",
                "a_predicate_that_says_nothing_asks",
            )
        },
        (
            Plant(
                "an_argument_check_that_fails_once_when_the_call_is_planned_opens_no_gate",
                Edit(_RUN_TOOL, "        if checked.approval:\n", "        if False:\n"),
            ),
            Plant(
                "a_predicate_that_says_nothing_asks",
                Edit(_TOOL, "return judged is None or bool(judged)", "return bool(judged)"),
            ),
            Plant(
                "a_predicate_that_raises_asks_whenever_it_does",
                Edit(
                    _TOOL,
                    "let the call through\n                return True",
                    "let the call through\n                return False",
                ),
            ),
        ),
    ),
    Trigger(
        "C2",
        "the worker that plans has no such tool; the one that runs has, and asks nobody",
        {
            _GATES: (
                "what_the_planning_worker_did_not_know_opens_no_gate",
                "nothing_but_a_yes_to_this_call_with_these_arguments_lets_it_run",
                "the_yes_to_one_call_is_none_to_its_twin",
                "the_yes_to_a_call_is_none_to_that_of_a_redrive",
                "a_yes_is_to_the_defaults_that_stood_when_it_was_asked_for",
            ),
            "integration/test_approvals.py": (
                "a_call_that_only_the_step_that_runs_it_can_judge_waits_for_a_person_all_the_same",
            ),
        },
        (
            Plant(
                "what_the_planning_worker_did_not_know_opens_no_gate",
                Edit(_RUN_TOOL, "        if checked.approval:\n", "        if False:\n"),
            ),
            Plant(
                "nothing_but_a_yes_to_this_call_with_these_arguments_lets_it_run",
                Edit(_RUN_TOOL, "if not approvals.approves(answer, plan.approval_id):", "if False:"),
            ),
        ),
    ),
    Trigger(
        "C3",
        "an input that is a list of pairs is read as `{}` when the call is planned, and as a mapping when it runs",
        {
            _GATES: (
                "an_input_that_is_no_object_is_read_alike_and_never_runs",
                "what_runs_is_what_was_judged_whatever_the_predicate_does_to_it",
            ),
            _KEPT: ("arguments_that_are_no_object_of_json_end_in_an_error_result",),
        },
        (
            Plant(
                "an_input_that_is_no_object_is_read_alike_and_never_runs",
                Edit("client/inturn/tools/checks.py", "if not isinstance(raw, dict):", "if False:"),
                (Edit(_ARGUMENTS, 'return "they are no object"', "return None"),),
            ),
            Plant(
                "arguments_that_are_no_object_of_json_end_in_an_error_result",
                Edit(_ARGUMENTS, 'return "they are no object"', "return None"),
            ),
            Plant(
                "what_runs_is_what_was_judged_whatever_the_predicate_does_to_it",
                Edit(_TOOL, "self.approval(dict(arguments))", "self.approval(arguments)"),
            ),
        ),
    ),
    Trigger(
        "D name",
        "a tool's name that is too long, empty or malformed is sent back, and refused for ever",
        {
            _KEPT: (
                "a_name_that_no_tool_can_have_is_said_as_text_and_ends_in_an_error",
                "whatever_a_model_gives_what_is_kept_can_be_sent_and_stored",
            ),
            _COMMITTED: ("calls_that_no_request_can_hold_are_the_models_mistake_and_cost_no_session",),
        },
        (
            Plant(
                "a_name_that_no_tool_can_have_is_said_as_text_and_ends_in_an_error",
                Edit(
                    _ANSWERS,
                    "return isinstance(name, str) and _NAME.fullmatch(name) is not None",
                    "return isinstance(name, str)",
                ),
            ),
            Plant(
                "calls_that_no_request_can_hold_are_the_models_mistake_and_cost_no_session",
                Edit(
                    _ANSWERS,
                    "return isinstance(name, str) and _NAME.fullmatch(name) is not None",
                    "return isinstance(name, str)",
                ),
            ),
        ),
    ),
    Trigger(
        "D input",
        "an input that is no object is committed, and refused for ever",
        {
            _KEPT: (
                "arguments_that_are_no_object_of_json_end_in_an_error_result",
                "a_value_that_no_json_has_ends_in_an_error_result",
            ),
            _COMMITTED: ("calls_that_no_request_can_hold_are_the_models_mistake_and_cost_no_session",),
        },
        (
            Plant(
                "calls_that_no_request_can_hold_are_the_models_mistake_and_cost_no_session",
                Edit(
                    _ANSWERS,
                    'input = {} if error else cast("dict[str, Any]", block["input"])',
                    'input = cast("dict[str, Any]", block.get("input"))',
                ),
            ),
            Plant(
                "a_value_that_no_json_has_ends_in_an_error_result",
                Edit(_ARGUMENTS, "return None if math.isfinite(value) else", "return None if True else"),
            ),
        ),
    ),
    Trigger(
        "D ids",
        "an id that came before: twins run and swap results, and step 1 runs with the arguments of step 0",
        {
            _KEPT: (
                "an_id_that_cannot_be_this_calls_alone_is_replaced_and_kept_beside",
                "a_name_made_by_us_that_is_taken_is_made_anew",
            ),
            _COMMITTED: ("calls_with_one_id_run_with_their_own_arguments_and_end_in_their_own_results",),
            _GATES: ("the_yes_to_one_call_is_none_to_its_twin",),
        },
        (
            Plant(
                "calls_with_one_id_run_with_their_own_arguments_and_end_in_their_own_results",
                Edit(_ANSWERS, "while not made or made in self._ids or made in self._taken:", "while not made:"),
            ),
            Plant(
                "an_id_that_cannot_be_this_calls_alone_is_replaced_and_kept_beside",
                Edit(
                    _ANSWERS,
                    "while not made or made in self._ids or made in self._taken:",
                    "while not made or made in self._taken:",
                ),
            ),
            Plant(
                "calls_with_one_id_run_with_their_own_arguments_and_end_in_their_own_results",
                Edit(
                    _ANSWERS,
                    "while not made or made in self._ids or made in self._taken:",
                    "while not made or made in self._ids:",
                ),
            ),
        ),
    ),
    Trigger(
        "D cache_control",
        "markers of caching in blocks of users and tools add up to more than a request may hold",
        {
            _COMMITTED: ("whatever_an_event_holds_the_model_is_asked", "whatever_a_tool_returns_the_model_sees"),
            "property/test_conversations.py": ("nothing_that_was_committed_can_break_a_session",),
        },
        (
            Plant(
                "whatever_an_event_holds_the_model_is_asked",
                Edit(
                    _BLOCKS,
                    "return text(said) if isinstance(said, str) and said.strip() else None",
                    "return block if isinstance(said, str) and said.strip() else None",
                ),
            ),
            Plant(
                "whatever_a_tool_returns_the_model_sees",
                Edit(
                    _BLOCKS,
                    "return text(said) if isinstance(said, str) and said.strip() else None",
                    "return block if isinstance(said, str) and said.strip() else None",
                ),
            ),
        ),
    ),
    Trigger(
        "D address",
        "an image's address has expired since it was committed",
        {
            "unit/activities/test_doubts.py": (
                "a_picture_that_is_gone_is_left_out_and_the_session_goes_on",
                "a_tools_picture_that_is_gone_leaves_its_call_with_a_result",
                "many_that_are_gone_at_once_are_found_in_bounded_steps",
                "what_was_found_before_an_outage_is_not_looked_for_again",
            )
        },
        (
            Plant(
                "a_picture_that_is_gone_is_left_out_and_the_session_goes_on",
                Edit(_ASKING, "            refused = refusal\n", "            raise\n"),
            ),
            Plant(
                "a_tools_picture_that_is_gone_leaves_its_call_with_a_result",
                Edit("client/inturn/journal/views/doubts.py", 'if block["type"] == "tool_result":', "if False:"),
            ),
        ),
    ),
    Trigger(
        "D thinking",
        "thinking that one model signed is sent to another one after `model=` changed",
        {
            _COMMITTED: (
                "thinking_that_another_model_signed_is_not_sent",
                "a_session_goes_from_model_to_model_and_back_after_a_change",
            ),
            "unit/activities/test_doubts.py": ("thinking_that_is_not_taken_back_is_left_out_alone",),
        },
        (
            Plant(
                "thinking_that_another_model_signed_is_not_sent",
                Edit(_REQUESTS, "self.form.model and owner and owner != self.form.model:", "False:"),
            ),
            Plant(
                "thinking_that_is_not_taken_back_is_left_out_alone",
                Edit(
                    "client/inturn/turns/doubts.py",
                    "        if await self._takes_without(()):\n            return Finding([], why, all=True)\n",
                    "",
                ),
            ),
        ),
    ),
    Trigger(
        "D half characters",
        "half a surrogate pair in an answer or an event cannot be encoded, ever",
        {
            "unit/journal/test_log.py": ("text_is_kept_as_it_is_but_for_what_unicode_cannot_say",),
            _KEPT: ("whatever_a_model_gives_what_is_kept_can_be_sent_and_stored",),
            "unit/activities/test_guard.py": ("what_json_cannot_say_is_recorded_as_what_it_can",),
        },
        (
            Plant(
                "text_is_kept_as_it_is_but_for_what_unicode_cannot_say",
                Edit(
                    _CODEC,
                    'return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")',
                    "return text",
                ),
            ),
        ),
    ),
    Trigger(
        "D whitespace",
        "a tool returns only whitespace: the next request is refused",
        {
            _COMMITTED: ("whatever_a_tool_returns_the_model_sees", "whatever_an_event_holds_the_model_is_asked"),
            "unit/journal/test_transcript.py": ("blank_texts_are_left_out_and_a_blank_message_is_named",),
        },
        (
            Plant(
                "whatever_a_tool_returns_the_model_sees",
                Edit(_RESULTS, "return text if text.strip() else EMPTY", "return text"),
                (Edit(_SAID, "content or (said if said.strip() else EMPTY)", "content or said"),),
            ),
            Plant(
                "blank_texts_are_left_out_and_a_blank_message_is_named",
                Edit(
                    _BLOCKS,
                    "return text(said) if isinstance(said, str) and said.strip() else None",
                    "return text(said) if isinstance(said, str) else None",
                ),
            ),
        ),
    ),
    Trigger(
        "D rows",
        'rows with `"type": "document"` are taken for content blocks: refused after their effect, or lost',
        {
            _COMMITTED: ("whatever_a_tool_returns_the_model_sees",),
            "unit/activities/test_run_tool.py": (
                "content_blocks_go_to_the_model_as_blocks",
                "a_result_is_text_as_it_is_and_json_for_all_else",
            ),
        },
        (
            Plant(
                "whatever_a_tool_returns_the_model_sees",
                Edit(
                    _BLOCKS,
                    "if kind not in CONTENT or not block.keys() <= _FIELDS[str(kind)] | _DROPPED:",
                    "if kind not in CONTENT:",
                ),
            ),
            Plant(
                "whatever_a_tool_returns_the_model_sees",
                Edit(
                    _BLOCKS,
                    '        return isinstance(block.get("text"), str)\n    return _checked(block) is not None',
                    "        return True\n    return True",
                ),
            ),
        ),
    ),
    Trigger(
        "D refusal",
        "a refused turn stays in the conversation, so everything behind it is refused, too",
        {
            _COMMITTED: (
                "a_refused_turn_leaves_nothing_in_the_conversation_and_all_in_the_journal",
                "a_refusal_behind_tools_takes_back_their_results_and_answers_the_calls",
            ),
            "property/test_transcript_properties.py": (
                "every_request_is_valid_and_none_changes_what_an_answered_one_held",
            ),
        },
        (
            Plant(
                "a_refused_turn_leaves_nothing_in_the_conversation_and_all_in_the_journal",
                Edit(_TRANSCRIPT, 'if answer.body.get("stop") == "refusal":', "if False:"),
            ),
            Plant(
                "a_refusal_behind_tools_takes_back_their_results_and_answers_the_calls",
                Edit(_TRANSCRIPT, 'if answer.body.get("stop") == "refusal":', "if False:"),
            ),
        ),
    ),
    Trigger(
        "E1",
        "a complete answer whose arguments are no JSON is paid again and again for an hour",
        {
            _KEPT: ("arguments_that_are_no_object_of_json_end_in_an_error_result",),
            "unit/activities/test_claude_answers.py": (
                "arguments_that_are_no_json_come_as_they_were_written",
                "numbers_and_depths_that_nobody_reads_come_as_they_were_written",
                "a_name_that_comes_twice_is_no_json_of_the_calls",
            ),
        },
        (
            Plant(
                "arguments_that_are_no_json_come_as_they_were_written",
                Edit(
                    _ARGUMENTS,
                    "    except (ValueError, RecursionError):\n        return text\n",
                    "    except ZeroDivisionError:\n        return text\n",
                ),
            ),
            Plant(
                "a_name_that_comes_twice_is_no_json_of_the_calls",
                Edit(_ARGUMENTS, "if len(made) < len(pairs):", "if False:"),
            ),
        ),
    ),
    Trigger(
        "E2",
        "half a surrogate pair or 300 levels in arguments: the answer is discarded, paid three times, parked",
        {
            _KEPT: (
                "a_journal_can_store_any_number_and_any_depth",
                "a_value_without_end_is_named_where_it_goes_too_deep",
                "a_value_that_no_json_has_ends_in_an_error_result",
            ),
            "unit/activities/test_guard.py": ("what_json_cannot_say_is_recorded_as_what_it_can",),
        },
        (
            Plant(
                "a_journal_can_store_any_number_and_any_depth",
                Edit(_CODEC, "except (TypeError, ValueError, RecursionError):", "except TypeError:"),
            ),
            Plant(
                "what_json_cannot_say_is_recorded_as_what_it_can",
                Edit(
                    "client/inturn/models/encoding.py",
                    "except (ValueError, RecursionError):",
                    "except ZeroDivisionError:",
                ),
            ),
        ),
    ),
    Trigger(
        "E3",
        "answers that take longer than a step may are cut and begun again; broken streams are paid and not counted",
        {
            _PAID: (
                "an_answer_that_twice_took_all_the_time_there_is_is_not_begun_again",
                "what_failed_attempts_used_counts_for_the_turn_and_for_its_session",
                "a_budget_ends_the_repeating_of_attempts_that_break",
                "an_answer_that_breaks_off_at_one_place_is_no_outage",
                "an_attempt_that_is_stopped_keeps_what_it_used",
            )
        },
        (
            Plant(
                "an_answer_that_twice_took_all_the_time_there_is_is_not_begun_again",
                Edit(_LEASE, 'if (overtimes := counts.get("overtime", 0)) >= bounds.overtimes:', "if False:"),
                (Edit(_LEASE, 'if attempts.counts["overtime"] >= self.bounds.overtimes:', "if False:"),),
            ),
            Plant(
                "what_failed_attempts_used_counts_for_the_turn_and_for_its_session",
                Edit(_LEASE, "place=failure.place, usage=self.meter.unwritten", "place=failure.place"),
            ),
            Plant(
                "an_answer_that_breaks_off_at_one_place_is_no_outage",
                Edit("activities/inturn_activities/failures.py", ">= BROKEN_ATTEMPTS:", ">= 10**9:"),
            ),
        ),
    ),
)
