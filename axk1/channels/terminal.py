"""Talking to a model in a terminal: ``axk1 chat out/nano/student``."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from axk1.core.config import require
from axk1.core.language_model import LanguageModel
from axk1.core.progress import console
from axk1.tokenizer.chat import render

_HELP = """/think, /no_think  answer with or without reasoning first   풀이 후 답하기, 바로 답하기
/new               forget the conversation                   새 대화
/exit              leave (or Ctrl-D)                         끝내기"""


@dataclass(frozen=True)
class ChatConfig:
    """A conversation with a checkpoint."""

    path: Path
    """The checkpoint folder."""
    prompt: str | None = None
    """Answer this one message and leave, instead of asking for messages."""
    think: bool = False
    """Let the model reason before it answers."""
    max_tokens: int = 256
    """Longest answer, in tokens, its reasoning included."""
    temperature: float = 0.0
    """0 gives the most probable answer; higher values vary."""
    seed: int = 0
    """Seed of the sampling."""

    def __post_init__(self) -> None:
        require(self.max_tokens > 0, "max_tokens", self.max_tokens, "a positive number")
        require(self.temperature >= 0, "temperature", self.temperature, "0 or more")


def chat(model: LanguageModel, config: ChatConfig, *, read: Callable[[str], str] = input) -> None:
    """Answers one message, or messages until the person leaves; prints the text as it is written.

    Args:
        model: who answers.
        config: the conversation.
        read: asks the person for a line; EOFError or KeyboardInterrupt leaves.
    """
    if config.prompt is not None:
        _answer(model, config, [{"role": "user", "content": config.prompt}], config.think)
        return
    console.print(f"[bold]{config.path}[/bold]  /help for commands   명령은 /help")
    messages: list[dict[str, str]] = []
    think = config.think
    for line in _lines(read):
        if line == "/help":
            console.print(_HELP)
        elif line in ("/think", "/no_think"):
            think = line == "/think"
        elif line == "/new":
            messages = []
        elif line:
            messages.append({"role": "user", "content": line})
            messages.append({"role": "assistant", "content": _answer(model, config, messages, think)})


def _lines(read: Callable[[str], str]) -> Iterator[str]:
    while True:
        try:
            line = read("> ").strip()
        except (EOFError, KeyboardInterrupt):
            print()
            return
        if line == "/exit":
            return
        yield line


def _answer(model: LanguageModel, config: ChatConfig, messages: list[dict[str, str]], think: bool) -> str:
    """Streams the answer to standard output and returns it without its reasoning."""
    prompt = render(messages, enable_thinking=think, add_generation_prompt=True)
    pieces = []
    for piece in model.stream(prompt, max_tokens=config.max_tokens, temperature=config.temperature, seed=config.seed):
        pieces.append(piece)
        sys.stdout.write(piece)
        sys.stdout.flush()
    print()
    return "".join(pieces).rpartition("</think>")[2].strip()
