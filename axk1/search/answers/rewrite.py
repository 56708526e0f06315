"""A conversation -> what to search for. The person's own words are always among it; a model may only add."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from axk1.core.chat_model import ChatModel, ChatReply
from axk1.core.errors import AXK1Error
from axk1.guard import as_data, new_nonce
from axk1.search.answers.words import content_words, words

_POINTS_BACK = re.compile(
    r"(?<![가-힣])(?:그|이|저)(?:것|거|곳|분|사람|때|중|는|가|의|를|럼|러면|런데)?(?![가-힣])|거기|그녀|그들|그럼|그러면|해당|위의"
    r"|\b(?:it|its|that|this|they|them|their|he|she|his|her|there|those|these|then|what about|how about)\b",
    re.I,
)
_QUERIES = 3
_SCHEMA = {
    "type": "object",
    "properties": {"queries": {"type": "array", "items": {"type": "string", "maxLength": 200}, "maxItems": _QUERIES}},
    "required": ["queries"],
    "additionalProperties": False,
}
_TASK = (
    "Write up to three short search queries that together find the answer to the last question of the conversation. "
    "Resolve what it refers to (it, that, 그것, 그 사람) by names from the conversation. Split a question that asks "
    "for several things. Where it helps, write one query in Korean and one in English. Reply with JSON only."
)


@dataclass(frozen=True)
class Asked:
    """What is to be answered."""

    question: str
    """The person's words."""
    resolved: str
    """The same, with the names that it refers to before it."""
    parts: tuple[str, ...]
    """The questions in it, each with those names; at least one."""

    @property
    def queries(self) -> tuple[str, ...]:
        """What to search for, without a model's help."""
        return tuple(dict.fromkeys((self.question, self.resolved, *self.parts)))


def read_conversation(messages: Sequence[Mapping[str, Any]]) -> Asked:
    """The last question of a conversation, understood by rule.

    Args:
        messages: OpenAI's; the last one of the person's is the question.

    Raises:
        AXK1Error: nothing is asked.
    """
    said = [str(message.get("content") or "").strip() for message in messages if message.get("role") == "user"]
    if not said or not said[-1]:
        raise AXK1Error("messages = [] is not allowed; allowed: a conversation that ends with a question")
    *earlier, question = said
    topic = _topic(earlier) if earlier and _leans_back(question) else ""
    parts = [part.strip() for part in re.findall(r"[^?？]+[?？]", question)] or [question]
    own = _topic([question])
    resolved = [f"{topic} {part}".strip() for part in parts]
    if len(parts) > 1:  # the second question of one breath often leaves out the name that the first one holds
        resolved = [resolved[0]] + [part if _names(part) else f"{own} {part}" for part in resolved[1:]]
    return Asked(question, f"{topic} {question}".strip(), tuple(resolved))


async def rewrite(model: ChatModel, messages: Sequence[Mapping[str, Any]]) -> tuple[list[str], ChatReply]:
    """Queries that a model adds, at most three (none where it wrote something else), and its reply.

    Raises:
        AXK1Error: the model cannot be reached.
    """
    turns = (message for message in messages if message.get("role") in ("user", "assistant"))
    talk = "\n".join(f"{turn['role']}: {turn.get('content') or ''}" for turn in turns)
    nonce = new_nonce()
    said = as_data(talk, source="person", nonce=nonce)
    reply = await model.chat(
        [{"role": "system", "content": _TASK}, {"role": "user", "content": said}],
        max_tokens=200,
        response_format={"type": "json_schema", "json_schema": {"name": "queries", "strict": True, "schema": _SCHEMA}},
    )
    try:
        queries = json.loads(reply.content)["queries"]
        return [query.strip() for query in queries if query.strip()][:_QUERIES], reply
    except (ValueError, KeyError, TypeError, AttributeError):
        return [], reply


def _leans_back(question: str) -> bool:
    """Whether a question cannot be understood alone: it points back, or names nothing."""
    return _POINTS_BACK.search(question) is not None or not _names(question) or len(content_words(question)) < 3


def _topic(said: Sequence[str]) -> str:
    """What the last message with a name in it was about: its names and numbers; where none has any, its nouns."""
    for text in reversed(said):
        if found := _names(text):
            return " ".join(found)
    nouns = (text[word.start : word.end] for text in said[-1:] for word in content_words(text) if word.tag[0] == "N")
    return " ".join(dict.fromkeys(nouns))


def _names(text: str) -> list[str]:
    """Names and articles of a text, as written: 세종대왕, 제12조, Seoul."""
    articles = re.findall(r"제\s?\d+\s?[조항장절호](?:의\s?\d+)?", text)
    named = [
        text[word.start : word.end]
        for word in words(text)
        if word.is_name or (word.tag == "SL" and text[word.start].isupper() and word.start > 0)
    ]
    return list(dict.fromkeys(articles + named))
