"""``built_in_tools``: the tools that a configuration allows, by name."""

from dataclasses import dataclass, field
from pathlib import Path

from axk1.agents.tool import Tool
from axk1.agents.tools.arithmetic import arithmetic_tools
from axk1.agents.tools.calendar import calendar_tools
from axk1.agents.tools.documents import document_tools
from axk1.agents.tools.files import file_tools
from axk1.agents.tools.library import library_tools
from axk1.agents.tools.mail import MailConfig, mail_tools
from axk1.agents.tools.program import program_tools
from axk1.agents.tools.web import WebConfig, web_tools
from axk1.core.chat_model import ChatModel
from axk1.core.config import from_dict, load_toml
from axk1.search.router import Library


@dataclass(frozen=True, kw_only=True)
class ToolsConfig:
    """What the agents may use. Files, documents, the calendar and arithmetic need nothing; the rest is set up here."""

    mail: MailConfig = field(default_factory=MailConfig)
    """Servers of mail."""
    contacts: Path | None = None
    """People's addresses: a vCard file, or CSV with the columns name and email."""
    web: WebConfig = field(default_factory=WebConfig)
    """Pages that may be read."""
    programs: bool = True
    """Let the model run Python programs in a sandbox, where there is one (bubblewrap)."""

    @classmethod
    def load(cls, path: Path | None) -> "ToolsConfig":
        """Reads a TOML file; without one nothing is set up. Raises ConfigError that names what is wrong."""
        return cls() if path is None else from_dict(cls, load_toml(path), where=str(path))


def built_in_tools(
    config: ToolsConfig | None = None, *, library: Library | None = None, model: ChatModel | None = None
) -> dict[str, Tool]:
    """The tools for which there is all that they need.

    Args:
        config: what is set up.
        library: an opened index, for search and answers.
        model: who writes those answers; None quotes the documents.
    """
    config = config or ToolsConfig()
    tools = [*file_tools(), *document_tools(), *calendar_tools(), *arithmetic_tools()]
    tools += mail_tools(config.mail, config.contacts)
    tools += web_tools(config.web)
    tools += program_tools() if config.programs else []
    tools += library_tools(library, model) if library is not None else []
    return {one.name: one for one in tools}
