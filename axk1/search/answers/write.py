"""A question and passages -> sentences with citations, by a model; the same model as judge of one sentence, and of
which passages help.

All replies are held to a JSON schema, so that a small model's are well formed, too. What it writes is a draft: nothing
of it is believed before it is checked.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from axk1.core.chat_model import ChatModel, ChatReply
from axk1.guard import RULE, as_data, new_nonce
from axk1.search.answers.words import sentences
from axk1.search.passage import Passage

_LANGUAGES = {"ko": "Korean (한국어)", "en": "English"}
_TASK = (
    "Answer the question from the numbered passages and from nothing else. Write at most four short sentences in "
    "{language}; each says only what the passages that it names in sources say, with their numbers, dates and names as "
    "they stand there. Where the passages do not answer the question, write no sentence. Reply with JSON: "
    '{{"sentences": [{{"text": "...", "sources": [1]}}]}} '
)
_JUDGE = (
    "You are given passages and a sentence. Decide whether the passages say everything that the sentence says. "
    'Reply with JSON: {"supported": true} or {"supported": false}. '
)
_ORDER = (
    "You are given numbered passages and a question. Name the passages that help to answer it, the most helpful first; "
    'leave out those that do not help. Reply with JSON: {"order": [2, 1]} '
)
_VERDICT = {
    "type": "object",
    "properties": {"supported": {"type": "boolean"}},
    "required": ["supported"],
    "additionalProperties": False,
}
_MARK = re.compile(r"\s*\[(\d+)\]")


@dataclass(frozen=True)
class Draft:
    """A sentence as the model wrote it."""

    text: str
    sources: tuple[int, ...]
    """Numbers of the passages that it names, from 1; those that do not exist are left out."""


async def write(
    model: ChatModel, question: str, passages: Sequence[Passage], *, language: str
) -> tuple[list[Draft], ChatReply]:
    """Sentences that answer a question, unchecked.

    Args:
        model: who writes.
        question: what is asked, with the names that it points back to.
        passages: what it may use, numbered from 1.
        language: ``ko`` or ``en``.

    Raises:
        AXK1Error: the model cannot be reached.
    """
    messages = _messages(_TASK.format(language=_LANGUAGES[language]), passages, f"Question: {question}")
    shape = _json("answer", _answer_schema(len(passages)))
    reply = await model.chat(messages, max_tokens=800, response_format=shape)
    return read_drafts(reply.content, len(passages)), reply


async def judge(model: ChatModel, text: str, evidence: Sequence[Passage]) -> tuple[bool, ChatReply]:
    """Whether a model finds a sentence in passages; a reply that says neither is a no.

    Raises:
        AXK1Error: the model cannot be reached.
    """
    messages = _messages(_JUDGE, evidence, f"Sentence: {text}")
    reply = await model.chat(messages, max_tokens=30, response_format=_json("verdict", _VERDICT))
    try:
        return json.loads(reply.content)["supported"] is True, reply
    except (ValueError, KeyError, TypeError):
        return False, reply


async def rerank(model: ChatModel, question: str, passages: Sequence[Passage]) -> tuple[list[int], ChatReply]:
    """Places of the passages, from 0, those first that a model names as helpful, then the others as they were.

    Raises:
        AXK1Error: the model cannot be reached.
    """
    numbers = {"type": "integer", "enum": list(range(1, len(passages) + 1))}
    order = {"type": "array", "items": numbers, "maxItems": len(passages)}
    schema = {"type": "object", "properties": {"order": order}, "required": ["order"], "additionalProperties": False}
    messages = _messages(_ORDER, passages, f"Question: {question}")
    reply = await model.chat(messages, max_tokens=20 + 4 * len(passages), response_format=_json("order", schema))
    try:
        named = [number - 1 for number in json.loads(reply.content)["order"] if 0 < number <= len(passages)]
    except (ValueError, KeyError, TypeError):
        named = []
    return list(dict.fromkeys([*named, *range(len(passages))])), reply


def read_drafts(content: str, passages: int) -> list[Draft]:
    """What a model wrote: the JSON that was asked for, whole or cut short, or plain text with ``[1]`` in it."""
    drafts = [draft for record in _records(content) if (draft := _draft(record, passages))]
    if drafts or content.lstrip().startswith("{"):
        return drafts
    marked = []
    for start, end in sentences(re.sub(r"([.!?。])((?:\s*\[\d+\])+)", r"\2\1", content)):
        text = re.sub(r"([.!?。])((?:\s*\[\d+\])+)", r"\2\1", content)[start:end]
        found = {int(number) for number in _MARK.findall(text)}
        plain = _MARK.sub("", text).strip()
        if plain:
            marked.append(Draft(plain, tuple(sorted(number for number in found if 0 < number <= passages))))
    return marked


def _messages(task: str, passages: Sequence[Passage], asked: str) -> list[dict[str, str]]:
    """The task, then the passages as data, without the sentences in them that are meant for a model."""
    nonce = new_nonce()
    texts = (f"{' > '.join(filter(None, (one.title, one.section, one.date)))}\n{one.text}" for one in passages)
    wrapped = [
        as_data(text, source=f"passage {number}", nonce=nonce, suspicious="remove")
        for number, text in enumerate(texts, 1)
    ]
    system = task + RULE.replace("NONCE", nonce)
    return [{"role": "system", "content": system}, {"role": "user", "content": "\n".join([*wrapped, "", asked])}]


def _records(content: str) -> list[Any]:
    """The innermost JSON objects of a text that can be read, in order."""
    decoder, records, place = json.JSONDecoder(), [], 0
    while (place := content.find('{"text"', place)) >= 0:
        try:
            record, place = decoder.raw_decode(content, place)
            records.append(record)
        except ValueError:
            place += 1
    if not records:
        try:
            records = json.loads(content).get("sentences", [])
        except (ValueError, AttributeError):
            return []
    return records if isinstance(records, list) else []


def _draft(record: Any, passages: int) -> Draft | None:
    if not isinstance(record, dict) or not isinstance(record.get("text"), str) or not record["text"].strip():
        return None
    named = record.get("sources")
    numbers = [n for n in named if type(n) is int and 0 < n <= passages] if isinstance(named, list) else []
    return Draft(_MARK.sub("", record["text"]).strip(), tuple(dict.fromkeys(numbers)))


def _answer_schema(passages: int) -> dict[str, Any]:
    numbers = {"type": "integer", "enum": list(range(1, passages + 1))}
    sentence = {
        "type": "object",
        "properties": {
            "text": {"type": "string", "maxLength": 400},
            "sources": {"type": "array", "items": numbers, "minItems": 1, "maxItems": 3},
        },
        "required": ["text", "sources"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"sentences": {"type": "array", "items": sentence, "maxItems": 4}},
        "required": ["sentences"],
        "additionalProperties": False,
    }


def _json(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": schema}}
