"""``axk1 distill cache``: a teacher checkpoint and shards -> the teacher's distribution at every position, on disk."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from axk1.core.artifact import MANIFEST, content_hash, is_current, read_manifest, sha256_file
from axk1.core.config import require, to_dict
from axk1.core.errors import ArtifactError, ConfigError, TokenizerMismatch
from axk1.core.progress import console, duration, human, print_next, print_plan, progress
from axk1.data.shards import Shards, require_same_tokenizer
from axk1.distill.building import CacheBuilder, CachePlan
from axk1.distill.cache import KIND
from axk1.distill.records import TopKRecords
from axk1.distill.scoring import Scorer
from axk1.distill.selection import Selection, select_samples
from axk1.model.checkpoint import load_model
from axk1.model.config import ModelConfig
from axk1.model.inspect import inspect_model
from axk1.train.config import ShardSource
from axk1.train.precision import choose_device, choose_precision, matmul_rate

CHUNK_ROWS = 1 << 16
"""Records of a chunk, which is what a kill can cost."""
UTILISATION = 0.5
"""Share of the rate of a large matrix product that scoring reaches, for the expected time."""


@dataclass(frozen=True, kw_only=True)
class CacheConfig:
    """What a knowledge cache holds: whose distributions, on which samples, how much of each."""

    teacher: Path
    """The checkpoint whose knowledge is stored."""
    shards: tuple[ShardSource, ...]
    """The token shards to score; with ``max_tokens``, the weights decide how much is taken from each."""
    output: Path
    """The knowledge cache to make; while it is being made, what is done lies beside it in ``<output>.state``."""
    max_tokens: int | None = None
    """Tokens to score, at most; left out, all. A student meets only samples that are cached, as often as it needs."""
    kind: Literal["topk"] = "topk"
    """What is stored at each position: ``topk``, the most probable tokens, and the mass of all others, the tail."""
    top_k: int = 16
    """Tokens stored with their probability at each position, four bytes each (six beyond a vocabulary of 65,536)."""
    tail_samples: int = 32
    """Tokens drawn from the tail at each position, two bytes each (or four): they stand for it without bias. With 0 a
    student learns the tail's mass but not its shape, which fails where the teacher is uncertain."""
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

    def __post_init__(self) -> None:
        require(len(self.shards) > 0, "shards", self.shards, "at least one folder")
        require(self.max_tokens is None or self.max_tokens >= 2, "max_tokens", self.max_tokens, "2 or more")
        require(self.top_k >= 1, "top_k", self.top_k, "1 or more")
        require(self.tail_samples >= 0, "tail_samples", self.tail_samples, "0 or more")
        require(self.temperature > 0, "temperature", self.temperature, "a number above 0")
        require(self.batch_tokens >= 1, "batch_tokens", self.batch_tokens, "1 or more")
        require(self.threads is None or self.threads >= 1, "threads", self.threads, "1 or more")


def build_cache(config: CacheConfig, *, dry_run: bool = False) -> Path:
    """Scores samples with the teacher and stores what it says, or goes on where a killed run stood.

    Returns:
        The knowledge cache.

    Raises:
        ArtifactError: an input is missing or corrupt; names the command that makes it.
        TokenizerMismatch: teacher and shards were made with different tokenizers.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    material = _Material(config)
    builder = CacheBuilder(config.output, material.plan)
    print_plan("distill cache", material.describe(builder))
    if dry_run:
        return config.output
    if is_current(config.output, kind=KIND, config=to_dict(config), inputs=material.inputs):
        builder.discard()
        console.print(f"{config.output} is up to date")
    else:
        _fill(config, material, builder)
    print_next("axk1 distill train recipes/nano/student.toml")
    return config.output


def checkpoint_hash(folder: Path) -> str:
    """The content hash by which a cache knows its teacher."""
    return read_manifest(folder).content_hash if (folder / MANIFEST).exists() else content_hash(folder)


class _Material:
    """The opened inputs and what is to be made of them."""

    def __init__(self, config: CacheConfig) -> None:
        self.config = config
        self.model = ModelConfig.load(config.teacher)
        self.shards = [Shards.open(source.folder) for source in config.shards]
        require_same_tokenizer(self.shards)
        tokenizer, vocab_size = self.shards[0].tokenizer_hash, self.shards[0].vocab_size
        _check_teacher(config.teacher, self.model, self.shards[0])
        self.selection = select_samples(self.shards, [source.weight for source in config.shards], config.max_tokens)
        if not len(self.selection.keys):
            raise ConfigError("no sample is left to score", repair="raise max_tokens, or name other shards")
        self._check_lengths()
        self.inputs = {"teacher": checkpoint_hash(config.teacher), "tokenizer": tokenizer}
        self.inputs |= {f"shards[{i}]": opened.manifest.content_hash for i, opened in enumerate(self.shards)}
        self.plan = CachePlan(
            TopKRecords(config.top_k, config.tail_samples, vocab_size),
            self.inputs["teacher"],
            tokenizer,
            config.temperature,
            self.selection.keys,
            self.selection.lengths - 1,
            CHUNK_ROWS,
        )

    def describe(self, builder: CacheBuilder) -> dict[str, str]:
        """The plan for people."""
        config, plan, device = self.config, self.plan, choose_device(self.config.device)
        model = inspect_model(self.model, context=int(self.selection.lengths.max()))
        tokens = human(self.selection.lengths.sum())
        rows, per_token = int(plan.rows.sum()), plan.records.dtype.itemsize
        seconds = model.flops_forward * rows / (matmul_rate(torch.float32, device) * UTILISATION)
        note = " (goes on where a run was stopped)" if builder.resumable else ""
        return {
            "teacher": f"{config.teacher}, {human(model.total)} parameters, {human(model.active)} active",
            "samples": f"{len(plan.keys):,} of {tokens} tokens, from {len(self.shards)} folders",
            "stored": f"{config.kind}, {config.top_k} tokens and {config.tail_samples} of the tail, "
            f"{per_token} bytes at each of {human(rows)} positions",
            "size": f"{human(plan.bytes)}B in {len(plan.chunks)} chunks",
            "device": device.type if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads",
            "time": f"about {duration(seconds)}",
            "output": f"{config.output}{note}",
        }

    def samples(self, part: Selection) -> list[np.ndarray]:
        """The token ids of some samples."""
        return [self.shards[one].sample(sample) for one, sample in zip(part.shard, part.sample, strict=True)]

    def _check_lengths(self) -> None:
        longest, limit = int(self.selection.lengths.max()), self.model.max_position_embeddings
        if longest - 1 > limit:
            raise ConfigError(
                f"the shards hold a sample of {longest} tokens, but the teacher's max_position_embeddings is {limit}",
                repair=f"axk1 data tokenize RECIPE.toml --max-length {limit}",
            )


def _check_teacher(folder: Path, model: ModelConfig, shards: Shards) -> None:
    if not folder.is_dir():
        raise ArtifactError(
            f"teacher = {str(folder)!r} is no checkpoint folder", repair="axk1 sft recipes/nano/sft.toml"
        )
    own = folder / "tokenizer.json"
    if not own.is_file():
        raise ArtifactError(f"the teacher {str(folder)!r} has no tokenizer.json, so its tokens are not known")
    if sha256_file(own) != shards.tokenizer_hash:
        raise TokenizerMismatch(
            f"the shards {str(shards.folder)!r} were not made with the tokenizer of the teacher {str(folder)!r}",
            repair=f"axk1 data tokenize RECIPE.toml --tokenizer {folder}",
        )
    if model.vocab_size < shards.vocab_size:
        raise TokenizerMismatch(
            f"the tokenizer has {shards.vocab_size} entries, but vocab_size of {str(folder)!r} is {model.vocab_size}"
        )


def _fill(config: CacheConfig, material: _Material, builder: CacheBuilder) -> None:
    """Makes the chunks that are missing, and the artifact."""
    plan, start = material.plan, time.perf_counter()
    if builder.state.exists() and not builder.resumable:
        console.print(f"{builder.state} holds work on other samples, settings or another teacher; it is replaced")
    done = set(builder.resume())
    device = choose_device(config.device)
    precision = choose_precision(config.precision, device)
    teacher = load_model(config.teacher, dtype=torch.float32, device=device)
    scorer = Scorer(
        teacher,
        plan.records,
        temperature=config.temperature,
        precision=precision,
        batch_tokens=config.batch_tokens,
    )
    with progress("distill cache", total=int(plan.rows.sum()), unit="tokens") as meter:
        meter.skip(sum(int(plan.rows[plan.chunks[number]].sum()) for number in done))
        for number, part in enumerate(plan.chunks):
            if number not in done:
                rows = plan.rows[part]
                records, starts = np.empty(rows.sum(), plan.records.dtype), np.cumsum(rows) - rows
                for sample, scored in scorer.score(material.samples(material.selection[part]), plan.keys[part]):
                    records[starts[sample] : starts[sample] + len(scored)] = scored
                    meter.advance(len(scored))
                builder.write(number, records)
    seconds = round(time.perf_counter() - start, 1)
    counts = {"samples": len(plan.keys), "tokens": int(material.selection.lengths.sum()), "rows": int(plan.rows.sum())}
    counts |= {"bytes": plan.bytes, "seconds": seconds, "precision": precision, "device": device.type}
    licences = {name: text for opened in material.shards for name, text in opened.manifest.licences.items()}
    builder.finish(config=to_dict(config), inputs=material.inputs, counts=counts, licences=licences)
