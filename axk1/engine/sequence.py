"""``Sequence``: one text being written, from its arrival to its end."""

import hashlib
import time
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from axk1.engine.detokenizer import Detokenizer
from axk1.engine.guide import Guide
from axk1.engine.pooling import Pooler
from axk1.engine.sampling_params import SamplingParams


class TokenLogprobs(NamedTuple):
    """How probable a token was, and which others were."""

    token_id: int
    """The token that stands there."""
    logprob: float
    """Its natural log-probability under the model, before temperature, penalties and bias."""
    top: tuple[tuple[int, float], ...]
    """The most probable tokens with theirs, in order."""


@dataclass
class Times:
    """Moments in a sequence's life, in seconds of ``time.monotonic``; None while they lie ahead."""

    arrival: float = field(default_factory=time.monotonic)
    scheduled: float | None = None
    first_token: float | None = None
    last_token: float | None = None


class Noise:
    """The random numbers by which a text's tokens are drawn, as many for each place in it.

    They depend on the seed and the place alone, so that neither neighbours nor a recomputation nor tokens that were
    drafted and rejected can change them, and a draft model draws by the same ones.
    """

    def __init__(self, seed: str | None) -> None:
        """Args: seed: what they follow from; None draws it."""
        digest = None if seed is None else hashlib.blake2b(seed.encode(), digest_size=16).digest()
        self._generator = np.random.default_rng(digest and int.from_bytes(digest))
        self._kept: dict[int, np.ndarray] = {}
        self._drawn = 0

    def at(self, place: int, size: int) -> np.ndarray:
        """Two rows of ``size`` numbers from the standard exponential distribution.

        Args:
            place: which of the new tokens they are for; at most a thousand before the last that was asked for.
            size: always the same for a text.
        """
        while self._drawn <= place:
            self._kept[self._drawn] = self._generator.standard_exponential((2, size))
            self._kept.pop(self._drawn - 1000, None)
            self._drawn += 1
        return self._kept[place]


class Sequence:
    """The tokens of one text, its place in the cache and what is known of its end.

    Attributes:
        token_ids: prompt and output.
        num_prompt_tokens: how many of them are the prompt.
        num_computed_tokens: how many have their entries in the cache.
        num_cached_tokens: how many of the prompt were found in the cache when it was first scheduled.
        block_table: numbers of the cache blocks that hold the entries, in order.
        block_hashes: hashes of its full blocks, each over all tokens up to the block's end.
        pooler: collects the prompt's hidden states; None where text is written instead.
        finish_reason: None while it goes on; ``stop``, ``length`` or ``abort``, or ``error`` where its grammar failed.
        stop_reason: the stop string or token that ended it, or what was wrong with the grammar.
        noise: the random numbers by which its tokens are drawn.
    """

    def __init__(
        self,
        request_id: str,
        index: int,
        prompt_token_ids: list[int],
        params: SamplingParams,
        detokenizer: Detokenizer,
        max_tokens: int,
        guide: Guide | None = None,
    ) -> None:
        """
        Args:
            request_id, index: whose text it is, and its number among the request's ``n``.
            prompt_token_ids: at least one.
            params: how to choose its tokens.
            detokenizer: collects its text.
            max_tokens: most new tokens.
            guide: restricts its tokens; None where all are allowed.
        """
        self.request_id, self.index, self.params = request_id, index, params
        self.detokenizer, self.max_tokens, self.guide = detokenizer, max_tokens, guide
        self.token_ids = list(prompt_token_ids)
        self.num_prompt_tokens = len(prompt_token_ids)
        self.num_computed_tokens = 0
        self.num_cached_tokens: int | None = None
        self.block_table: list[int] = []
        self.block_hashes: list[bytes] = []
        self.logprobs: list[TokenLogprobs] = []
        self.prompt_logprobs: list[TokenLogprobs] = []
        self.pooler = Pooler(params.pooling, len(prompt_token_ids)) if params.pooling else None
        self.finish_reason: str | None = None
        self.stop_reason: str | int | None = None
        self.times = Times()
        self.noise = Noise(None if params.seed is None else f"{params.seed}/{index}")

    @property
    def num_tokens(self) -> int:
        """Length of prompt and output."""
        return len(self.token_ids)

    @property
    def output_token_ids(self) -> list[int]:
        """The tokens written so far."""
        return self.token_ids[self.num_prompt_tokens :]

    @property
    def num_output_tokens(self) -> int:
        """How many tokens are written so far."""
        return len(self.token_ids) - self.num_prompt_tokens

    @property
    def wants_prompt_logprobs(self) -> bool:
        """Whether positions of the prompt are still to be scored."""
        return self.params.prompt_logprobs is not None and len(self.prompt_logprobs) < self.num_prompt_tokens - 1

    @property
    def needs_prompt_states(self) -> bool:
        """Whether the states of the whole prompt are needed, so that none of it may come from the cache."""
        pools = self.pooler is not None and self.pooler.needs_all
        return self.wants_prompt_logprobs or pools
