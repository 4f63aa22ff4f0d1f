"""One user's code stops everybody; what is declared and ignored; a worker's own lack."""

from __future__ import annotations

from typing import Final

from tests.triggers.trigger import Edit, Plant, Trigger

_ARGUMENTS: Final = "client/inturn/tools/arguments.py"
_AGENTS: Final = "client/inturn/agents.py"
_CALLING: Final = "client/inturn/tools/calling.py"
_CHECKS: Final = "client/inturn/tools/checks.py"
_LACKS: Final = "activities/inturn_activities/lacks.py"
_THREADS: Final = "client/inturn/tools/threads.py"
_TOOL: Final = "client/inturn/tools/tool.py"

_HANGING: Final = "unit/activities/test_hanging_code.py"
_DECLARED: Final = "unit/tools/test_declarations.py"

TRIGGERS: Final = (
    Trigger(
        "F1",
        "16 hung calls of one session: every call of the worker waits for ever, and nothing says so",
        {
            _HANGING: (
                "more_hung_calls_than_there_are_threads_stop_nobody_and_are_said",
                "calls_that_hang_until_their_timeout_leave_threads_for_other_sessions_and_tools",
                "threads_that_hang_are_bounded_and_the_worker_says_when_they_fill_it",
                "a_delivery_has_threads_of_its_own_and_so_have_checks",
            ),
            "unit/worker/test_health.py": ("what_only_a_restart_mends_is_said_to_whoever_restarts",),
            "unit/cli/test_doctor_agents.py": ("threads_that_hang_are_told_with_the_tool",),
            "integration/test_isolation.py": (
                "tools_that_hang_never_end_or_try_to_end_the_worker_stop_no_other_session",
            ),
        },
        (
            Plant(
                "more_hung_calls_than_there_are_threads_stop_nobody_and_are_said",
                Edit(
                    _THREADS,
                    "where = self._beside if room > 0 and own < max(room, SURE) else self._kept",
                    "where = self._kept",
                ),
            ),
            Plant(
                "calls_that_hang_until_their_timeout_leave_threads_for_other_sessions_and_tools",
                Edit(
                    _THREADS, "if tool >= min(self._share, free) or self._sessions[caller] >= others:", "if free <= 0:"
                ),
            ),
            Plant(
                "a_delivery_has_threads_of_its_own_and_so_have_checks",
                Edit(
                    "activities/inturn_activities/tools/thread_pools.py",
                    "return cls(threads(), threads(), threads())",
                    "return cls(*[threads()] * 3)",
                ),
            ),
            Plant(
                "what_only_a_restart_mends_is_said_to_whoever_restarts",
                Edit("service/inturn_worker/health.py", "        trouble = alive()\n", '        trouble = ""\n'),
            ),
        ),
    ),
    Trigger(
        "F2",
        "lookups, validators, approval predicates and lock templates run on the event loop, past every timeout",
        {
            _HANGING: (
                "small_functions_of_a_tool_run_beside_the_event_loop_within_their_time",
                "a_lookup_runs_beside_the_event_loop_within_the_calls_time",
                "whatever_a_check_raises_is_the_calls_own_end",
                "checks_that_run_nobodys_code_need_no_thread",
            )
        },
        (
            Plant(
                "small_functions_of_a_tool_run_beside_the_event_loop_within_their_time",
                Edit(_CHECKS, "if tool.plain:", "if True:"),
            ),
            Plant(
                "a_lookup_runs_beside_the_event_loop_within_the_calls_time",
                Edit(
                    _CHECKS,
                    "result = fn() if is_async(fn) else await threads.call(",
                    "result = fn() if fn else await threads.call(",
                ),
            ),
        ),
    ),
    Trigger(
        "F3",
        "a generator runs on the event loop behind its call's end; an async one never runs, and its call is ok",
        {
            _HANGING: (
                "a_tool_that_yields_is_run_to_its_end_or_to_what_a_result_may_hold",
                "a_generator_is_stopped_with_its_call",
            ),
            "unit/activities/test_endless_results.py": (
                "an_iterator_that_never_ends_is_stopped_whatever_holds_it",
                "a_call_whose_result_never_ends_ends",
            ),
        },
        (
            Plant(
                "a_tool_that_yields_is_run_to_its_end_or_to_what_a_result_may_hold",
                Edit(_CALLING, "return finite(result, lambda: slot.given_up)", "return result"),
            ),
            Plant(
                "a_tool_that_yields_is_run_to_its_end_or_to_what_a_result_may_hold",
                Edit(_CALLING, "return await finite_async(result)", "return result"),
            ),
            Plant(
                "a_generator_is_stopped_with_its_call",
                Edit("client/inturn/tools/returned.py", "            if self._given_up():", "            if False:"),
            ),
        ),
    ),
    Trigger(
        "F4",
        "a decorator without `async` around an async tool blocks the loop; who blocks it is named nowhere",
        {
            _HANGING: (
                "decorators_and_odd_callables_never_hold_up_the_loop",
                "what_belongs_to_another_loop_costs_its_call",
            ),
            "unit/worker/test_loop.py": (
                "a_tool_that_blocks_the_loop_is_named_with_its_place",
                "a_tool_that_stops_or_closes_the_loop_does_neither",
                "a_task_that_outlives_its_call_cannot_end_the_worker",
            ),
        },
        (
            Plant(
                "decorators_and_odd_callables_never_hold_up_the_loop",
                Edit(
                    _TOOL,
                    "    if not (inspect.isroutine(fn) or inspect.isclass(fn)):",
                    "    fn = inspect.unwrap(fn)\n    if not (inspect.isroutine(fn) or inspect.isclass(fn)):",
                ),
            ),
            Plant(
                "a_tool_that_blocks_the_loop_is_named_with_its_place",
                Edit(
                    "service/inturn_worker/loop.py",
                    'stands still: %s", _culprit(loop, thread))',
                    'stands still: %s", thread)',
                ),
            ),
            Plant(
                "a_tool_that_stops_or_closes_the_loop_does_neither",
                Edit(
                    "service/inturn_worker/loop.py",
                    "            if self._main is None or self._main.done():\n                return\n",
                    "            return\n",
                ),
            ),
        ),
    ),
    Trigger(
        "F5",
        "`Retry(after=1800000000)`: the session waits 56 years, and runs ok",
        {
            _HANGING: (
                "a_wait_that_a_tool_asks_for_is_bounded_and_shown",
                "numbers_and_the_number_of_reports_of_progress_are_bounded",
            ),
            "unit/activities/test_failures.py": (
                "the_other_sides_advice_is_the_delay_up_to_a_minute",
                "advice_that_is_no_time_is_none",
            ),
            "unit/journal/test_approvals.py": ("a_wait_that_no_workflow_can_keep_is_refused_when_it_is_declared",),
        },
        (
            Plant(
                "a_wait_that_a_tool_asks_for_is_bounded_and_shown",
                Edit(
                    "activities/inturn_activities/failures.py",
                    "return float(min(max(after, 0), LONGEST_ASKED))",
                    "return float(max(after, 0))",
                ),
            ),
            Plant(
                "numbers_and_the_number_of_reports_of_progress_are_bounded",
                Edit("activities/inturn_activities/tools/bodies.py", "if self._told > MAX_REPORTS:", "if False:"),
            ),
        ),
    ),
    Trigger(
        "F6",
        "an interrupt while a question is being delivered takes as long as the delivery",
        {
            "integration/test_delivery.py": ("nobody_waits_for_the_delivery_of_a_question_that_is_settled",),
            "integration/test_approvals.py": (
                "an_interrupt_withdraws_the_question_and_says_so",
                "an_interrupting_event_withdraws_the_question_and_goes_first",
            ),
        },
        (
            Plant(
                "nobody_waits_for_the_delivery_of_a_question_that_is_settled",
                Edit("workflows/inturn_workflows/steps.py", "turn=asks.turn if asks else None,", "turn=None,"),
            ),
            Plant(
                "nobody_waits_for_the_delivery_of_a_question_that_is_settled",
                Edit(
                    "workflows/inturn_workflows/steps.py",
                    "cancel_if=lambda: asks is not None and bool(self._state.closing or asks.call.answer),",
                    "cancel_if=bool,",
                ),
            ),
        ),
    ),
    Trigger(
        "G",
        "bounds that are declared as a default are ignored; what no request could hold is accepted",
        {
            _DECLARED: (
                "all_that_pydantic_reads_counts",
                "the_model_is_told_what_a_field_says",
                "a_signature_that_the_api_would_refuse_is_refused_with_its_line",
                "half_a_character_in_the_docstring_is_refused",
                "an_option_that_cannot_work_is_refused",
            ),
            "unit/client/test_agents.py": ("what_no_request_could_be_made_of_is_refused_where_it_is_declared",),
        },
        (
            Plant(
                "all_that_pydantic_reads_counts", Edit(_ARGUMENTS, "if isinstance(default, FieldInfo):", "if False:")
            ),
            Plant(
                "a_signature_that_the_api_would_refuse_is_refused_with_its_line",
                Edit(_ARGUMENTS, "if not _PROPERTY.fullmatch(key):", "if False:"),
            ),
            Plant(
                "half_a_character_in_the_docstring_is_refused",
                Edit(_ARGUMENTS, "ensure_ascii=False, default=str).encode())", "default=str).encode())"),
            ),
            Plant(
                "what_no_request_could_be_made_of_is_refused_where_it_is_declared",
                Edit(_AGENTS, "if self.instructions and not self.instructions.strip():", "if False:"),
            ),
            Plant(
                "what_no_request_could_be_made_of_is_refused_where_it_is_declared",
                Edit(_AGENTS, "isinstance(most, bool) or most < 1:", "isinstance(most, bool):"),
            ),
            Plant(
                "what_no_request_could_be_made_of_is_refused_where_it_is_declared",
                Edit(_AGENTS, "if not isinstance(text, str) or not _is_text(text):", "if False:"),
            ),
        ),
    ),
    Trigger(
        "H",
        "two apps on one task queue park events at random; in a rolling deploy calls end with `no such tool`",
        {
            "unit/activities/test_lacks.py": (
                "an_agent_that_another_worker_has_is_waited_for_with_its_name",
                "an_agent_with_a_task_queue_of_its_own_is_said_to_be_there",
                "an_agent_that_only_an_event_names_costs_its_event_half_a_minute",
                "a_tool_that_a_newer_worker_has_is_waited_for_and_a_removed_one_is_not",
                "a_delivery_waits_for_the_worker_whose_agent_delivers",
                "a_policy_is_asked_of_a_worker_that_has_the_agent",
            ),
            "integration/test_other_workers.py": (
                "two_apps_on_one_task_queue_cost_no_event_its_turn",
                "a_rolling_deploy_with_a_new_tool_ends_no_call_with_no_such_tool",
            ),
        },
        (
            Plant(
                "an_agent_that_another_worker_has_is_waited_for_with_its_name",
                Edit(_LACKS, '        await self._wait(step, f"agent {name!r}", rows, patience)\n', ""),
            ),
            Plant(
                "a_tool_that_a_newer_worker_has_is_waited_for_and_a_removed_one_is_not",
                Edit(_LACKS, "if alike and has(alike[0]):", "if False:"),
            ),
            Plant(
                "a_tool_that_a_newer_worker_has_is_waited_for_and_a_removed_one_is_not",
                Edit(_LACKS, "if alike and has(alike[0]):", "if alike:"),
            ),
            Plant(
                "an_agent_with_a_task_queue_of_its_own_is_said_to_be_there",
                Edit(_LACKS, "if alike and alike[0] != activity.info().task_queue:", "if False:"),
            ),
            Plant(
                "a_delivery_waits_for_the_worker_whose_agent_delivers",
                Edit(
                    "activities/inturn_activities/deliver.py",
                    "            await self._lacks.deliver(step, agent)\n",
                    "",
                ),
            ),
        ),
    ),
)
