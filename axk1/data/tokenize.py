"""``axk1 data tokenize``: documents or conversations + a tokenizer -> shards.

A document becomes ``<|endoftext|> text <|endoftext|>``; special tokens that its text spells stay plain text. A longer
one is cut into pieces of at most ``max_length`` tokens that each begin with ``<|endoftext|>``. A conversation becomes
its rendered chat, whole or not at all, with a mask of what the assistant must write.

Samples are stored in random order, so a window of consecutive samples is a fair mixture of the sources.
"""

import hashlib
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from axk1.core import artifact
from axk1.core.config import require, to_dict
from axk1.core.errors import ArtifactError, ConfigError
from axk1.core.progress import Meter, console, duration, human, print_next, print_plan, progress
from axk1.core.texts import MADE_BY, read_json_lines, read_text_manifest
from axk1.data.sample_table import Origin, Piece, SampleTable
from axk1.data.shards import KIND, token_dtype
from axk1.tokenizer import Tokenizer

_NEXT = {"documents": "axk1 pretrain recipes/nano/pretrain.toml", "conversations": "axk1 sft recipes/nano/sft.toml"}
_BATCH = 1024
"""Records tokenized at once: enough to keep the cores busy, little enough to hold."""


@dataclass(frozen=True)
class ShardsConfig:
    """Which texts become token shards, and how long a sample may be."""

    output: Path
    """Folder to write."""
    tokenizer: Path
    """Folder of the tokenizer."""
    inputs: tuple[Path, ...]
    """Documents artifacts, or conversations artifacts; both kinds need shards of their own."""
    split: Literal["train", "heldout"] = "train"
    """Which file of the documents artifacts to read."""
    max_length: int = 512
    """Most tokens of a sample; longer documents are cut, longer conversations dropped."""
    max_tokens: int | None = None
    """Most tokens in all, a random part of the texts; none: all."""
    max_tokens_per_source: dict[str, int] = field(default_factory=dict)
    """Most tokens of a source (of conversations: of a task), as in {django-docs = 2_000_000}; 0 leaves it out."""
    seed: int = 0
    """Other seeds give another order, and other texts when there are more than max_tokens."""

    def __post_init__(self) -> None:
        require(bool(self.inputs), "inputs", self.inputs, "at least one documents or conversations artifact")
        require(len(set(self.inputs)) == len(self.inputs), "inputs", self.inputs, "each artifact once")
        require(self.max_length >= 8, "max_length", self.max_length, "a number from 8 on")
        require(self.max_tokens is None or self.max_tokens > 0, "max_tokens", self.max_tokens, "a number above 0")
        for source, most in self.max_tokens_per_source.items():
            require(most >= 0, f"max_tokens_per_source.{source}", most, "a number from 0 on")


def build_shards(config: ShardsConfig, *, dry_run: bool = False) -> Path:
    """Tokenizes the inputs and writes a shards artifact (see ``axk1.data.shards`` for its files).

    The same config and inputs give the same bytes.

    Returns:
        The output folder.

    Raises:
        ArtifactError: the tokenizer or an input is missing, corrupt, or of another kind.
        ConfigError: inputs of both kinds, an unknown source, or nothing left to write.
    """
    tokenizer = Tokenizer.load(config.tokenizer)
    inputs = {folder: read_text_manifest(folder) for folder in config.inputs}
    kind = _only_kind(inputs)
    hashes = {"tokenizer": tokenizer.content_hash}
    hashes |= {f"{kind} {folder}": manifest.content_hash for folder, manifest in inputs.items()}
    if kind == "conversations":
        hashes["chat_template"] = hashlib.sha256((tokenizer.chat_template or "").encode("utf-8")).hexdigest()
    print_plan(
        "token shards",
        {
            kind: f"{', '.join(map(str, config.inputs))} ({config.split})",
            "tokenizer": f"{config.tokenizer}, {tokenizer.vocab_size} entries",
            "samples": f"at most {config.max_length} tokens each",
            "tokens": "all" if config.max_tokens is None else f"at most {human(config.max_tokens)}",
            "output": config.output,
        },
    )
    if dry_run:
        return config.output
    if artifact.is_current(config.output, kind=KIND, config=config, inputs=hashes):
        console.print(f"{config.output} is up to date")
    else:
        _build(config, tokenizer, inputs, kind, hashes)
    print_next(_NEXT[kind])
    return config.output


def cut_document(ids: list[int], *, bos: int, eos: int, max_length: int) -> list[list[int]]:
    """A document's ids in samples of at most ``max_length``: each begins with bos, the last ends with eos.

    All but the last two are full. A last one of less than an eighth takes what it lacks from the one before: a stub
    would be learned without its context.
    """
    room, least = max_length - 1, max_length // 8
    rest = [*ids, eos]
    samples = []
    while len(rest) > room:
        size = min(room, max(len(rest) - least, 1))
        samples.append([bos, *rest[:size]])
        rest = rest[size:]
    return [*samples, [bos, *rest]]


def _build(
    config: ShardsConfig,
    tokenizer: Tokenizer,
    inputs: dict[Path, artifact.Manifest],
    kind: str,
    hashes: dict[str, str],
) -> None:
    start = time.monotonic()
    dtype, has_mask = token_dtype(tokenizer.vocab_size), kind == "conversations"
    with artifact.building(config.output) as folder, SampleTable(folder, dtype, has_mask=has_mask) as table:
        with progress("tokenizing", total=None, unit="bytes") as meter:
            reader = _Reader(config, tokenizer, inputs, kind, meter)
            for origin, index, piece in reader.pieces():
                table.append(origin, index, piece, seed=config.seed)
        _check_sources(config, table)
        chosen = table.choose(config.max_tokens, config.max_tokens_per_source)
        if not len(chosen):
            raise ConfigError(f"inputs = {[str(path) for path in inputs]!r}: nothing is left to write")
        counts = {**table.write(folder, chosen), **reader.counts(), "vocab_size": tokenizer.vocab_size}
        counts["seconds"] = round(time.monotonic() - start, 1)
        licences = {name: licence for manifest in inputs.values() for name, licence in manifest.licences.items()}
        artifact.write_manifest(
            folder, kind=KIND, config=to_dict(config), inputs=hashes, counts=counts, licences=licences
        )
    tokens, samples, seconds = counts["tokens"], counts["samples"], counts["seconds"]
    console.print(f"{human(tokens)} tokens in {human(samples)} samples, {duration(seconds)}")


class _Reader:
    """Reads the inputs and cuts them into pieces of token ids."""

    def __init__(
        self,
        config: ShardsConfig,
        tokenizer: Tokenizer,
        inputs: dict[Path, artifact.Manifest],
        kind: str,
        meter: Meter,
    ) -> None:
        self._config, self._tokenizer, self._inputs, self._kind, self._meter = config, tokenizer, inputs, kind, meter
        self._read: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()

    def counts(self) -> dict[str, Any]:
        """How much was read and dropped, for the manifest."""
        return {**self._read, "dropped": dict(sorted(self._dropped.items()))}

    def pieces(self) -> Iterator[tuple[Origin, int, Piece]]:
        """Every piece with its origin and its number within the text."""
        cut = self._cut_documents if self._kind == "documents" else self._cut_conversations
        for folder, manifest in self._inputs.items():
            name = "train.jsonl.gz" if self._kind == "conversations" else f"{self._config.split}.jsonl.gz"
            records = read_json_lines(folder / name, made_by=MADE_BY[self._kind])
            while batch := list(itertools.islice(records, _BATCH)):
                try:
                    origins = [_origin(record, manifest) for record in batch]
                    cuts = cut(batch)
                except (KeyError, TypeError) as error:
                    message = f"{str(folder / name)!r} has a line without {error}"
                    raise ArtifactError(message, repair=MADE_BY[self._kind]) from None
                for origin, pieces in zip(origins, cuts, strict=True):
                    for index, piece in enumerate(pieces):
                        yield origin, index, piece

    def _cut_documents(self, batch: list[dict[str, Any]]) -> list[list[Piece]]:
        texts = [record["text"] for record in batch]
        self._count("documents", texts)
        bos, eos = self._tokenizer.bos_id, self._tokenizer.eos_id
        cuts = []
        for ids in self._tokenizer.encode_batch(texts, special=False):
            samples = cut_document(ids, bos=bos, eos=eos, max_length=self._config.max_length) if ids else []
            self._dropped["empty"] += not ids
            cuts.append([Piece(sample, None) for sample in samples])
        return cuts

    def _cut_conversations(self, batch: list[dict[str, Any]]) -> list[list[Piece]]:
        cut = self._tokenizer.segment_chat
        segments = [
            cut(record["messages"], tools=record.get("tools"), enable_thinking=record["mode"] == "think")
            for record in batch
        ]
        self._count("conversations", ["".join(piece.text for piece in pieces) for pieces in segments])
        cuts = []
        for chat in self._tokenizer.encode_segments(segments):
            too_long, aimless = len(chat.ids) > self._config.max_length, not any(chat.is_target)
            self._dropped["too_long"] += too_long
            self._dropped["without_assistant_turn"] += aimless and not too_long
            cuts.append([] if too_long or aimless else [Piece(chat.ids, chat.is_target)])
        return cuts

    def _count(self, what: str, texts: list[str]) -> None:
        size = sum(len(text.encode("utf-8", "replace")) for text in texts)
        self._read[what] += len(texts)
        self._read["bytes"] += size
        self._meter.advance(size)


def _only_kind(inputs: dict[Path, artifact.Manifest]) -> str:
    kinds = sorted({manifest.kind for manifest in inputs.values()})
    require(
        len(kinds) == 1,
        "inputs",
        {str(folder): manifest.kind for folder, manifest in inputs.items()},
        "artifacts of one kind; documents and conversations need shards of their own",
    )
    return kinds[0]


def _origin(record: dict[str, Any], manifest: artifact.Manifest) -> Origin:
    source = record.get("source") or record["task"]
    licence = record.get("licence") or manifest.licences.get(source)
    if licence is None and len(manifest.licences) == 1:
        licence = next(iter(manifest.licences.values()))
    return Origin(record["id"], source, licence or "", record["language"])


def _check_sources(config: ShardsConfig, table: SampleTable) -> None:
    for source in config.max_tokens_per_source:
        known = table.sources()
        require(source in known, "max_tokens_per_source", source, ", ".join(sorted(known)))
