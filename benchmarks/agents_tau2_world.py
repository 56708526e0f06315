"""tau2's telecom environment behind a pipe: a JSON object a line in, one out. Run by the Python that has tau2.

    TAU2_PYTHON benchmarks/agents_tau2_world.py PACK

``PACK`` holds ``db.toml``, ``user_db.toml`` and ``tasks_small.jsonl``. The environment, its tools, its assertions and
the rule for actions are tau2's own; nothing of them is written anew here.

    {"do": "tasks"}                                       -> what each task says, and its reference actions
    {"do": "start", "task": 3}                            -> the assistant's tools, the environment as the task begins
    {"do": "call", "who": "user", "name": ..., "arguments": {...}}  -> {"content": ..., "error": false}
    {"do": "device"}                                      -> the phone as its owner sees it
    {"do": "grade"}                                       -> {"success": ..., "assertions": [...], "actions": [...]}
"""

import json
import sys
from pathlib import Path
from typing import Any

from loguru import logger
from tau2.data_model.message import ToolCall
from tau2.data_model.tasks import RewardType, Task
from tau2.domains.telecom.data_model import TelecomDB
from tau2.domains.telecom.environment import TelecomEnvironment
from tau2.domains.telecom.tools import TelecomTools
from tau2.domains.telecom.user_data_model import TelecomUserDB
from tau2.domains.telecom.user_tools import TelecomUserTools

READY = "the world is ready"
"""The line before the first answer; what tau2 prints while it is imported comes before it."""


class World:
    """One environment at a time."""

    def __init__(self, pack: Path) -> None:
        self.pack = pack
        lines = (pack / "tasks_small.jsonl").read_text(encoding="utf-8").splitlines()
        self.all = [Task.model_validate_json(line) for line in lines if line.strip()]
        self.calls: list[ToolCall] = []

    def tasks(self) -> list[dict[str, Any]]:
        """What the benchmark must know of each task."""
        return [
            {
                "id": task.id,
                "says": task.user_scenario.instructions.reason_for_call,
                "knows": task.user_scenario.instructions.known_info,
                "instructions": task.user_scenario.instructions.task_instructions,
                "actions": [
                    {"who": one.requestor, "name": one.name, "arguments": one.arguments}
                    for one in task.evaluation_criteria.actions or []
                ],
            }
            for task in self.all
        ]

    def start(self, task: int) -> dict[str, Any]:
        """A fresh environment in the task's first state."""
        self.task, self.calls = self.all[task], []
        tools = TelecomTools(TelecomDB.load(self.pack / "db.toml"))
        user_tools = TelecomUserTools(TelecomUserDB.load(self.pack / "user_db.toml"))
        self.environment = TelecomEnvironment("telecom", "", tools, user_tools)
        first = self.task.initial_state
        self.environment.set_state(first.initialization_data, first.initialization_actions, [])
        kinds = {one.name: tools.tool_type(one.name).value for one in self.environment.get_tools()}
        described = [one.openai_schema["function"] for one in self.environment.get_tools()]
        return {"tools": [{**one, "kind": kinds[one["name"]]} for one in described]}

    def call(self, who: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """What a tool answers."""
        made = ToolCall(id=str(len(self.calls)), name=name, arguments=arguments, requestor=who)
        answer = self.environment.get_response(made)
        self.calls.append(made)
        return {"content": answer.content, "error": answer.error}

    def device(self) -> dict[str, Any]:
        """The state of the phone."""
        return json.loads(self.environment.user_tools.device.model_dump_json())

    def grade(self) -> dict[str, Any]:
        """Whether the environment is as it shall be, by tau2's assertions and, where they count, its actions."""
        wanted = self.task.evaluation_criteria
        assertions = [
            self.environment.run_env_assertion(one, raise_assertion_error=False) for one in wanted.env_assertions or []
        ]
        actions = [any(map(one.compare_with_tool_call, self.calls)) for one in wanted.actions or []]
        counted = actions if RewardType.ACTION in wanted.reward_basis else []
        return {"success": all([*assertions, *counted]), "assertions": assertions, "actions": actions}


def main() -> None:
    """Answers until the pipe ends."""
    logger.remove()
    world = World(Path(sys.argv[1]))
    print(READY, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(getattr(world, asked.pop("do"))(**asked)), flush=True)


if __name__ == "__main__":
    main()
