"""``axk1 distill import``: a cache that another program wrote -> a knowledge cache, and the shards that it speaks of.

What the other's cache lacks is made anew or asked for. Keys are hashes of the token ids that it holds. Its tail is what
its K probabilities leave to one. Who the teacher was it does not say: name ``teacher``, or it is known by a hash of the
files alone. Whether row i speaks of token i + 1 is tried on the text itself before anything is believed.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from axk1.core.artifact import building, is_current, sha256_file, write_manifest
from axk1.core.config import require, to_dict
from axk1.core.errors import ArtifactError, TokenizerMismatch
from axk1.core.lock import locked
from axk1.core.progress import console, human, print_next, print_plan, progress
from axk1.data import shards as shards_format
from axk1.data.sample_table import Origin, Piece, SampleTable
from axk1.data.shards import sample_key, token_dtype
from axk1.distill.building import CacheBuilder, CachePlan
from axk1.distill.cache import KIND
from axk1.distill.capture import CHUNK_ROWS
from axk1.distill.coding import token_order
from axk1.distill.distillkit import DistillKitCache
from axk1.distill.megatron import MegatronCache
from axk1.distill.records import Distributions, TokenRanks, TopKRecords, concatenate
from axk1.distill.teachers import checkpoint_hash
from axk1.tokenizer.tokenizer import Tokenizer

_PROBES = 64
"""Samples on which the order of rows is tried."""
_LEAST_TAIL = 1e-9
_FLOOR = -64.0


@dataclass(frozen=True, kw_only=True)
class ImportCacheConfig:
    """Which cache becomes a knowledge cache."""

    folder: Path
    """The other program's cache."""
    tokenizer: Path
    """Folder of the teacher's tokenizer, which made the ids in the cache."""
    output: Path
    """The knowledge cache to make."""
    format: Literal["distillkit", "megatron"] = "distillkit"
    """Who wrote it: ``distillkit`` is DistillKit 1.0.0 or open-instruct, log-probabilities plain or coded;
    ``megatron`` is Megatron-LM's ``--logits-save-dir``."""
    tokens: Path | None = None
    """Format ``megatron``, whose cache holds no tokens: the stream of samples that training consumed, in its order, as
    an array [samples, tokens of one and its last label] in a ``.npy`` file."""
    shards: Path | None = None
    """Where to write the cache's token ids as shards, which a student needs to learn from it; left out, nowhere."""
    teacher: Path | None = None
    """The checkpoint that is said to have made it, for its content hash; left out, the teacher is unknown."""
    temperature: float = 1.0
    """What the teacher's logits were divided by, which the cache does not say."""
    licence: str = ""
    """Licence of the text, for the manifest of the shards."""

    def __post_init__(self) -> None:
        require(self.temperature > 0, "temperature", self.temperature, "a number above 0")
        require(self.shards != self.output, "shards", self.shards, "another folder than output")
        named = (self.tokens is not None) == (self.format == "megatron")
        require(named, "tokens", self.tokens and str(self.tokens), "a .npy file with format megatron, and only there")


class ForeignCache(Protocol):
    """A cache that another program wrote."""

    folder: Path
    files: list[Path]
    """All that it is read from; their hashes tell one cache from another."""
    least_vocab_size: int
    """The teacher had at least so many entries."""

    def samples(self) -> Iterable[np.ndarray]:
        """The token ids of each sample, in order."""
        ...

    def top_k(self) -> int:
        """K, the most entries of a row."""
        ...

    def rows(self, numbers: Sequence[int]) -> Sequence[tuple[np.ndarray, np.ndarray]]:
        """Ids [R, K] and log-probabilities [R, K] of samples by their numbers; -inf where there is no entry."""
        ...

    def close(self) -> None:
        """Deletes what it keeps on disk beside the cache."""
        ...


def _open(config: ImportCacheConfig) -> ForeignCache:
    if config.format == "distillkit":
        return DistillKitCache(config.folder)
    scratch = config.output.with_name(f".{config.output.name}.reading")
    return MegatronCache(config.folder, config.tokens, scratch)


def import_cache(config: ImportCacheConfig, *, dry_run: bool = False) -> Path:
    """Writes a knowledge cache from another program's, or goes on where a killed run stood.

    Returns:
        The knowledge cache.

    Raises:
        ArtifactError: the folder holds no such cache, a row is corrupt, or its rows do not fit its text.
        TokenizerMismatch: the cache holds ids that the tokenizer does not have.
    """
    source = _open(config)
    tokenizer = Tokenizer.load(config.tokenizer)
    samples = list(source.samples())
    _check_ids(config, samples, tokenizer.vocab_size)
    inputs = {"source": _hash_of(source), "tokenizer": tokenizer.content_hash}
    inputs["teacher"] = checkpoint_hash(config.teacher) if config.teacher else f"unknown-{inputs['source'][:24]}"
    plan, numbers = _plan(config, source, samples, tokenizer.vocab_size, inputs)
    builder = CacheBuilder(config.output, plan)
    rows = int(plan.rows.sum())
    print_plan("distill import", {
        "cache": f"{config.folder}, {config.format}, {len(samples):,} samples, {len(numbers):,} of them distinct",
        "stored": f"topk, {plan.records.describe()['top_k']} tokens at each of {human(rows)} positions",
        "teacher": str(config.teacher or "unknown: the cache does not say"),
        "shards": str(config.shards or "none"),
        "output": f"{config.output}{' (goes on where a run was stopped)' if builder.resumable else ''}",
    })  # fmt: skip
    if dry_run:
        return config.output
    _check_order(source, samples)
    with locked(config.output.with_name(f".{config.output.name}.lock"), f"writing {str(config.output)!r}"):
        if is_current(config.output, kind=KIND, config=config, inputs=inputs):
            console.print(f"{config.output} is up to date")
        else:
            _fill(config, source, builder, numbers, inputs)
    if config.shards is not None:
        _write_shards(config, tokenizer, [samples[number] for number in numbers], inputs)
    source.close()
    print_next("axk1 distill train RECIPE.toml --cache " + str(config.output))
    return config.output


def _plan(
    config: ImportCacheConfig, source: ForeignCache, samples: list[np.ndarray], vocab_size: int,
    inputs: dict[str, str],
) -> tuple[CachePlan, list[int]]:  # fmt: skip
    """The samples by key, each content once, and which number each has in the source."""
    first: dict[bytes, int] = {}
    for number, sample in enumerate(samples):
        if len(sample) >= 2:
            first.setdefault(sample_key(sample), number)
    keys = sorted(first)
    numbers = [first[key] for key in keys]
    counts_V = np.bincount(np.concatenate([samples[number] for number in numbers]), minlength=vocab_size)
    vocab_size = max(vocab_size, source.least_vocab_size)
    counts_V = np.pad(counts_V, (0, vocab_size - len(counts_V)))
    records = TopKRecords(source.top_k(), 0, vocab_size, TokenRanks(token_order(counts_V)))
    lengths = np.array([len(samples[number]) - 1 for number in numbers], np.int64)
    packed = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, shards_format.KEY_BYTES)
    arguments = (records, inputs["teacher"], inputs["tokenizer"], config.temperature)
    return CachePlan(*arguments, packed, lengths, CHUNK_ROWS), numbers


def _fill(
    config: ImportCacheConfig, source: ForeignCache, builder: CacheBuilder, numbers: list[int],
    inputs: dict[str, str],
) -> None:  # fmt: skip
    plan, done = builder.plan, set(builder.resume())
    changed = 0
    with progress("distill import", total=int(plan.rows.sum()), unit="positions") as meter:
        for number, part in enumerate(plan.chunks):
            size = int(plan.rows[part].sum())
            if number in done:
                meter.skip(size)
                continue
            pieces = []
            for entry, (ids, log_probs) in zip(
                range(part.start, part.stop), source.rows(numbers[part.start : part.stop]), strict=True
            ):
                _check_rows(source, ids, int(plan.rows[entry]))
                rows, above = distributions(ids, log_probs, plan.records.vocab_size)
                changed += above
                pieces.append(rows)
            builder.write(number, concatenate(pieces))
            meter.advance(size)
    if changed:
        console.print(f"{changed:,} rows summed to more than one and were scaled down")
    counts = {"samples": len(plan.keys), "rows": int(plan.rows.sum()), "rows_scaled_down": changed}
    counts["note"] = f"imported from {config.format}; the teacher is as the user named it, or unknown"
    builder.finish(config=to_dict(config), inputs=inputs, counts=counts, licences={config.folder.name: config.licence})


def distributions(ids_RK: np.ndarray, log_probs_RK: np.ndarray, vocab_size: int) -> tuple[Distributions, int]:
    """Another's K best tokens as rows of ours, and how many rows summed to more than one and were scaled down.

    A log-probability of -inf stands for an entry that was never written, whose id means nothing: it becomes some token
    that the row does not have, with no mass; one of the last, which are rare. Of the tail only the mass is known.
    """
    if np.isnan(log_probs_RK).any():
        raise ArtifactError("the cache holds a log-probability that is no number")
    missing_RK = np.isneginf(log_probs_RK) | (ids_RK < 0) | (ids_RK >= vocab_size)
    ids_RK = ids_RK.copy()
    for row in np.flatnonzero(missing_RK.any(axis=1)):
        free = np.setdiff1d(
            np.arange(max(vocab_size - 2 * ids_RK.shape[1], 0), vocab_size), ids_RK[row][~missing_RK[row]]
        )
        ids_RK[row, missing_RK[row]] = free[-missing_RK[row].sum() :]
    log_probs_RK = np.where(missing_RK, _FLOOR, np.maximum(log_probs_RK.astype(np.float64), _FLOOR))
    mass_R = np.exp(log_probs_RK).sum(axis=1)
    above_R = mass_R > 1 - _LEAST_TAIL
    log_probs_RK -= np.log(np.where(above_R, mass_R / (1 - _LEAST_TAIL), 1))[:, None]
    tail_R = np.maximum(1 - np.exp(log_probs_RK).sum(axis=1), _LEAST_TAIL)
    # The entropy counts the tail as one token; it is read only where there are draws, and here are none.
    entropy_R = -(np.exp(log_probs_RK) * log_probs_RK).sum(axis=1) - tail_R * np.log(tail_R)
    drawn_R0 = np.zeros((len(ids_RK), 0), np.int64)
    return Distributions(ids_RK, log_probs_RK, np.log(tail_R), drawn_R0, entropy_R), int((mass_R > 1 + 1e-3).sum())


def _check_ids(config: ImportCacheConfig, samples: list[np.ndarray], vocab_size: int) -> None:
    largest = max((int(sample.max()) for sample in samples if len(sample)), default=0)
    if largest >= vocab_size:
        raise TokenizerMismatch(
            f"the cache {str(config.folder)!r} holds token id {largest}, but {str(config.tokenizer)!r} has "
            f"{vocab_size} entries",
            repair="set tokenizer to the folder of the teacher that the cache was made from",
        )
    if not any(len(sample) >= 2 for sample in samples):
        raise ArtifactError(f"the cache {str(config.folder)!r} holds no sample of two tokens")


def _check_rows(source: ForeignCache, ids_RK: np.ndarray, rows: int) -> None:
    if len(ids_RK) != rows:
        raise ArtifactError(
            f"a sample of {str(source.folder)!r} has {rows + 1} tokens and {len(ids_RK)} rows, where every token "
            "but the first needs one"
        )


def _check_order(source: ForeignCache, samples: list[np.ndarray]) -> None:
    """Tries whether row i is likelier to speak of token i + 1 than of token i. Raises ArtifactError where not."""
    probes = [number for number, sample in enumerate(samples) if len(sample) >= 2][:_PROBES]
    held = np.zeros(2)
    for number, (ids, log_probs) in zip(probes, source.rows(probes), strict=True):
        _check_rows(source, ids, len(samples[number]) - 1)
        for shift in (0, 1):
            text = samples[number][1 - shift : len(samples[number]) - shift]
            with np.errstate(over="ignore"):
                held[shift] += (np.exp(log_probs.astype(np.float64)) * (ids == text[:, None])).sum()
    if held[1] > held[0]:
        raise ArtifactError(
            f"the rows of {str(source.folder)!r} speak of the token they stand at rather than of the next one: "
            f"probability {held[1]:.1f} against {held[0]:.1f} on {len(probes)} samples",
            repair="write the cache again, with a row for each token but the first",
        )


def _hash_of(source: ForeignCache) -> str:
    digest = hashlib.sha256()
    for file in source.files:
        digest.update(f"{file.name}\0{sha256_file(file)}\n".encode())
    return digest.hexdigest()


def _write_shards(
    config: ImportCacheConfig, tokenizer: Tokenizer, samples: list[np.ndarray], inputs: dict[str, str]
) -> None:
    """The samples as a shards artifact, each a text of its own."""
    output = Path(str(config.shards))
    hashes = {"tokenizer": inputs["tokenizer"], "source": inputs["source"]}
    resolved: dict[str, Any] = {**to_dict(config), "seed": 0}
    if is_current(output, kind=shards_format.KIND, config=resolved, inputs=hashes):
        console.print(f"{output} is up to date")
        return
    name = config.folder.name
    dtype = token_dtype(tokenizer.vocab_size)
    with building(output) as folder, SampleTable(folder, dtype, has_mask=False) as table:
        for number, sample in enumerate(samples):
            origin = Origin(f"{name}/{number}", name, config.licence, "")
            table.append(origin, 0, Piece(sample.tolist(), None), seed=0)
        counts = {**table.write(folder, table.choose(None, {})), "vocab_size": tokenizer.vocab_size}
        licences = {name: config.licence}
        write_manifest(
            folder, kind=shards_format.KIND, config=resolved, inputs=hashes, counts=counts, licences=licences
        )
