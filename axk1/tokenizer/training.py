"""``axk1 tokenizer train``: documents and conversations -> a byte-level BPE with the special tokens of A.X K1.

How text is split before merging is Qwen2's rule, because it does what Korean and reasoning need and because every
runtime knows it (llama.cpp calls it ``qwen2``; a rule of our own would have to be compiled into each of them):
a run of letters with the space or mark before it (so a Hangul word is one run and frequent ones become one token),
digits one by one, runs of punctuation, line ends, other white space. Cutting mixed words such as "API를" between the
scripts was tried: bytes per token of Korean, English and code stayed the same to three digits.
There is no normaliser, so every text comes back as it was.
"""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers

from axk1.core import artifact
from axk1.core.config import require, to_dict
from axk1.core.errors import ArtifactError, ConfigError
from axk1.core.progress import console, duration, human, print_next, print_plan, progress
from axk1.core.texts import MADE_BY, read_json_lines, read_text_manifest
from axk1.tokenizer import special_tokens
from axk1.tokenizer.tokenizer import Tokenizer, scalar_values

KIND = "tokenizer"
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How text is cut before merging; a token never crosses a cut."""
SPLIT_WORDS = r"\p{L}+|\p{N}|[^\s\p{L}\p{N}]+|\s*[\r\n]+|\s+"
"""The same, but that a word is cut from the space or the sign before it."""
_ALPHABET = 256


@dataclass(frozen=True)
class TokenizerConfig:
    """A byte-level BPE, and the text to learn it from."""

    output: Path
    """Folder to write."""
    inputs: tuple[Path, ...]
    """Documents and conversations artifacts whose training text is read."""
    vocab_size: int = 8192
    """Number of entries: 256 bytes, the merges, and the special tokens."""
    reserved_tokens: int = 7
    """Special tokens kept free for later roles; with the nine named ones they stand at the end of the vocabulary."""
    max_bytes: int = 20_000_000
    """Most bytes of text to learn from; a random part of the inputs when they hold more."""
    shares: dict[str, float] = field(default_factory=dict)
    """Share of each language in max_bytes, as in {ko = 0.5, en = 0.3, code = 0.2}; empty: as the inputs have it."""
    separate_words: bool = False
    """Cut words from the space or sign before them, so that a word has the same tokens wherever it stands, also behind
    a quotation mark. Small models learn to copy much sooner; texts take more tokens."""
    seed: int = 0
    """Other seeds choose other texts when there are more than max_bytes."""

    def __post_init__(self) -> None:
        require(bool(self.inputs), "inputs", self.inputs, "at least one documents or conversations artifact")
        require(self.reserved_tokens >= 0, "reserved_tokens", self.reserved_tokens, "a number from 0 on")
        least = _ALPHABET + len(special_tokens.NAMED) + self.reserved_tokens
        require(self.vocab_size >= least, "vocab_size", self.vocab_size, f"at least {least} (bytes and special tokens)")
        require(self.max_bytes > 0, "max_bytes", self.max_bytes, "a number above 0")
        for language, share in self.shares.items():
            require(0 < share <= 1, f"shares.{language}", share, "a number above 0, at most 1")
        total = sum(self.shares.values())
        require(
            not self.shares or abs(total - 1) < 1e-6, "shares", self.shares, f"shares that add up to 1, not {total}"
        )


class _Text(NamedTuple):
    key: str
    language: str
    text: str


def train_tokenizer(config: TokenizerConfig, *, dry_run: bool = False) -> Path:
    """Learns a tokenizer and writes the tokenizer artifact: tokenizer.json, tokenizer_config.json, chat_template.jinja.

    The same config and inputs give the same bytes, whatever the number of cores.

    Returns:
        The output folder.

    Raises:
        ArtifactError: an input is missing, corrupt, or of another kind.
        ConfigError: an input has no text, or not in a language of ``shares``.
    """
    inputs = {folder: read_text_manifest(folder) for folder in config.inputs}
    hashes = {f"{manifest.kind} {folder}": manifest.content_hash for folder, manifest in inputs.items()}
    print_plan(
        "tokenizer",
        {
            "text": f"{', '.join(map(str, config.inputs))}, at most {human(config.max_bytes)} bytes",
            "shares": ", ".join(f"{name} {share:.0%}" for name, share in config.shares.items()) or "as it comes",
            "vocabulary": f"{config.vocab_size} entries, byte-level BPE, digits one by one, no normaliser",
            "output": config.output,
        },
    )
    if dry_run:
        return config.output
    if artifact.is_current(config.output, kind=KIND, config=config, inputs=hashes):
        console.print(f"{config.output} is up to date")
    else:
        _build(config, {folder: manifest.kind for folder, manifest in inputs.items()}, hashes)
    print_next("axk1 data tokenize recipes/nano/shards-text.toml")
    return config.output


def learn(texts: Iterator[str], *, vocab_size: int, reserved_tokens: int, separate_words: bool = False) -> Tokenizer:
    """Learns a tokenizer of exactly ``vocab_size`` entries; where text is too little, further reserved tokens fill up.

    Args:
        texts: the text to learn from.
        vocab_size: number of entries, special tokens included.
        reserved_tokens: least number of reserved special tokens.
        separate_words: whether words are cut from the space or sign before them.
    """
    trained = tokenizers.Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(SPLIT_WORDS if separate_words else SPLIT), behavior="isolated")
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(special_tokens.NAMED) - reserved_tokens,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(texts, trainer)
    free = vocab_size - trained.get_vocab_size() - len(special_tokens.NAMED)
    names = [*special_tokens.NAMED, *map(special_tokens.reserved, range(free))]
    # Markup is no "special" token in the sense of the library, which lets decoders skip those.
    trained.add_tokens(
        [AddedToken(name, normalized=False, special=name not in special_tokens.MARKUP) for name in names]
    )
    end = special_tokens.END_OF_TEXT
    return Tokenizer(trained.to_str(pretty=True), bos_token=end, eos_token=end)


def _build(config: TokenizerConfig, kinds: dict[Path, str], hashes: dict[str, str]) -> None:
    start = time.monotonic()
    rates = _rates(config, kinds)
    read: Counter[str] = Counter()
    with progress("reading text", total=None, unit="bytes") as meter:

        def chosen() -> Iterator[str]:
            for text in _texts(kinds):
                if _fraction(config.seed, text.key) < rates.get(text.language, 0.0):
                    size = len(text.text.encode("utf-8", "replace"))
                    read[text.language] += size
                    meter.advance(size, note="then merging")
                    yield scalar_values(text.text)

        tokenizer = learn(
            chosen(),
            vocab_size=config.vocab_size,
            reserved_tokens=config.reserved_tokens,
            separate_words=config.separate_words,
        )
    reserved = sum(name.startswith("<|reserved_") for name in tokenizer.special_tokens)
    counts: dict[str, Any] = {
        "vocab_size": tokenizer.vocab_size,
        "merges": len(json.loads(tokenizer.to_json())["model"]["merges"]),
        "reserved_tokens": reserved,
        "bytes": dict(sorted(read.items())),
        "seconds": round(time.monotonic() - start, 1),
    }
    with artifact.building(config.output) as folder:
        tokenizer.save(folder)
        artifact.write_manifest(folder, kind=KIND, config=to_dict(config), inputs=hashes, counts=counts)
    shares = ", ".join(f"{name} {human(size)}" for name, size in sorted(read.items()))
    console.print(f"learned {tokenizer.vocab_size} entries from {shares} bytes in {duration(counts['seconds'])}")


def _rates(config: TokenizerConfig, kinds: dict[Path, str]) -> dict[str, float]:
    """The share of each language's texts to read, so that together they are about max_bytes in the wanted shares."""
    available: Counter[str] = Counter()
    for text in _texts(kinds):
        available[text.language] += len(text.text.encode("utf-8", "replace"))
    if not available:
        raise ConfigError(f"inputs = {[str(path) for path in kinds]!r} hold no text")
    missing = sorted(set(config.shares) - set(available))
    require(not missing, "shares", missing, f"languages of the inputs: {', '.join(sorted(available))}")
    if not config.shares:
        return dict.fromkeys(available, min(1.0, config.max_bytes / available.total()))
    return {name: min(1.0, share * config.max_bytes / available[name]) for name, share in config.shares.items()}


def _texts(kinds: dict[Path, str]) -> Iterator[_Text]:
    for folder, kind in kinds.items():
        for record in read_json_lines(folder / "train.jsonl.gz", made_by=MADE_BY[kind]):
            try:
                parts = [record["text"]] if kind == "documents" else list(_spoken(record["messages"]))
                yield _Text(record["id"], record["language"], "\n".join(parts))
            except (KeyError, TypeError) as error:
                raise ArtifactError(
                    f"{str(folder)!r} has a line without {error} in train.jsonl.gz", repair=MADE_BY[kind]
                ) from None


def _spoken(messages: list[dict[str, Any]]) -> Iterator[str]:
    for message in messages:
        for name in ("reasoning_content", "content"):
            if message.get(name):
                yield message[name]


def _fraction(seed: int, key: str) -> float:
    """A number in [0, 1) that depends on nothing but the seed and the text's name."""
    digest = hashlib.blake2b(f"{seed}:{key}".encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
