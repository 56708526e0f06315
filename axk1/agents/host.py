"""``AgentHost``: the agents of a server: a runner for each caller, a folder for each tenant, one set of tools."""

import contextlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from fastapi import APIRouter

from axk1.agents.limits import Limits
from axk1.agents.loop import Runner, local_time
from axk1.agents.mcp.client import open_mcp_tools
from axk1.agents.mcp.config import McpServer
from axk1.agents.policy import Policy
from axk1.agents.router import router
from axk1.agents.run import Run
from axk1.agents.store import RunStore
from axk1.agents.tool import Tool
from axk1.agents.work import Work
from axk1.core.chat_model import ChatModel
from axk1.serve.caller import Caller


@dataclass(frozen=True)
class Equipment:
    """What the agents of a server work with."""

    tools: Mapping[str, Tool]
    workspace: Path
    """Folder of all tenants' files; each has a folder of its own in it."""
    policy: Policy = field(default_factory=Policy)
    limits: Limits = field(default_factory=Limits)
    constrained: bool = False
    """Whether the model must always call a tool; see ``Runner``."""
    servers: Mapping[str, McpServer] = field(default_factory=dict)
    """MCP servers whose tools the agents may use, too. All tenants share the connection."""


class AgentHost:
    """The agents of a server: they work while ``running`` does.

    Args:
        store: where the runs are.
        model_of: the model that answers on behalf of a caller, within their limits and on their meter.
        equipment: tools, folder, policy, limits.
        clock_of: the time of a caller.
        name: what kind of server this is. Servers of one kind that share a database carry each other's runs on, so
            they must have the same equipment.
    """

    def __init__(
        self, store: RunStore, model_of: Callable[[Caller], ChatModel], equipment: Equipment, *,
        clock_of: Callable[[Caller], Callable[[], datetime]] = lambda _: local_time, name: str = "serve",
    ) -> None:  # fmt: skip
        self._store, self._model_of, self._equipment = store, model_of, equipment
        self._clock_of, self._name = clock_of, name
        self._tools = equipment.tools
        self.work = Work(store, self._runner_for, name)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connects the MCP servers and carries runs on, for as long as the block runs.

        Raises:
            ServerLost: an MCP server cannot be reached.
            ConfigError: the policy names a tool that is not there.
        """
        async with open_mcp_tools(self._equipment.servers) as theirs:
            self._tools = {**self._equipment.tools, **theirs}
            self._equipment.policy.check(self._tools, where="the policy")
            self.work.start()
            try:
                yield
            finally:
                await self.work.stop()

    def runner(self, caller: Caller) -> Runner:
        """The runner that acts on behalf of a caller."""
        with_what = self._equipment
        return Runner(
            self._model_of(caller),
            self._tools,
            self._store,
            with_what.policy,
            with_what.limits,
            self._clock_of(caller),
            workspace=with_what.workspace / folder_of(caller.tenant),
            tenant=caller.tenant,
            key=caller.key,
            constrained=with_what.constrained,
            host=self._name,
        )

    def router(self) -> APIRouter:
        """The routes under ``/v1/agents``."""
        return router(self.runner, self._store, self.work)

    def _runner_for(self, run: Run) -> Runner:
        return self.runner(Caller(tenant=run.tenant, key=run.key))


def folder_of(tenant: str) -> str:
    """The name of a tenant's folder. Raises ValueError for an id that no directory of this server makes."""
    if not re.fullmatch(r"[\w-]{0,64}", tenant):
        raise ValueError(f"tenant = {tenant!r} is no id of an organisation")
    return tenant or "everybody"
