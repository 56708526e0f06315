"""``Guide``: what one sequence may write next: a thought within its budget, and then a text by its grammar.

Shapes: B sequences, V vocab_size.
"""

import math

import torch
from llguidance import LLMatcher
from torch import Tensor

from axk1.engine.grammar import forbidden
from axk1.tokenizer.special_tokens import THINK, THINK_END
from axk1.tokenizer.tokenizer import Tokenizer


class Guide:
    """A sequence's place in its thought and its grammar. Only new tokens move it, so a recomputation changes nothing.

    A grammar begins behind ``</think>`` where the prompt has opened a thought, and with the first token otherwise. As
    long as one waits, the thought cannot end the text.

    Attributes:
        thinking: whether the next token belongs to a thought.
        error: why the grammar could not go on, or None.
    """

    def __init__(
        self, tokenizer: Tokenizer, prompt_token_ids: list[int], budget: int | None, grammar: LLMatcher | None
    ) -> None:
        """
        Args:
            tokenizer: whose tokens are written.
            prompt_token_ids: the prompt, which may have opened a thought.
            budget: most tokens of a thought, ``</think>`` not counted; None for no limit.
            grammar: a matcher of its own, at the beginning; None for any text.
        """
        self.thinking = thought_is_open(tokenizer, prompt_token_ids)
        self.error: str | None = None
        self._start, self._end = (tokenizer.special_tokens.get(mark) for mark in (THINK, THINK_END))
        self._budget, self._matcher, self._stop_ids = budget, grammar, tokenizer.stop_ids
        self._thought_tokens = 0

    @property
    def finished(self) -> bool:
        """Whether the grammar's text is whole and nothing can follow."""
        return self._matcher is not None and not self.thinking and self._matcher.is_stopped()

    @property
    def matcher(self) -> LLMatcher | None:
        """What decides about the next token; None where no grammar does."""
        return None if self.thinking else self._matcher

    def accept(self, token: int) -> None:
        """Takes the token that was chosen."""
        if self.thinking:
            self.thinking = token != self._end
            self._thought_tokens += self.thinking
        elif self._matcher is not None:
            if not self._matcher.consume_token(token):
                self.error = self._matcher.get_error().split("<non-verbose/>")[0].strip()
        else:
            self.thinking = token == self._start and self._start is not None

    def restrict_thought(self, logits_V: Tensor) -> None:
        """Forbids, in place, what may not follow in a thought."""
        if self._budget is not None and self._thought_tokens >= self._budget:
            end = logits_V[self._end].item()
            logits_V.fill_(-math.inf)
            logits_V[self._end] = end
        elif self._matcher is not None:
            logits_V[self._stop_ids] = -math.inf


def restrict(logits_BV: Tensor, guides: list[Guide | None]) -> None:
    """Puts -inf, in place, on the tokens that the guides of the sequences forbid."""
    for logits_V, guide in zip(logits_BV, guides, strict=True):
        if guide is not None and guide.thinking:
            guide.restrict_thought(logits_V)
    rows = [row for row, guide in enumerate(guides) if guide is not None and guide.matcher is not None]
    if rows:
        banned = torch.from_numpy(forbidden([guides[row].matcher for row in rows], logits_BV.shape[1]))
        for row, banned_V in zip(rows, banned.to(logits_BV.device), strict=True):
            logits_BV[row].masked_fill_(banned_V, -math.inf)


def thought_is_open(tokenizer: Tokenizer, token_ids: list[int]) -> bool:
    """Whether a text goes on in a thought: ``<think>`` is the last of the marks of thoughts in its tokens."""
    marks = {tokenizer.special_tokens.get(THINK), tokenizer.special_tokens.get(THINK_END)} - {None}
    last = next((token for token in reversed(token_ids) if token in marks), None) if marks else None
    return last is not None and last == tokenizer.special_tokens.get(THINK)
