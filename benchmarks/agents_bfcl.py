"""BFCL's questions for the real agent loop: the data as published, its functions as tools that only say ``done``.

Sets: ``simple``, ``multiple``, ``parallel`` (one turn each), ``irrelevance`` (no function fits), ``miss_param`` (of the
multi-turn set those 81 whose first turn lacks something; the second turn gives it).
"""

import ast
import json
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from agents_match import Call, plain
from pydantic import BaseModel

from axk1.agents.mcp.schema_tool import AnyArguments, SchemaTool
from axk1.agents.tool import Effect, Outcome, Slot, ToolContext

SETS = ("simple", "multiple", "parallel", "irrelevance", "miss_param")
_FILES = {"simple": "simple_python", "miss_param": "multi_turn_miss_param"}
_FOLDER = "bfcl_eval/data"
_CLASSES = {
    "GorillaFileSystem": "gorilla_file_system",
    "MathAPI": "math_api",
    "MessageAPI": "message_api",
    "TwitterAPI": "posting_api",
    "TicketAPI": "ticket_api",
    "TradingBot": "trading_bot",
    "TravelAPI": "travel_booking",
    "VehicleControlAPI": "vehicle_control",
}
_VERBS = {
    Effect.SEND: "send post publish tweet retweet comment reply notify email mail submit share invite mention",
    Effect.DELETE: "delete remove rm rmdir cancel clear drop close reset unfollow terminate",
    Effect.PAY: "pay buy purchase order book transfer fund withdraw deposit donate trade sell place checkout",
}
"""What a function does to the world, by the first word of its name; others only write."""
_JSON_TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": "string"}


@dataclass(frozen=True)
class Item:
    """One question."""

    set: str
    id: str
    turns: tuple[str, ...]
    """What the person says, one turn behind the other."""
    functions: tuple[Mapping[str, Any], ...]
    """As BFCL describes them."""
    accepted: tuple[Mapping[str, Any], ...]
    """Calls that are right in the first turn: function -> parameter -> allowed values; none where none is."""
    then: tuple[Call, ...] = ()
    """Calls of the second turn, where there is one."""


def read_items(wheel: Path, name: str, count: int, seed: int) -> list[Item]:
    """Some questions of a set, drawn by a seed, straight from the package ``bfcl-eval``; nothing in it is run."""
    with ZipFile(wheel) as archive:
        file = _FILES.get(name, name)
        questions = list(_lines(archive, f"BFCL_v4_{file}.json"))
        answers = {}
        if name != "irrelevance":
            answers = {
                one["id"]: one["ground_truth"] for one in _lines(archive, f"possible_answer/BFCL_v4_{file}.json")
            }
        if name == "miss_param":
            documents = {one: list(_lines(archive, f"multi_turn_func_doc/{at}.json")) for one, at in _CLASSES.items()}
            items = [_two_turns(one, answers[one["id"]], documents) for one in questions]
            items = [one for one in items if one is not None]
        else:
            items = [_one_turn(name, one, answers.get(one["id"], [])) for one in questions]
    return random.Random(seed).sample(items, min(count, len(items)))


def tools_of(item: Item, *, slots: bool) -> dict[str, SchemaTool]:
    """The functions as tools. Args: slots: each required parameter must have been said, or is asked for."""
    return {tool.name: tool for tool in (_tool(function, slots=slots) for function in item.functions)}


def effect_of(name: str) -> Effect:
    """What a function does, as far as its name tells: ``twitter.post_tweet`` sends, ``sort_by`` writes."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.rpartition(".")[2]).lower().split("_")
    return next((effect for effect, verbs in _VERBS.items() if words[0] in verbs.split()), Effect.WRITE)


def tool_name(name: str) -> str:
    """BFCL's name of a function as OpenAI's API allows it."""
    return name.replace(".", "_")


def invented(arguments: Mapping[str, Any], required: list[str], said: str) -> bool:
    """Whether a required value is not to be found in what the person said."""
    words = plain(said)
    values = [one for name in required for one in _leaves(arguments.get(name))]
    return any(plain(str(value)) not in words for value in values if not isinstance(value, bool) and value is not None)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _leaves(one)
    else:
        yield value


def _one_turn(name: str, question: dict[str, Any], accepted: list[dict[str, Any]]) -> Item:
    said = "\n".join(message["content"] for message in question["question"][0])
    return Item(name, question["id"], (said,), tuple(question["function"]), tuple(accepted))


def _two_turns(question: dict[str, Any], truth: list[list[str]], documents: dict[str, list[Any]]) -> Item | None:
    """A conversation whose first turn lacks something; None where that is another turn."""
    if truth[0]:
        return None
    turns = tuple(turn[0]["content"] for turn in question["question"][:2])
    known = [one for involved in question["involved_classes"] for one in documents[involved]]
    used = {path.split(".")[-1] for path in question["path"]} | {name for name, _ in map(_parsed, truth[1])}
    functions = tuple(one for one in known if one["name"] in used)  # the others would fill the context of a small model
    return Item("miss_param", question["id"], turns, functions, (), tuple(map(_parsed, truth[1])))


def _parsed(call: str) -> Call:
    """``mkdir(dir_name='temp')`` as a call; values without a name get their place for one."""
    node = ast.parse(call, mode="eval").body
    assert isinstance(node, ast.Call)
    named = {str(one.arg): ast.literal_eval(one.value) for one in node.keywords}
    return ast.unparse(node.func), {**{str(at): ast.literal_eval(one) for at, one in enumerate(node.args)}, **named}


def _tool(function: Mapping[str, Any], *, slots: bool) -> SchemaTool:
    schema = _schema(function["parameters"])
    arguments: type[BaseModel] = AnyArguments.named(schema)
    questions = {name: _slot(name, schema) for name in schema.get("required", ())} if slots else {}

    def done(context: ToolContext, /, **arguments: Any) -> Outcome:
        return Outcome("done")

    return SchemaTool(
        name=tool_name(function["name"]),
        description=function["description"],
        effect=effect_of(function["name"]),
        arguments=arguments,
        schema=schema,
        slots=questions,
        function=done,
    )


def _slot(name: str, schema: Mapping[str, Any]) -> Slot:
    question = f"{name}? {schema['properties'][name].get('description', '')}".strip()
    return Slot(ko=question, en=question)


def _schema(declared: Any) -> Any:
    """BFCL's schema as JSON schema."""
    if isinstance(declared, list):
        return [_schema(one) for one in declared]
    if not isinstance(declared, Mapping):
        return declared
    read = {name: _schema(value) for name, value in declared.items() if name not in ("default", "optional", "format")}
    if isinstance(declared.get("type"), str):
        read["type"] = _JSON_TYPES.get(declared["type"], declared["type"])
    return read


def _lines(archive: ZipFile, name: str) -> Iterator[dict[str, Any]]:
    with archive.open(f"{_FOLDER}/{name}") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)
