"""Agents: what answers in a session.

Invariant: an agent is a value; nothing of a session lives in it.
"""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any, Final, Literal, get_args

from pydantic import BaseModel
from pydantic_core import to_json

from inturn.errors import InvalidEvent
from inturn.keys import is_id
from inturn.models.facts import ModelFacts, facts
from inturn.models.server_tools import ServerTool
from inturn.models.settings import CacheTtl, ModelSettings, refusal
from inturn.policy import InboxPolicy
from inturn.tools import Tool, as_tool
from inturn.tools.memory import MemoryTool
from inturn.tools.read_result import READ_RESULT
from inturn.turns.budget import Budget
from inturn.turns.compaction import Compaction
from inturn.turns.memory import check_patterns
from inturn.turns.output import schema_of

Stream = Literal["watched", "always", "never"]
MAX_MODELS: Final = 16


@dataclass(frozen=True)
class Agent:
    """An agent: a model, its instructions and its tools.

    Attributes:
        name: What sessions call it.
        model: The model's name.
        instructions: The system prompt; frozen in a session when it starts.
        tools: Functions decorated with `@tool`, or plain ones.
        subagents: Agents it may delegate to.
        server_tools: Tools that the provider runs itself: `WebSearch()`, `WebFetch()`, `CodeExecution()`.
        models: Other models that an event may name to be answered by.
        fallback: Models that answer instead, in this order, where the model is away for a minute or refuses.
        output: The pydantic model that answers have to fit: `Turn.output` has them then, as JSON.
        settings: How its models are to answer.
        max_tokens: The most tokens of one answer; what the model thinks counts.
        budget: The most one turn may use.
        compaction: When its sessions are summarised to make room; `None`: only where a session cannot go on without.
        inbox: How its sessions take events.
        stream: When others see what the model says as it says it: while somebody looks (`watched`), `always`, or
            `never`, where an answer must not be seen that is withdrawn in the end.
        cache_ttl: How long the provider is to keep a conversation that it has read; `1h` costs more to write.
        task_queue: The task queue of its own on which its steps are taken; by default the worker's.
        memory: Names of the documents that it remembers, and prefixes with a `*` behind. Its sessions freeze them, and
            it has a tool `remember` to write them (see `Client.documents`).
        deliver: A tool `(out, ctx)` that takes answers, approvals and notices out.
    """

    name: str
    _: KW_ONLY
    model: str
    instructions: str
    tools: Sequence[Any] = ()
    subagents: Sequence[Agent] = ()
    server_tools: Sequence[ServerTool] = ()
    models: Sequence[str] = ()
    fallback: Sequence[str] = ()
    output: type[BaseModel] | None = None
    settings: ModelSettings = field(default_factory=ModelSettings)
    max_tokens: int = 32_000
    budget: Budget = field(default_factory=Budget)
    compaction: Compaction | None = field(default_factory=Compaction)
    inbox: InboxPolicy = field(default_factory=InboxPolicy)
    stream: Stream = "watched"
    cache_ttl: CacheTtl = "5m"
    task_queue: str | None = None
    memory: Sequence[str] = ()
    deliver: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        """Check what can be known before the first event.

        Raises:
            ValueError: The name is no id, two tools share a name, or the model would refuse every request.
        """
        if not is_id(self.name):
            raise ValueError(f"agent name {self.name!r} may hold letters, digits and ._:@+=- only, 1 to 128 of them")
        tools = self._all_tools()
        self._check_server_tools()
        names = [*(t.name for t in tools), *(t.name for t in self.server_tools)]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"agent {self.name!r} has more than one tool named {', '.join(twice)}")
        if self.stream not in get_args(Stream):
            raise ValueError(
                f"agent {self.name!r}: stream={self.stream!r:.60} is none of {', '.join(get_args(Stream))}"
            )
        if self.compaction is not None and not isinstance(self.compaction, Compaction):
            raise ValueError(f"agent {self.name!r}: compaction={self.compaction!r:.60} is no Compaction(…), nor None")
        object.__setattr__(self, "tools", tools)
        self._check_request()
        self._check_models()
        self._check_settings()

    def _check_server_tools(self) -> None:
        given: Any = self.server_tools
        if not isinstance(given, list | tuple):
            raise ValueError(f"agent {self.name!r}: server_tools={given!r:.60} is no list of tools")
        for tool in given:
            if not (isinstance(tool, ServerTool) and tool.type):
                raise ValueError(f"agent {self.name!r}: {tool!r:.60} is no tool of the provider's, such as WebSearch()")
        object.__setattr__(self, "server_tools", tuple(given))

    def _check_models(self) -> None:
        for field_, given in (("models", self.models), ("fallback", self.fallback)):
            names: Any = given
            if isinstance(names, str) or not all(isinstance(each, str) and _is_text(each) for each in names):
                raise ValueError(f"agent {self.name!r}: {field_}={names!r:.60} is no list of models")
            if len(names) > MAX_MODELS or not all(each.strip() for each in names):
                raise ValueError(f"agent {self.name!r}: {field_}= names a blank model, or more than {MAX_MODELS}")
            object.__setattr__(self, field_, tuple(dict.fromkeys(names)))

    def _check_settings(self) -> None:
        if not isinstance(self.settings, ModelSettings) or self.settings.output is not None:
            raise ValueError(f"agent {self.name!r}: settings= takes ModelSettings; a form of answers goes to output=")
        try:
            replace(self.settings_at("0"), cache_ttl=self.cache_ttl)
        except ValueError as error:
            raise ValueError(f"agent {self.name!r}: {error}") from error
        self.check_settings()

    def check_settings(self, known: Callable[[str], ModelFacts] = facts) -> None:
        """Check that each of its models takes its settings; `known`: what holds for a model.

        Raises:
            ValueError: One does not.
        """
        tools = [tool.name for tool in (*self.tools, *self.server_tools)]
        for model in self.all_models:
            if why := refusal(self.settings_at("0"), known(model), tools, self.max_tokens):
                raise ValueError(f"agent {self.name!r}: model {model} refuses {why}")

    def _all_tools(self) -> tuple[Tool[..., Any], ...]:
        """Return its tools, and `remember` where it has a memory."""
        try:
            patterns = check_patterns(self.memory)
        except ValueError as error:
            raise ValueError(f"agent {self.name!r}: {error}") from error
        object.__setattr__(self, "memory", patterns)
        own = (tool for tool in map(as_tool, self.tools) if not isinstance(tool, MemoryTool))
        return (*own, *([MemoryTool(patterns)] if patterns else []))

    def _check_request(self) -> None:
        """Refuse what no request could be made of."""
        for name, text in (("model", self.model), ("instructions", self.instructions)):
            if not isinstance(text, str) or not _is_text(text):
                raise ValueError(f"agent {self.name!r}: {name}= is {text!r:.60}, and no text that can be sent")
        if not self.model.strip():
            raise ValueError(f"agent {self.name!r}: model= is blank; name one, such as claude-sonnet-5-5")
        if self.instructions and not self.instructions.strip():
            raise ValueError(f"agent {self.name!r}: instructions= is blank; say something, or pass an empty text")
        most: object = self.max_tokens
        if not isinstance(most, int) or isinstance(most, bool) or most < 1:
            raise ValueError(f"agent {self.name!r}: max_tokens={most!r:.60} is no number of tokens, 1 or more")
        known = facts(self.model)
        if known.known and most > known.max_output:
            raise ValueError(
                f"agent {self.name!r}: max_tokens={most}, but {self.model} gives {known.max_output:,} at most"
            )

    def tool(self, name: str) -> Tool[..., Any] | None:
        """Return one of its tools."""
        return next((t for t in self._declared if t.name == name), None)

    @property
    def all_models(self) -> tuple[str, ...]:
        """Return the models that may answer for it, its own first."""
        return tuple(dict.fromkeys((self.model, *self.models, *self.fallback)))

    def answered_by(self, model: str) -> Agent:
        """Return the agent as it is answered by another of its models; its own is a fallback then."""
        if model == self.model:
            return self
        made = copy.copy(self)
        object.__setattr__(made, "model", model)
        others = tuple(each for each in (*self.fallback, self.model) if each != model)
        object.__setattr__(made, "fallback", others if self.fallback else ())
        return made

    def named(self, model: str | None) -> Agent:
        """Return the agent as it is answered by the model that an event names; `None`: by its own.

        Raises:
            InvalidEvent: It has no such model for events to name.
        """
        models = (self.model, *self.models)
        if model is not None and model not in models:
            raise InvalidEvent(f"agent {self.name!r} has no model {model!r:.220}: {', '.join(models)}")
        return self.answered_by(model or self.model)

    def settings_at(self, step: str) -> ModelSettings:
        """Return how its models are to answer at a step of a turn: a call is forced at the first alone."""
        given = self.settings
        return replace(
            given,
            tool_choice=None if given.forces and step != "0" else given.tool_choice,
            cache_ttl="1h" if "1h" in (self.cache_ttl, given.cache_ttl) else "5m",
            output=self._schema,
        )

    def manifest(self) -> dict[str, Any]:
        """Return what a session freezes: the system prompt and the tools as the model sees them, sorted by name."""
        return {**self._manifest}

    # An agent is a value, so these are worked out once: every model step asks for them.

    @functools.cached_property
    def _declared(self) -> Sequence[Tool[..., Any]]:
        """Its tools, and what reads on in results of theirs that were cut; a tool of its own by that name stands."""
        own: Sequence[Tool[..., Any]] = self.tools
        return [*own, READ_RESULT] if own and all(t.name != READ_RESULT.name for t in own) else own

    @functools.cached_property
    def _manifest(self) -> dict[str, Any]:
        declared = [*(t.definition() for t in self._declared), *(t.definition() for t in self.server_tools)]
        tools = sorted(declared, key=lambda t: str(t["name"]))
        return {"agent": self.name, "system": self.instructions, "tools": tools}

    @functools.cached_property
    def _schema(self) -> dict[str, Any] | None:
        return None if self.output is None else schema_of(self.output)

    @functools.cached_property
    def manifest_hash(self) -> str:
        """12 hex digits that change with the manifest."""
        return hashlib.sha256(to_json(self._manifest)).hexdigest()[:12]

    @functools.cached_property
    def policy_hash(self) -> str:
        """8 hex digits that change with what the workflow has to know of it."""
        return hashlib.sha256(to_json([self.inbox, self.deliver is not None])).hexdigest()[:8]


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half a character
        return False
    return True
