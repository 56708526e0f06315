"""Programs that the model writes, run where they can do no harm (``eval.sandbox``): no network, no files of ours."""

import functools

from axk1.agents.tool import Effect, Outcome, Tool, ToolContext, ToolRefusal, tool
from axk1.core.errors import AXK1Error
from axk1.eval.sandbox import Sandbox


@functools.cache
def _sandbox() -> Sandbox:
    return Sandbox.open()


@tool(effect=Effect.READ)
def run_python(context: ToolContext, program: str) -> Outcome:
    """Runs a Python program without network and files, for a few seconds, and returns what it prints."""
    del context
    try:
        printed, failure = _sandbox().output(program)
    except AXK1Error as error:
        raise ToolRefusal(error.message, repair=error.repair) from None
    return Outcome({"printed": printed, **({"failed": failure} if failure else {})})


def program_tools() -> list[Tool]:
    """The tools of this file; none where programs cannot be kept apart."""
    try:
        _sandbox()
    except AXK1Error:
        return []
    return [run_python]
