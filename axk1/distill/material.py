"""What goes into a knowledge cache: the opened inputs, checked against each other, and the plan that follows."""

from pathlib import Path

import numpy as np
import torch

from axk1.core.artifact import sha256_file
from axk1.core.errors import ArtifactError, ConfigError, TokenizerMismatch
from axk1.core.progress import duration, human
from axk1.data.shards import Shards, require_same_tokenizer
from axk1.distill.building import CacheBuilder, CachePlan
from axk1.distill.coding import token_order
from axk1.distill.config import CacheConfig
from axk1.distill.hidden import HiddenRecords
from axk1.distill.records import Records, TokenRanks, TopKRecords
from axk1.distill.sampled import SampledRecords
from axk1.distill.selection import Selection, select_samples
from axk1.distill.stream.byte_size import parse_bytes
from axk1.distill.stream.memory import chunk_rows as chunk_rows_within
from axk1.distill.stream.plan import StreamPlan
from axk1.distill.teachers import checkpoint_hash, facts_of
from axk1.distill.text_records import TextTopKRecords
from axk1.train.precision import choose_device, matmul_rate

UTILISATION = 0.5
"""Share of the rate of a large matrix product that scoring reaches, for the expected time."""


class CacheMaterial:
    """The opened inputs and what is to be made of them."""

    def __init__(self, config: CacheConfig, chunk_rows: int) -> None:
        self.config = config
        self.shards = [Shards.open(source.folder) for source in config.shards]
        require_same_tokenizer(self.shards)
        tokenizer, vocab_size = self.shards[0].tokenizer_hash, self.shards[0].vocab_size
        check_teacher(config.teacher, self.shards[0])
        self.selection = select_samples(self.shards, [source.weight for source in config.shards], config.max_tokens)
        if not len(self.selection.keys):
            raise ConfigError("no sample is left to score", repair="raise max_tokens, or name other shards")
        kind = "server" if config.asks_server else config.teacher_kind
        self.facts = facts_of(config.teacher, kind, context=int(self.selection.lengths.max()))
        self._check_sizes(vocab_size)
        self.inputs = {"teacher": checkpoint_hash(config.teacher), "tokenizer": tokenizer}
        self.inputs |= {f"shards[{i}]": opened.manifest.content_hash for i, opened in enumerate(self.shards)}
        records = self._records(vocab_size)
        if config.stream:
            if self.facts.kind != "axk1":
                raise ConfigError(
                    f"stream needs an architecture that our own code knows, and {self.facts.text} is none",
                    repair="leave stream out",
                )
            chunk_rows = chunk_rows_within(records, parse_bytes(config.memory, "memory"), chunk_rows)
        self.plan = CachePlan(
            records,
            self.inputs["teacher"],
            tokenizer,
            config.temperature,
            self.selection.keys,
            self.selection.lengths - 1,
            chunk_rows,
        )

    def describe(self, builder: CacheBuilder, stream: StreamPlan | None = None) -> dict[str, str]:
        """The plan for people.

        Args:
            builder: where the cache is being made.
            stream: how the teacher is streamed; None where it is in memory or on a server.
        """
        config, plan, device = self.config, self.plan, choose_device(self.config.device)
        rows = int(plan.rows.sum())
        note = " (goes on where a run was stopped)" if builder.resumable else ""
        lines = {
            "teacher": self.facts.text,
            "samples": f"{len(plan.keys):,} of {human(self.selection.lengths.sum())} tokens, "
            f"from {len(self.shards)} folders",
            "stored": f"{self._stored}, about {plan.records.expected_bytes:.0f} bytes "
            f"at each of {human(rows)} positions",
            "size": f"about {human(plan.bytes)}B in {len(plan.chunks)} chunks",
        }
        if config.asks_server:
            lines["server"] = f"{config.server.model} at {config.server.base_url}"
        else:
            lines["device"] = device.type if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
            if stream is not None:
                lines |= stream.describe()
            elif self.facts.flops_per_token is not None:
                seconds = self.facts.flops_per_token * rows / (matmul_rate(torch.float32, device) * UTILISATION)
                lines["time"] = f"about {duration(seconds)}"
        return {**lines, "output": f"{config.output}{note}"}

    def samples(self, part: Selection) -> list[np.ndarray]:
        """The token ids of some samples."""
        return [self.shards[one].sample(sample) for one, sample in zip(part.shard, part.sample, strict=True)]

    def _records(self, vocab_size: int) -> Records:
        config = self.config
        if config.kind == "hidden":
            if self.facts.hidden_size is None:
                raise ConfigError(
                    f"the config of {str(config.teacher)!r} names no hidden_size, so kind = 'hidden' fails"
                )
            return HiddenRecords(self.facts.hidden_size, vocab_size)
        ranks = TokenRanks(token_order(self._token_counts(vocab_size)))
        if config.kind == "sampled":
            return SampledRecords(config.draws, vocab_size, ranks)
        top_k = TextTopKRecords if config.kind == "topk_text" else TopKRecords
        return top_k(config.top_k, config.tail_samples, vocab_size, ranks, config.steps_per_nat)

    def _token_counts(self, vocab_size: int) -> np.ndarray:
        """How often each token comes in the samples [V]."""
        counts_V, step = np.zeros(vocab_size, np.int64), 1 << 12
        for start in range(0, len(self.selection.keys), step):
            tokens = np.concatenate(self.samples(self.selection[start : start + step]))
            counts_V += np.bincount(tokens, minlength=vocab_size)
        return counts_V

    @property
    def _stored(self) -> str:
        match self.plan.records:
            case TopKRecords(top_k=k, tail_samples=drawn):
                return f"{self.config.kind}, {k} tokens and {drawn} of the tail"
            case SampledRecords(draws=drawn):
                return f"sampled, {drawn} draws"
            case HiddenRecords(hidden_size=size):
                return f"hidden, {size} entries"
        return self.config.kind

    def _check_sizes(self, vocab_size: int) -> None:
        longest, limit = int(self.selection.lengths.max()), self.facts.max_positions
        if limit is not None and longest - 1 > limit:
            raise ConfigError(
                f"the shards hold a sample of {longest} tokens, but the teacher's max_position_embeddings is {limit}",
                repair=f"axk1 data tokenize RECIPE.toml --max-length {limit}",
            )
        known = self.facts.vocab_size
        if known is not None and known < vocab_size:
            raise TokenizerMismatch(
                f"the tokenizer has {vocab_size} entries, but vocab_size of {str(self.config.teacher)!r} is {known}"
            )


def check_teacher(folder: Path, shards: Shards) -> None:
    """Raises ArtifactError where there is no teacher, TokenizerMismatch where it cannot read the shards."""
    if not folder.is_dir():
        raise ArtifactError(f"teacher = {str(folder)!r} does not exist", repair="axk1 sft recipes/nano/sft.toml")
    own = folder / "tokenizer.json"
    if not own.is_file():
        raise ArtifactError(f"the teacher {str(folder)!r} has no tokenizer.json, so its tokens are not known")
    if sha256_file(own) != shards.tokenizer_hash:
        raise TokenizerMismatch(
            f"the shards {str(shards.folder)!r} were not made with the tokenizer of the teacher {str(folder)!r}",
            repair=f"axk1 data tokenize RECIPE.toml --tokenizer {folder}",
        )
