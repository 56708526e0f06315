"""What a knowledge cache is to hold, and from whom."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from axk1.core.config import require
from axk1.train.config import ShardSource


@dataclass(frozen=True, kw_only=True)
class ServerSource:
    """A server with ``/v1/completions`` and ``prompt_logprobs``, as vLLM has them."""

    base_url: str | None = None
    """Where it is, for example ``http://localhost:8000/v1``; left out, there is none."""
    model: str = ""
    """The name under which it serves the teacher."""
    api_key_variable: str | None = None
    """The environment variable that holds the key, where the server wants one."""
    batch: int = 16
    """Samples in a request."""
    retries: int = 6
    """How often a request that failed is sent again, each time after a longer wait."""
    timeout: float = 600.0
    """Seconds to wait for an answer."""
    tolerance: float = 0.1
    """By how many nats the server may differ from itself between batches; bf16 arithmetic depends on the batch."""

    def __post_init__(self) -> None:
        web = self.base_url is None or self.base_url.startswith(("http://", "https://"))
        require(web, "base_url", self.base_url, "an address with http://")
        require(self.base_url is None or bool(self.model), "model", self.model, "the name that the server knows")
        require(self.batch >= 1, "batch", self.batch, "1 or more")
        require(self.retries >= 0, "retries", self.retries, "0 or more")
        require(self.timeout > 0, "timeout", self.timeout, "a number above 0")
        require(self.tolerance > 0, "tolerance", self.tolerance, "a number above 0")


@dataclass(frozen=True, kw_only=True)
class CacheConfig:
    """What a knowledge cache holds: whose distributions, on which samples, how much of each."""

    teacher: Path
    """The checkpoint whose knowledge is stored; with ``server``, the folder of what is served, for its tokenizer."""
    shards: tuple[ShardSource, ...]
    """The token shards to score; with ``max_tokens``, the weights decide how much is taken from each."""
    output: Path
    """The knowledge cache to make; while it is being made, what is done lies beside it in ``<output>.state``."""
    max_tokens: int | None = None
    """Tokens to score, at most; left out, all. A student meets only samples that are cached, as often as it needs."""
    kind: Literal["topk", "topk_text", "sampled", "hidden"] = "topk"
    """What is stored at each position: ``topk``, the most probable tokens and the mass of all others, the tail;
    ``topk_text``, these and how probable the text's own token is, which students of another tokenizer need;
    ``sampled``, tokens drawn by their probability; ``hidden``, the last state in bf16, from which all follows."""
    top_k: int = 16
    """Kinds ``topk``: tokens stored with their probability at each position, about two bytes each."""
    tail_samples: int = 32
    """Kinds ``topk``: tokens drawn from the tail at each position, about a byte each: they stand for it without bias.
    With 0 a student learns the tail's mass but not its shape, which fails where the teacher is uncertain."""
    steps_per_nat: int = 28
    """Kinds ``topk``: resolution of the log-probabilities; 28 keeps each to 0.02 nat, twice as many cost a bit each."""
    draws: int = 50
    """Kind ``sampled``: tokens drawn at each position; stored are the distinct ones, with their counts."""
    teacher_kind: Literal["auto", "axk1", "transformers", "server"] = "auto"
    """How the teacher is opened: by our own code, by transformers, or asked over HTTP; ``auto`` is ``server`` where
    one is named, and otherwise our own code where it knows the architecture."""
    server: ServerSource = ServerSource()
    """A server that scores prompts for us (kind ``topk`` without draws, temperature 1)."""
    temperature: float = 1.0
    """What the teacher's logits are divided by; a student must be taught at the same temperature."""
    batch_tokens: int = 8192
    """Tokens that go through the teacher at once; changes the speed and the memory, not the cache."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the teacher's blocks; ``auto`` is bf16 on a GPU, and on a CPU where it measures faster."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; ``auto`` takes a GPU where there is one."""
    threads: int | None = None
    """CPU threads; left out, torch decides."""
    stream: bool = False
    """Stream the teacher from disk, layer by layer and expert by expert over many tokens, rather than hold it in
    memory: for a checkpoint that is larger than that."""
    memory: str = "16GiB"
    """With ``stream``: main memory to use, beside what the program itself takes."""
    device_memory: str | None = None
    """With ``stream`` on a GPU: its memory to use; left out, nine tenths of what is free."""
    pass_tokens: int | None = None
    """With ``stream``: tokens for which the weights are read once, at most; left out, as many as memory and disk
    hold."""
    hardware: str | None = None
    """With ``stream``: plan for a named machine, such as ``h200-nvme``, instead of measuring this one."""

    def __post_init__(self) -> None:
        require(len(self.shards) > 0, "shards", self.shards, "at least one folder")
        require(self.max_tokens is None or self.max_tokens >= 2, "max_tokens", self.max_tokens, "2 or more")
        require(self.top_k >= 1, "top_k", self.top_k, "1 or more")
        require(self.tail_samples >= 0, "tail_samples", self.tail_samples, "0 or more")
        require(self.draws >= 1, "draws", self.draws, "1 or more")
        require(self.steps_per_nat >= 1, "steps_per_nat", self.steps_per_nat, "1 or more")
        self._check_server()
        require(self.temperature > 0, "temperature", self.temperature, "a number above 0")
        require(self.batch_tokens >= 1, "batch_tokens", self.batch_tokens, "1 or more")
        require(self.threads is None or self.threads >= 1, "threads", self.threads, "1 or more")
        tokens = self.pass_tokens
        require(tokens is None or tokens >= 1, "pass_tokens", tokens, "1 or more")
        streams = not self.stream or self.teacher_kind in ("auto", "axk1")
        require(streams, "teacher_kind", self.teacher_kind, "'auto' or 'axk1' with stream")
        tells_text = not (self.stream and self.kind == "topk_text")
        require(
            tells_text, "kind", self.kind, "'topk', 'sampled' or 'hidden' with stream, which does not read the text"
        )

    @property
    def asks_server(self) -> bool:
        """Whether a server is the teacher."""
        return self.teacher_kind == "server" or (self.teacher_kind == "auto" and self.server.base_url is not None)

    def _check_server(self) -> None:
        if not self.asks_server:
            return
        require(self.server.base_url is not None, "server.base_url", None, "where the server is")
        require(self.kind == "topk", "kind", self.kind, "'topk', since a server gives its best tokens alone")
        require(self.tail_samples == 0, "tail_samples", self.tail_samples, "0, since a server gives no draws")
        require(self.temperature == 1, "temperature", self.temperature, "1.0, at which a server scores prompts")
