"""Who writes answers: a checkpoint in our engine, or a server with OpenAI's ``/v1/chat/completions``.

Both take questions, each with the seeds of its samples, and give texts in the form in which our chat template puts
them before a model: behind ``<think>`` in think mode, so that the reasoning ends with ``</think>``.
"""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from axk1.core.errors import AXK1Error
from axk1.core.language_model import Generation
from axk1.distill.config import ServerSource
from axk1.distill.questions import Question
from axk1.engine.llm import LLM
from axk1.engine.sampling_params import SamplingParams
from axk1.eval.graders import THINK_END

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
"""Seconds."""


@dataclass(frozen=True)
class Ask:
    """A question and how it is to be answered."""

    question: Question
    seeds: tuple[int, ...]
    """One for each sample."""
    temperature: float
    top_p: float
    max_tokens: int


class AnswerWriter(Protocol):
    """Writes the samples of each question, in order."""

    def write(self, asks: Sequence[Ask]) -> list[list[Generation]]:
        """One list for each question, one text for each of its seeds."""
        ...


class EngineWriter:
    """A checkpoint in this process. A sample depends on its question and its seed, not on what is written beside it."""

    def __init__(self, model: LLM) -> None:
        self.model = model

    def write(self, asks: Sequence[Ask]) -> list[list[Generation]]:
        """See ``AnswerWriter``."""
        prompts, params = [], []
        for ask in asks:
            messages = [{"role": "user", "content": ask.question.text}]
            chat = self.model.tokenizer.encode_chat(
                messages, enable_thinking=ask.question.thinking, add_generation_prompt=True
            )
            for seed in ask.seeds:
                prompts.append(list(chat.ids))
                options = {"temperature": ask.temperature, "top_p": ask.top_p, "max_tokens": ask.max_tokens}
                params.append(SamplingParams(seed=seed, **options))
        texts = iter(self.model.generate(prompts, params))
        return [[next(texts) for _ in ask.seeds] for ask in asks]


class ServerWriter:
    """A server. Each sample is a request of its own, with its seed; whether that is honoured is the server's affair.

    Think mode is asked for by ``chat_template_kwargs.enable_thinking``, as vLLM and SGLang take it; the reasoning is
    read from ``reasoning_content`` or ``reasoning``, or from the content up to ``</think>``.
    """

    def __init__(self, source: ServerSource) -> None:
        self.source = source
        key = os.environ.get(source.api_key_variable, "") if source.api_key_variable is not None else None
        headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
        self._client = httpx.Client(timeout=source.timeout, headers=headers)
        self._address = f"{str(source.base_url).rstrip('/')}/chat/completions"

    def write(self, asks: Sequence[Ask]) -> list[list[Generation]]:
        """See ``AnswerWriter``.

        Raises:
            AXK1Error: the server refuses, fails too often, or answers in another form.
        """
        bodies = [self._body(ask, seed) for ask in asks for seed in ask.seeds]
        with ThreadPoolExecutor(self.source.batch) as threads:
            answers = threads.map(self._post, bodies)
            return [
                [_generation(next(answers), ask.question.thinking, self._address) for _ in ask.seeds] for ask in asks
            ]

    def _body(self, ask: Ask, seed: int) -> dict[str, Any]:
        return {
            "model": self.source.model,
            "messages": [{"role": "user", "content": ask.question.text}],
            "seed": seed,
            "temperature": ask.temperature,
            "top_p": ask.top_p,
            "max_tokens": ask.max_tokens,
            "chat_template_kwargs": {"enable_thinking": ask.question.thinking},
        }

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        failure = ""
        for attempt in range(self.source.retries + 1):
            if attempt:
                time.sleep(min(_FIRST_WAIT * 2 ** (attempt - 1), _LONGEST_WAIT))
            try:
                response = self._client.post(self._address, json=body)
                if response.status_code == 200:
                    return response.json()
                failure = f"{response.status_code} {response.text[:300]}"
                if response.status_code < 500 and response.status_code not in (408, 429):
                    break
            except (httpx.HTTPError, ValueError) as error:
                failure = str(error) or type(error).__name__
        raise AXK1Error(f"the server at {self._address} does not answer: {failure}", repair=f"curl {self._address}")


def _generation(answer: dict[str, Any], thinking: bool, address: str) -> Generation:
    """A chat completion as the text that the model wrote behind its prompt."""
    try:
        choice = answer["choices"][0]
        message, usage = choice["message"], answer.get("usage") or {}
        content = message.get("content") or ""
        reasoning = message.get("reasoning_content") or message.get("reasoning")
        finish, counts = choice.get("finish_reason"), [usage.get(name, 0) for name in _COUNTS]
        if not (isinstance(content, str) and isinstance(reasoning, str | None)):
            raise TypeError("content and reasoning must be texts")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        what = f"the server at {address} answers in another form than OpenAI's: {error!r}"
        raise AXK1Error(what, repair=f"curl {address}") from None
    if thinking and THINK_END in content and reasoning is None:
        text = content.removeprefix("<think>")
    else:
        text = f"{reasoning or ''}{THINK_END}{content}" if thinking and (reasoning or content) else content
    return Generation(text, *counts, finish_reason=str(finish))


_COUNTS = ("prompt_tokens", "completion_tokens")
