"""What we offer over MCP: tools that the policy lets run, search, agents; files and documents to read; prompts."""

from collections.abc import Callable
from pathlib import Path

from axk1.agents.host import AgentHost, Equipment, folder_of
from axk1.agents.loop import local_time
from axk1.agents.mcp.indexed_documents import indexed_documents
from axk1.agents.mcp.our_prompts import our_prompts
from axk1.agents.mcp.served import Offer
from axk1.agents.mcp.served_agents import served_agents
from axk1.agents.mcp.served_search import served_search
from axk1.agents.mcp.served_tools import ServedTool
from axk1.agents.mcp.workspace_files import workspace_files
from axk1.agents.policy import Verdict
from axk1.agents.tool import Language
from axk1.core.chat_model import ChatModel
from axk1.search.router import Library
from axk1.serve.caller import Caller

INSTRUCTIONS = (
    "Documents that can be searched and answered from with sources, tools that write documents, keep a calendar and "
    "send mail, and an agent that does a whole piece of work with them. What only the person can know is asked for, "
    "and what cannot be taken back is shown before it is done. Files that tools make can be read as resources."
)


def offered(
    equipment: Equipment,
    *,
    agents: AgentHost | None = None,
    library: Library | None = None,
    open_chat: Callable[[Caller], ChatModel | None] = lambda _: None,
    language: Language = "en",
) -> Offer:
    """All that clients may use; a tool that the policy blocks is not among it.

    Args:
        equipment: the tools, their policy and the folder of all callers' files.
        agents: who does whole pieces of work; None where there is no model.
        library: the index that is searched; None where there is none.
        open_chat: who writes the answers of the search, on behalf of a caller; None quotes the passages.
        language: of the forms that a person fills in.
    """

    def workspace(caller: Caller) -> Path:
        return equipment.workspace / folder_of(caller.tenant)

    tools = [one for one in equipment.tools.values() if equipment.policy.decide(one, {}).verdict is not Verdict.BLOCK]
    options = {"workspace": workspace, "clock": local_time, "language": language}
    offer = Offer(*(ServedTool(one, equipment.policy, **options).served() for one in tools))
    offer.add(workspace_files(workspace))
    if library is not None:
        offer.add(*served_search(lambda: library, open_chat), *indexed_documents(lambda: library))
    if agents is not None:
        offer.add(*served_agents(agents.runner, agents.work))
    get_library = None if library is None else lambda: library
    return offer.add(*our_prompts(workspace, get_library, language=language))
