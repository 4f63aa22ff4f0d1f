"""What all four workflows share: a conversation in workflow state, and one turn of it.

Every model call gets the whole conversation as the activity's input: the model needs it, and workflow state is all
there is to keep it in.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from pydantic import BaseModel
from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from bench.beside.stub import Event, Message, Use, ask_model, use_tool

MODEL_TIMEOUT: Final = timedelta(seconds=60)
TOOL_TIMEOUT: Final = timedelta(seconds=5)
"""Short, so that a tool whose worker died is soon tried again."""
CAREFUL: Final = RetryPolicy(non_retryable_error_types=["BadRequestError"])
"""The default policy, but for what the model refuses."""


class Given(BaseModel):
    """What a run starts with: all of the last one's state."""

    messages: list[Message] = []
    queue: list[Event] = []
    seen: list[str] = []
    limit: int = 0
    """Events of a run, beside the server's own suggestion to continue as new; 0: the suggestion alone."""


class Chat:
    """A conversation."""

    def __init__(self, messages: list[Message]) -> None:
        self.messages = messages

    async def turn(self, content: str, retry: RetryPolicy | None = None, *, keyed: bool = False) -> None:
        """Ask the model, run the tools that it calls, and ask again, until it has answered."""
        self.messages.append({"role": "user", "content": content})
        while True:
            answer = await workflow.execute_activity(
                ask_model, self.messages, start_to_close_timeout=MODEL_TIMEOUT, retry_policy=retry
            )
            self.messages.append({"role": "assistant", "content": answer.content})
            if answer.stop_reason != "tool_use":
                return
            results = []
            for call in [block for block in answer.content if block["type"] == "tool_use"]:
                key = f"{workflow.info().workflow_id}/{call['id']}" if keyed else None
                result = await workflow.execute_activity(
                    use_tool, Use(**call["input"], key=key), start_to_close_timeout=TOOL_TIMEOUT
                )
                results.append({"type": "tool_result", "tool_use_id": call["id"], "content": result})
            self.messages.append({"role": "user", "content": results})

    async def careful_turn(self, content: str) -> None:
        """Run a turn whose failure is its own: it is said in the conversation, and the session goes on."""
        try:
            await self.turn(content, CAREFUL, keyed=True)
        except ActivityError as error:
            self.messages.append({"role": "assistant", "content": [{"type": "text", "text": f"Failed: {error.cause}"}]})

    def answers(self) -> list[str]:
        """Return what the model said, in order."""
        return texts(self.messages)


def texts(messages: list[Message]) -> list[str]:
    """Return the assistant's texts."""
    contents = [message["content"] for message in messages if message["role"] == "assistant"]
    blocks = [[{"type": "text", "text": c}] if isinstance(c, str) else c for c in contents]
    return [block["text"] for content in blocks for block in content if block["type"] == "text"]


def due(limit: int) -> bool:
    """It is time to continue as new."""
    info = workflow.info()
    return info.is_continue_as_new_suggested() or 0 < limit < info.get_current_history_length()
