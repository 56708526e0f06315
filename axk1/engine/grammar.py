"""Forms of texts -> grammars, compiled by llguidance for one tokenizer.

A grammar can be made to take for ever, by those who want it to. What llguidance may spend on one is therefore bounded,
and a grammar is tried for a few tokens before it is given out, so that what explodes does so here and not in a pass.
"""

import functools
import threading
from collections import OrderedDict

import numpy as np
from llguidance import LLExecutor, LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

from axk1.engine.structured_outputs import GrammarError, StructuredOutputsParams
from axk1.tokenizer.tokenizer import Tokenizer

_MAX_GRAMMARS = 64
"""Compiled grammars that are kept."""
_TRIED_TOKENS = 4
_LIMITS = {
    "initial_lexer_fuel": 200_000,  # the default lets one step of a hostile pattern take a second
    "step_lexer_fuel": 100_000,
    "verbose_errors": False,
}


class Grammars:
    """The grammars of one tokenizer. Any thread may compile; the most recently used are kept."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Args: tokenizer: read by ``prepare`` or the first grammar, which takes a while for a large vocabulary."""
        self._tokenizer = tokenizer
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, LLMatcher] = OrderedDict()

    def compile(self, wanted: StructuredOutputsParams) -> LLMatcher:
        """A matcher at the beginning of a text; every text needs a ``deep_copy`` of its own.

        Raises:
            GrammarError: the form is malformed, uses what llguidance does not know, or takes too much work.
        """
        source = wanted.source()
        with self._lock:
            if source in self._kept:
                self._kept.move_to_end(source)
                return self._kept[source]
        matcher = LLMatcher(self._reader, source, log_level=0, limits=LLParserLimits(**_LIMITS))
        problem = matcher.get_error() or _try(matcher.deep_copy())
        if problem:
            raise GrammarError(wanted.field, _short(problem))
        with self._lock:
            self._kept[source] = matcher
            if len(self._kept) > _MAX_GRAMMARS:
                self._kept.popitem(last=False)
        return matcher

    @property
    def prepared(self) -> bool:
        """Whether the vocabulary has been read."""
        return "_reader" in vars(self)

    def prepare(self) -> None:
        """Reads the vocabulary, so that the first request for a form need not wait for it."""
        _ = self._reader

    @functools.cached_property
    def _reader(self) -> LLTokenizer:
        tokenizer = self._tokenizer
        source = TokenizerWrapper(_Vocabulary(tokenizer)) if tokenizer.is_byte_level else tokenizer.to_json()
        return LLTokenizer(source, n_vocab=tokenizer.vocab_size, eos_token=tokenizer.stop_ids)


class _Vocabulary:
    """A tokenizer as llguidance asks for one."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.bos_token_id, self.eos_token_id = tokenizer.bos_id, tokenizer.eos_id
        self.tokens = [tokenizer.token_bytes(index) for index in range(tokenizer.vocab_size)]
        self.special_token_ids = sorted(tokenizer.special_tokens.values())

    def __call__(self, text: bytes) -> list[int]:
        return self._tokenizer.encode(text.decode("utf-8", "replace"), special=False)


def forbidden(matchers: list[LLMatcher], vocab_size: int) -> np.ndarray:
    """Which tokens may not come next, as a bool array (matchers, vocab_size). A matcher that fails allows the end."""
    words = np.zeros((len(matchers), -(-vocab_size // 32)), dtype=np.int32)
    if len(matchers) == 1:
        matchers[0].unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
    else:
        places = [(matcher, place) for place, matcher in enumerate(matchers)]
        _executor().unsafe_compute_mask_ptr(places, words.ctypes.data, words.strides[0], len(matchers))
    return np.unpackbits(np.invert(words).view(np.uint8), axis=1, count=vocab_size, bitorder="little").view(np.bool_)


@functools.cache
def _executor() -> LLExecutor:
    return LLExecutor()


def _try(matcher: LLMatcher) -> str:
    """What goes wrong in the first tokens, if anything does."""
    for _ in range(_TRIED_TOKENS):
        allowed = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
        if matcher.is_error() or matcher.is_stopped():
            break
        matcher.consume_token(int(np.unpackbits(allowed, bitorder="little").argmax()))
    return matcher.get_error()


def _short(problem: str) -> str:
    """The first lines of a message of llguidance, without the state of its parser."""
    lines = problem.split("<non-verbose/>")[0].split("<backtrace>")[0].strip()
    if "NoExtension" in lines:
        return "no text fits it"
    return lines if len(lines) <= 500 else lines[:500] + " ..."
