"""What `inturn dev` says once a worker is ready: the first time all there is to know, then what changed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from inturn_worker.dev.output import Output
from inturn_worker.dev.server import Server


class Narrative:
    """Prints what each worker that became ready means to the user."""

    def __init__(self, output: Output, journal: str) -> None:
        self._output = output
        self._journal = journal
        self._began: float | None = time.monotonic()
        self.server: Server | None = None

    def worker_ready(self, worker: Mapping[str, str]) -> None:
        """Print that a worker is ready.

        Args:
            worker: The `name=value` words of its ready line.
        """
        agents, model = worker.get("agents", "").split(","), _model(worker.get("model", ""))
        if self._began is None:
            self._output.say(
                f"worker ready. Agents: {', '.join(agents)}. Model: {model}", event="reloaded", worker=worker
            )
            return
        took, self._began = time.monotonic() - self._began, None
        assert self.server is not None
        commands = _commands(agents)
        lines = [
            f"ready after {took:.1f} s. Agents: {', '.join(agents)}. Model: {model}",
            *([f"Temporal UI: {self.server.ui}"] if self.server.ui else []),
            "Try, in another terminal in this directory:",
            *(f"  {command}" for command in commands),
            f"For your own programs: export TEMPORAL_ADDRESS={self.server.address} INTURN_JOURNAL={self._journal}",
            "What you save is deployed. Ctrl-C ends it all; sessions are kept in .inturn/ (--fresh forgets them)",
        ]
        self._output.say(
            "\n".join(lines),
            event="ready",
            seconds=round(took, 2),
            address=self.server.address,
            ui=self.server.ui,
            journal=self._journal,
            commands=commands,
            worker=worker,
        )


def _model(name: str) -> str:
    return "scripted (no ANTHROPIC_API_KEY: its answers are made up)" if name == "scripted" else name


def _commands(agents: Sequence[str]) -> list[str]:
    agent = f" --agent {agents[0]}" if len(agents) > 1 else ""
    return [f'inturn ask hello "Hello!"{agent}', "inturn tail hello", "inturn ls"]
