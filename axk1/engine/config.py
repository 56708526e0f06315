"""``EngineConfig``: how much an engine does at once, and how much memory its cache may have."""

from dataclasses import dataclass
from typing import Literal

from axk1.core.config import require
from axk1.core.errors import ConfigError
from axk1.model.config import ModelConfig


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

    def num_blocks(self, model: ModelConfig, value_bytes: int) -> int:
        """Blocks that fit into ``kv_cache_memory``, but never more than ``max_num_seqs`` full sequences take.

        Args:
            model: the model whose entries the cache holds.
            value_bytes: bytes of one cached value.

        Raises:
            ConfigError: not even one block fits.
        """
        block_bytes = self.block_size * model.cache_width * model.num_hidden_layers * value_bytes
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
