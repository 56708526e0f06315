"""``Expert``: a ``ChatModel`` that knows how a task is done, and does it; what it reads and writes is a lesson."""

from collections.abc import Mapping, Sequence
from typing import Any

from axk1.agents.brief import brief_messages, call_text
from axk1.agents.dialogues.task import Task
from axk1.agents.dialogues.world import World
from axk1.core.chat_model import ChatReply, ToolCall


class Expert:
    """Makes a task's moves, one at a turn, and answers.

    Args:
        task: what to do.
        world: the world of the run; some moves depend on it.
    """

    def __init__(self, task: Task, world: World) -> None:
        self._task, self._world = task, world
        self._turn = 0
        self.messages: list[dict[str, Any]] = []
        """The conversation up to the last turn, that included, as a small model reads it."""

    async def chat(
        self, messages: Sequence[Mapping[str, Any]], *, tools: Sequence[Mapping[str, Any]] = (), **_: Any
    ) -> ChatReply:
        """As ``ChatModel.chat``; always a call, the last one of ``answer``."""
        call = self._next()
        self._turn += 1
        self.messages = [*brief_messages(messages, tools), {"role": "assistant", "content": call_text(call)}]
        return ChatReply("", (call,), finish_reason="tool_calls")

    def _next(self) -> ToolCall:
        if self._turn < len(self._task.moves):
            move = self._task.moves[self._turn]
            return ToolCall(f"expert_{self._turn}", move.tool, move.written(self._world))
        return ToolCall("expert_answer", "answer", {"text": self._task.answer})
