"""``NgramDrafter``: what followed the same tokens earlier in the text (prompt look-up, as in vLLM's ``ngram``)."""

from array import array

from axk1.engine.config import SpeculativeConfig
from axk1.engine.sequence import Sequence

_BYTES = array("i").itemsize


class NgramDrafter:
    """Looks for the tokens at a text's end earlier in it, the most first, and drafts what stood behind them last."""

    def __init__(self, config: SpeculativeConfig) -> None:
        """Args: config: how many tokens to look for."""
        self._longest, self._shortest = config.prompt_lookup_max, config.prompt_lookup_min

    def propose(self, wanted: list[tuple[Sequence, int]]) -> list[list[int]]:
        """See ``Drafter``."""
        return [self.continuation(sequence.token_ids, count) for sequence, count in wanted]

    def continuation(self, token_ids: list[int], count: int) -> list[int]:
        """At most ``count`` tokens after the last earlier place where the text's last tokens stand; maybe none."""
        text = array("i", token_ids).tobytes()  # bytes are searched in C: a hundred thousand tokens in some 0.1 ms
        for size in range(min(self._longest, len(token_ids) - 1), self._shortest - 1, -1):
            place = _last(text, text[-size * _BYTES :])
            if place >= 0:
                start = place + size  # a text that repeats itself goes on repeating itself
                return [token_ids[start + n % (len(token_ids) - start)] for n in range(count)]
        return []

    def forget(self, sequence: Sequence) -> None:
        """Nothing is kept."""

    def reset(self) -> None:
        """Nothing is kept."""


def _last(text: bytes, tokens: bytes) -> int:
    """The last place, counted in tokens, before their own at which tokens stand in a text; -1 where they do not."""
    place = text.rfind(tokens, 0, len(text) - _BYTES)
    while place > 0 and place % _BYTES:  # inside a token
        place = text.rfind(tokens, 0, place + len(tokens) - 1)
    return place // _BYTES
