"""``ModelDrafter``: a small model with the same tokenizer writes what a large one may write next."""

import dataclasses

from axk1.core.errors import TokenizerMismatch
from axk1.engine.block_manager import BlockManager
from axk1.engine.config import EngineConfig, SpeculativeConfig
from axk1.engine.model_runner import ModelRunner
from axk1.engine.quantised.folder import open_model
from axk1.engine.scheduler import Scheduled
from axk1.engine.sequence import Sequence
from axk1.model.transformer import Transformer
from axk1.tokenizer.tokenizer import Tokenizer


def load_draft_model(config: SpeculativeConfig, model: Transformer, tokenizer: Tokenizer) -> Transformer | None:
    """Opens the draft model, in the dtype and on the device of the model; None where there is to be none.

    Raises:
        TokenizerMismatch: its tokenizer is another one.
        ArtifactError: the folder holds no checkpoint.
    """
    if config.model is None:
        return None
    own = Tokenizer.load(config.model)
    if own.content_hash != tokenizer.content_hash:
        raise TokenizerMismatch(
            f"the draft model {str(config.model)!r} has another tokenizer ({own.content_hash[:12]}) than the model "
            f"({tokenizer.content_hash[:12]}), so its tokens mean other text",
            repair="draft with a student of the model, or choose method = 'ngram'",
        )
    weight = model.norm.weight
    draft = open_model(config.model, dtype=weight.dtype, device=weight.device)
    if tokenizer.vocab_size > draft.config.vocab_size:
        raise TokenizerMismatch(
            f"the tokenizer has {tokenizer.vocab_size} entries, the draft model's embedding {draft.config.vocab_size}"
        )
    return draft


class _Shadow(Sequence):
    """A sequence as the draft model has it: with blocks of its own, and drafted tokens at its end.

    Attributes:
        confirmed: how many of its tokens are known to be the sequence's.
    """

    def __init__(self, sequence: Sequence) -> None:
        params = dataclasses.replace(sequence.params, logprobs=None, prompt_logprobs=None)
        prompt = sequence.token_ids[: sequence.num_prompt_tokens]
        super().__init__(sequence.request_id, sequence.index, prompt, params, sequence.detokenizer, sequence.max_tokens)
        self.token_ids = list(sequence.token_ids)
        self.noise = sequence.noise
        self.confirmed = self.num_tokens


class ModelDrafter:
    """The draft model with a cache of its own, in which texts that begin alike share blocks too.

    It chooses its tokens as the request wants them chosen, with the random numbers of their places.
    """

    def __init__(self, model: Transformer, config: EngineConfig, num_blocks: int, vocab_size: int) -> None:
        """Args: model: the draft model; config: limits; num_blocks: of its cache; vocab_size: of the tokenizer."""
        self._runner = ModelRunner(model, num_blocks, config.block_size, vocab_size, enforce_eager=config.enforce_eager)
        self._blocks = BlockManager(num_blocks, config.block_size, enable_prefix_caching=config.enable_prefix_caching)
        self._context, self._most_tokens = model.config.max_position_embeddings, config.max_num_batched_tokens
        self._shadows: dict[Sequence, _Shadow] = {}

    def propose(self, wanted: list[tuple[Sequence, int]]) -> list[list[int]]:
        """See ``Drafter``. A sequence whose beginning it has not read in one pass gets nothing this time."""
        counts: dict[_Shadow, int] = {}
        parts, budget = [], self._most_tokens
        for sequence, count in wanted:
            count = min(count, self._context - sequence.num_tokens)
            shadow = self._follow(sequence, count, wanted) if count > 0 and budget else None
            if shadow is not None:
                counts[shadow] = count
                parts.append(Scheduled(shadow, min(shadow.num_tokens - shadow.num_computed_tokens, budget)))
                budget -= parts[-1].num_tokens
                self._blocks.publish(shadow, shadow.num_computed_tokens + parts[-1].num_tokens)
        while parts:
            written = self._write(parts)
            parts = [Scheduled(s, 1) for s in written if s.num_tokens - s.confirmed < counts[s]]
        shadows = [self._shadows.get(sequence) for sequence, _ in wanted]
        return [shadow.token_ids[shadow.confirmed :] if shadow in counts else [] for shadow in shadows]

    def forget(self, sequence: Sequence) -> None:
        """See ``Drafter``."""
        shadow = self._shadows.pop(sequence, None)
        if shadow is not None:
            self._blocks.free(shadow)

    def reset(self) -> None:
        """See ``Drafter``."""
        for sequence in list(self._shadows):
            self.forget(sequence)
        self._blocks.reset()

    def _write(self, parts: list[Scheduled]) -> list[_Shadow]:
        """One pass; returns those that got a token."""
        verified = self._runner.run(parts)
        for part in parts:
            part.sequence.num_computed_tokens += part.num_tokens
        for part, tokens in verified:
            part.sequence.token_ids += tokens
        return [part.sequence for part, _ in verified]

    def _follow(self, sequence: Sequence, count: int, wanted: list[tuple[Sequence, int]]) -> _Shadow | None:
        """The sequence's shadow with its tokens, and blocks for ``count`` more; None where there are not enough."""
        shadow = self._shadows.get(sequence)
        if shadow is None:
            shadow = _Shadow(sequence)
            while not self._blocks.admit(shadow):
                if not self._make_room(wanted):
                    return None
            self._shadows[sequence] = shadow
        else:
            self._correct(shadow, sequence)
        while not self._blocks.grow(shadow, shadow.num_tokens + count - 1):
            if not self._make_room(wanted):
                return None
        return shadow

    def _correct(self, shadow: _Shadow, sequence: Sequence) -> None:
        """Gives a shadow its sequence's tokens; entries of drafted tokens stay where those were right."""
        known = shadow.confirmed
        both = min(shadow.num_tokens, sequence.num_tokens)
        same = next((n for n in range(known, both) if shadow.token_ids[n] != sequence.token_ids[n]), both)
        computed = min(shadow.num_computed_tokens, same, sequence.num_tokens - 1)
        shadow.token_ids[same:] = sequence.token_ids[same:]
        shadow.num_computed_tokens = min(known, computed)
        self._blocks.publish(shadow, computed)
        shadow.num_computed_tokens, shadow.confirmed = computed, shadow.num_tokens

    def _make_room(self, wanted: list[tuple[Sequence, int]]) -> bool:
        """Drops what is kept of the sequence that was followed first, of those that nobody drafts for now."""
        needed = {sequence for sequence, _ in wanted}
        victim = next((sequence for sequence in self._shadows if sequence not in needed), None)
        if victim is None:
            return False
        self.forget(victim)
        return True
