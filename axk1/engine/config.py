"""``EngineConfig``: how much an engine does at once, how much memory its cache may have, and what it drafts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from axk1.core.config import require
from axk1.core.errors import ConfigError
from axk1.model.config import ModelConfig


@dataclass(frozen=True)
class SpeculativeConfig:
    """Speculative decoding: cheap drafts of the next tokens, of which one pass of the network keeps those that it would
    have written itself, so that texts stay as they are; the names are vLLM's."""

    method: Literal["ngram", "draft_model", "mtp"] | None = None
    """Where drafts come from: what followed the same words earlier in the text, a smaller model, or the checkpoint's
    multi-token-prediction module; nothing writes token by token."""
    num_speculative_tokens: int = 4
    """Most tokens drafted for a text at once; fewer are drafted where they were wrong before."""
    disable_by_batch_size: int | None = None
    """Drafts only while at most so many texts share a pass, since a full pass gains little; nothing means what was
    measured with the nano teacher on a CPU: 16 for ngram, which costs next to nothing, and 4 for the others."""
    prompt_lookup_max: int = 4
    """Tokens that ngram looks for at first, those at the text's end."""
    prompt_lookup_min: int = 2
    """Tokens that ngram looks for at last, where more are found nowhere."""
    model: Path | None = None
    """The folder of the draft_model; its tokenizer must be that of the model."""

    def __post_init__(self) -> None:
        require(0 < self.num_speculative_tokens < 64, "num_speculative_tokens", self.num_speculative_tokens, "1 to 63")
        require(self.prompt_lookup_min > 0, "prompt_lookup_min", self.prompt_lookup_min, "1 or more")
        size = self.disable_by_batch_size
        require(size is None or size > 0, "disable_by_batch_size", size, "1 or more")
        longest, shortest = self.prompt_lookup_max, self.prompt_lookup_min
        require(longest >= shortest, "prompt_lookup_max", longest, f"at least prompt_lookup_min ({shortest})")
        if self.method == "draft_model":
            require(self.model is not None, "model", None, "a checkpoint folder, for method = 'draft_model'")
        else:
            require(self.model is None, "model", str(self.model), "nothing, unless method is 'draft_model'")

    @property
    def largest_batch(self) -> int:
        """Most texts in a pass that has drafts."""
        return self.disable_by_batch_size or (16 if self.method == "ngram" else 4)

    @property
    def extra_layers(self) -> int:
        """Layers of the cache beside those of the model's blocks."""
        return int(self.method == "mtp")


@dataclass(frozen=True)
class EngineConfig:
    """The limits of an engine; the names are vLLM's."""

    max_num_seqs: int = 64
    """Most sequences that are written at once; others wait."""
    max_num_batched_tokens: int = 1024
    """Most tokens in one pass of the network; longer prompts go through in chunks beside the texts being written, so a
    smaller number keeps those flowing and a larger one gets through prompts sooner."""
    max_model_len: int | None = None
    """Longest prompt and answer together, in tokens; nothing means the model's context."""
    kv_cache_memory: float = 1.0
    """Most memory of the key-value cache, in GiB; when it runs out, the youngest sequence waits and is recomputed."""
    block_size: int = 16
    """Tokens in a block of the cache; prompts share their common beginning in whole blocks."""
    enable_prefix_caching: bool = True
    """Keep the blocks of finished texts while there is room, for prompts that begin alike."""
    weights: Literal["auto", "bf16", "int8", "int4"] = "auto"
    """Number format of the matrices on a CPU, rounded when the model is opened: fewer bits make writing faster and
    cost some accuracy; auto leaves them as they are stored."""
    enforce_eager: bool = False
    """Run every pass through PyTorch's own operations instead of the compiled kernel, to compare the two."""
    speculative_config: SpeculativeConfig = SpeculativeConfig()
    """Speculative decoding."""

    def __post_init__(self) -> None:
        for name in ("max_num_seqs", "max_num_batched_tokens", "block_size", "kv_cache_memory"):
            require(getattr(self, name) > 0, name, getattr(self, name), "a positive number")
        length = self.max_model_len
        require(length is None or length > 1, "max_model_len", length, "2 or more")
        tokens, allowed = self.max_num_batched_tokens, f"at least max_num_seqs ({self.max_num_seqs})"
        require(tokens >= self.max_num_seqs, "max_num_batched_tokens", tokens, allowed)

    def length_limit(self, model: ModelConfig) -> int:
        """Longest sequence in tokens. Raises ConfigError where ``max_model_len`` is beyond the model's context."""
        context = model.max_position_embeddings
        length = self.max_model_len or context
        require(length <= context, "max_model_len", length, f"at most {context}, the model's context")
        return length

    def num_blocks(self, model: ModelConfig, value_bytes: int, *, draft: ModelConfig | None = None) -> int:
        """Blocks that fit into ``kv_cache_memory``, but never more than ``max_num_seqs`` full sequences take.

        Args:
            model: the model whose entries the cache holds.
            value_bytes: bytes of one cached value.
            draft: the draft model, which has a cache of as many blocks beside it.

        Raises:
            ConfigError: not even one block fits.
        """
        values = model.cache_width * (model.num_hidden_layers + self.speculative_config.extra_layers)
        values += draft.cache_width * draft.num_hidden_layers if draft is not None else 0
        block_bytes = self.block_size * values * value_bytes
        budget = int(self.kv_cache_memory * 2**30)
        if budget < block_bytes:
            needed = -(-block_bytes // 1024)
            raise ConfigError(
                f"kv_cache_memory = {self.kv_cache_memory} GiB is less than one block of {self.block_size} tokens, "
                f"which takes {needed} KiB",
                repair=f"--kv-cache-memory {64 * block_bytes / 2**30:.2g}",
            )
        whole = -(-self.length_limit(model) // self.block_size)
        return min(budget // block_bytes, self.max_num_seqs * whole)
