"""``built_in_tools``: all tools that this program brings, by name."""

from dataclasses import dataclass

from axk1.agents.tool import Tool
from axk1.agents.tools.files import file_tools


@dataclass(frozen=True, kw_only=True)
class ToolsConfig:
    """What the tools need to know."""


def built_in_tools(config: ToolsConfig) -> dict[str, Tool]:
    """The tools that a config makes possible, by name."""
    return {one.name: one for one in file_tools()}
