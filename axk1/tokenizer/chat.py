"""Conversations -> text, by a chat template in the language that transformers, vLLM and llama.cpp render.

There is one template of ours, ``chat_template.jinja``; a checkpoint from elsewhere brings its own. Two uses:

- ``render`` gives the text, letter for letter what transformers' ``apply_chat_template`` gives;
- ``segments`` gives the same text in pieces that know where they come from. A piece is *control* when the template
  wrote a special token there, and plain otherwise, so a user who types ``<|im_end|>`` writes nine plain tokens and
  ends no turn. ``Tokenizer.encode_chat`` builds ids from these pieces; use it wherever strangers write the messages.

Messages are OpenAI's: ``role`` (system, developer, user, assistant, tool), ``content``, ``tool_calls``, and
``reasoning_content`` for what an assistant thought.
"""

import functools
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from axk1.core.errors import ConfigError
from axk1.tokenizer import special_tokens

CHAT_TEMPLATE = (Path(__file__).parent / "chat_template.jinja").read_text(encoding="utf-8")
"""Our template."""

# Unicode sets these four apart for private use inside a program; in messages they are escaped like special tokens.
_ESCAPE, _ESCAPE_END, _TARGET, _TARGET_END = "\ufdd0", "\ufdd1", "\ufdd2", "\ufdd3"
_MARKS = f"[{_ESCAPE}-{_TARGET_END}]"


class Segment(NamedTuple):
    """A piece of a rendered conversation."""

    text: str
    """The text."""
    is_target: bool
    """Whether an assistant must write it."""
    is_control: bool
    """Whether it is one special token that the template wrote; plain text otherwise, whatever it looks like."""


def render(
    messages: Sequence[Mapping[str, Any]],
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
    enable_thinking: bool = True,
    add_generation_prompt: bool = False,
    template: str = CHAT_TEMPLATE,
) -> str:
    """The conversation as text.

    For every conversation that ends with an assistant's turn, and either mode, the text of ``messages[:-1]`` with
    ``add_generation_prompt`` is how the text of ``messages`` begins: what is trained is what is generated.

    Args:
        messages: the turns.
        tools: functions that the assistant may call, as JSON schemas in OpenAI's form.
        enable_thinking: the mode. Without thinking, ``reasoning_content`` is left out.
        add_generation_prompt: whether to open the assistant's next turn at the end.
        template: the chat template, in Jinja.

    Raises:
        ConfigError: the template refuses the messages; the text says why.
    """
    return _render(_flat(messages), tools, enable_thinking, add_generation_prompt, template, marked=False)


def spans(
    messages: Sequence[Mapping[str, Any]],
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
    enable_thinking: bool = True,
    template: str = CHAT_TEMPLATE,
) -> list[tuple[str, bool]]:
    """The text of ``render`` in pieces ``(text, is_target)``.

    Targets are exactly what the model must write after a generation prompt: the reasoning, ``</think>`` (in think
    mode), the answer, its tool calls and ``<|im_end|>``. Every assistant turn is one target.
    """
    parts = segments(messages, tools=tools, enable_thinking=enable_thinking, template=template)
    merged: list[tuple[str, bool]] = []
    for part in parts:
        if merged and merged[-1][1] == part.is_target:
            merged[-1] = (merged[-1][0] + part.text, part.is_target)
        else:
            merged.append((part.text, part.is_target))
    return merged


def segments(
    messages: Sequence[Mapping[str, Any]],
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
    enable_thinking: bool = True,
    add_generation_prompt: bool = False,
    template: str = CHAT_TEMPLATE,
    control: Sequence[str] = special_tokens.NAMED,
) -> list[Segment]:
    """The text of ``render`` in pieces that tell control from text and targets from prompts.

    Args:
        messages, tools, enable_thinking, add_generation_prompt, template: as in ``render``.
        control: the special tokens of the tokenizer that will encode the pieces.
    """
    control_tokens = special_tokens.pattern(tuple(control))
    escaped: list[str] = []

    def escape(match: re.Match[str]) -> str:
        escaped.append(match.group())
        return f"{_ESCAPE}{len(escaped) - 1}{_ESCAPE_END}"

    unsafe = re.compile(f"{control_tokens.pattern}|{_MARKS}")
    safe = functools.partial(_map_strings, lambda text: unsafe.sub(escape, text))
    text = _render(safe(_flat(messages)), safe(tools), enable_thinking, add_generation_prompt, template, marked=True)
    return list(_cut(text, control_tokens, escaped))


def _cut(text: str, control_tokens: re.Pattern[str], escaped: Sequence[str]) -> Iterator[Segment]:
    # Unescaped special tokens come from the template; unescaped marks from its `generation` blocks.
    is_target = False
    for piece in re.split(f"({control_tokens.pattern}|[{_TARGET}{_TARGET_END}])", text):
        if piece in (_TARGET, _TARGET_END):
            is_target = piece == _TARGET
        elif piece:
            is_control = control_tokens.fullmatch(piece) is not None
            plain = re.sub(f"{_ESCAPE}(\\d+){_ESCAPE_END}", lambda match: escaped[int(match.group(1))], piece)
            yield Segment(plain, is_target, is_control)


def _flat(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Joins text parts before anything is escaped, so that no special token can hide across two parts."""
    flat = []
    for message in messages:
        content = message.get("content")
        if isinstance(content, list | tuple) and all(isinstance(_part_text(part), str) for part in content):
            content = "".join(_part_text(part) for part in content)
        flat.append({**message, "content": content} if "content" in message else dict(message))
    return flat


def _part_text(part: Any) -> Any:
    if isinstance(part, Mapping):
        return part.get("text") if part.get("type") == "text" else None
    return part


def _map_strings(change: Callable[[str], str], value: Any) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {_map_strings(change, key): _map_strings(change, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_map_strings(change, item) for item in value]
    return value


def _render(
    messages: list[dict[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None,
    enable_thinking: bool,
    add_generation_prompt: bool,
    template: str,
    *,
    marked: bool,
) -> str:
    try:
        return _compiled(template, marked).render(
            messages=messages,
            tools=list(tools) if tools else None,
            enable_thinking=enable_thinking,
            add_generation_prompt=add_generation_prompt,
        )
    except TemplateError as error:
        raise ConfigError(f"the chat template refuses these messages: {error.message or error}") from None
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise ConfigError(f"these messages do not fit the chat template: {error}") from None


@functools.lru_cache(maxsize=16)
def _compiled(template: str, marked: bool):
    extensions = [_MarkGeneration if marked else _SkipGeneration, "jinja2.ext.loopcontrols"]
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: time.strftime(form)
    try:
        return environment.from_string(template)
    except TemplateError as error:
        raise ConfigError(f"the chat template is not valid Jinja: {error}") from None


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, separators=None, sort_keys=False) -> str:
    # Jinja's own filter escapes for HTML; transformers replaces it by this one.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


class _SkipGeneration(Extension):
    """``{% generation %}`` blocks, transformers' way to say what the assistant writes; here they only pass through."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's own form
    marks = ("", "")

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_wrap"), [], [], body).set_lineno(line)

    def _wrap(self, caller: Callable[[], str]) -> str:
        return self.marks[0] + caller() + self.marks[1]


class _MarkGeneration(_SkipGeneration):
    """The same, with a mark before and after."""

    marks = (_TARGET, _TARGET_END)
