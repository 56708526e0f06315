"""Log-probabilities in the three forms that clients know."""

import codecs
from collections.abc import Iterable, Sequence
from typing import Any

from axk1.engine.sequence import TokenLogprobs
from axk1.tokenizer.tokenizer import Tokenizer


def token_text(tokenizer: Tokenizer, token: int) -> str:
    """A token's text; a part of a character as OpenAI writes it, ``bytes:\\xec\\xa0``, so that keys stay distinct."""
    if not tokenizer.is_byte_level:
        return tokenizer.decode([token])
    raw = tokenizer.token_bytes(token)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


def chat_logprobs(tokenizer: Tokenizer, found: Iterable[TokenLogprobs]) -> list[dict[str, Any]]:
    """``choices[].logprobs.content`` of chat completions."""

    def entry(token: int, logprob: float) -> dict[str, Any]:
        text = token_text(tokenizer, token)
        raw = tokenizer.token_bytes(token) if tokenizer.is_byte_level else text.encode()
        return {"token": text, "logprob": logprob, "bytes": list(raw)}

    return [
        {**entry(each.token_id, each.logprob), "top_logprobs": [entry(*pair) for pair in each.top]} for each in found
    ]


class TextLogprobs:
    """``choices[].logprobs`` of text completions, in pieces whose offsets go on from each other."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self._offset = tokenizer, 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def piece(self, found: Sequence[TokenLogprobs | None], tokens: Sequence[int], count: int) -> dict[str, Any]:
        """
        Args:
            found: one entry per token; None for the first of a prompt, which nothing predicts.
            tokens: the tokens.
            count: alternatives to show; the token itself is added where it is not among them.
        """
        shown: dict[str, Any] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for token, each in zip(tokens, found, strict=True):
            text = token_text(self._tokenizer, token)
            top = None
            if each is not None:
                top = {token_text(self._tokenizer, i): value for i, value in each.top[:count]}
                top.setdefault(text, each.logprob)
            shown["tokens"].append(text)
            shown["token_logprobs"].append(None if each is None else each.logprob)
            shown["top_logprobs"].append(top)
            shown["text_offset"].append(self._offset)
            self._offset += self._length(token)
        return shown

    def _length(self, token: int) -> int:
        if not self._tokenizer.is_byte_level:
            return len(self._tokenizer.decode([token]))
        return len(self._decoder.decode(self._tokenizer.token_bytes(token)))


def prompt_logprobs(tokenizer: Tokenizer, found: Iterable[TokenLogprobs]) -> list[dict[str, Any] | None]:
    """vLLM's ``prompt_logprobs``: None for the first token, then id -> logprob, rank (of the top ones) and text."""
    positions: list[dict[str, Any] | None] = [None]
    for each in found:
        ranked = {token: (value, rank) for rank, (token, value) in enumerate(each.top, start=1)}
        ranked.setdefault(each.token_id, (each.logprob, None))
        positions.append(
            {
                str(token): {"logprob": value, "rank": rank, "decoded_token": token_text(tokenizer, token)}
                for token, (value, rank) in ranked.items()
            }
        )
    return positions
