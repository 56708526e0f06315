"""``axk1 tokenizer report``: how many tokens a tokenizer spends on Korean, English and code, beside others."""

import gzip
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from axk1.core.artifact import read_manifest, write_text_atomic
from axk1.core.config import require
from axk1.core.errors import ArtifactError, ConfigError
from axk1.core.progress import print_next, print_plan
from axk1.core.texts import MADE_BY, read_json_lines
from axk1.tokenizer.tokenizer import Tokenizer

_HANGUL = ("가", "힣")
"""First and last of the 11,172 precomposed syllables."""


@dataclass(frozen=True)
class ReportConfig:
    """Which tokenizers to measure, on which texts."""

    tokenizer: Path = Path("out/nano/tokenizer")
    """Folder of the tokenizer."""
    documents: Path | None = Path("out/nano/documents")
    """Documents artifact whose held-out texts are measured, by language; none: only ``files``."""
    files: tuple[Path, ...] = ()
    """Further texts, each a row of its own: plain text, or JSON lines with a field ``text``, gzipped or not."""
    against: tuple[Path, ...] = ()
    """Folders of other tokenizers to measure beside it."""
    samples: int = 1000
    """Most texts per language or file, the first ones."""
    output: Path | None = None
    """JSON file for the table; none: only print it."""

    def __post_init__(self) -> None:
        require(self.samples > 0, "samples", self.samples, "a number above 0")
        require(self.documents is not None or bool(self.files), "documents", None, "a folder, or name files")


@dataclass(frozen=True)
class ReportRow:
    """What one tokenizer spends on one kind of text."""

    tokenizer: str
    """The folder."""
    text: str
    """The language, or the name of the file."""
    samples: int
    """Number of texts."""
    tokens_per_sample: float
    """Mean number of tokens of a text."""
    bytes_per_token: float
    """UTF-8 bytes for each token; more is better."""
    whole_syllables: float | None
    """Share of the Hangul syllables in the text that no token cuts through; None where there are none."""


def report(config: ReportConfig, *, dry_run: bool = False) -> list[ReportRow]:
    """Measures and prints a table; see ``tokenizer_report``.

    Raises:
        ArtifactError: a tokenizer, the documents or a file is missing or corrupt.
        ConfigError: there is no text to measure.
    """
    folders = (config.tokenizer, *config.against)
    loaded = {str(folder): Tokenizer.load(folder) for folder in folders}
    texts = _texts(config)
    sizes = ", ".join(f"{name} {len(samples)}" for name, samples in texts.items())
    print_plan("tokenizer report", {"tokenizers": ", ".join(loaded), "texts": sizes})
    if dry_run:
        return []
    rows = [row for name, tokenizer in loaded.items() for row in tokenizer_report(tokenizer, texts, name=name)]
    print_table(rows)
    if config.output is not None:
        write_text_atomic(config.output, json.dumps([asdict(row) for row in rows], ensure_ascii=False, indent=2) + "\n")
    print_next("axk1 data tokenize recipes/nano/shards-text.toml")
    return rows


def tokenizer_report(tokenizer: Tokenizer, texts: dict[str, Sequence[str]], *, name: str = "") -> list[ReportRow]:
    """Tokens per text, bytes per token and uncut Hangul syllables for each group of texts.

    Args:
        tokenizer: what to measure.
        texts: the texts of each group, such as a language.
        name: what to call the tokenizer.
    """
    rows = []
    for group, samples in texts.items():
        encoded = tokenizer.encode_batch(samples, special=False)
        tokens, size = sum(map(len, encoded)), sum(len(text.encode("utf-8")) for text in samples)
        rows.append(
            ReportRow(
                tokenizer=name,
                text=group,
                samples=len(samples),
                tokens_per_sample=tokens / len(samples),
                bytes_per_token=size / tokens if tokens else 0.0,
                whole_syllables=_whole_syllables(tokenizer, samples, encoded),
            )
        )
    return rows


def print_table(rows: Iterable[ReportRow]) -> None:
    """Prints the rows on standard output, each kind of text with its tokenizers together."""
    rows = list(rows)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("text", "tokenizer", "samples", "tokens/sample", "bytes/token", "whole syllables"):
        if heading == "tokenizer":
            table.add_column(heading, overflow="fold")
        else:
            table.add_column(heading, justify="left" if heading == "text" else "right", no_wrap=True)
    for group in dict.fromkeys(row.text for row in rows):
        for row in (row for row in rows if row.text == group):
            whole = "" if row.whole_syllables is None else f"{row.whole_syllables:.1%}"
            per_sample, per_token = f"{row.tokens_per_sample:,.1f}", f"{row.bytes_per_token:.3f}"
            table.add_row(row.text, row.tokenizer, f"{row.samples:,}", per_sample, per_token, whole)
    Console().print(table)


def _whole_syllables(tokenizer: Tokenizer, samples: Sequence[str], encoded: list[list[int]]) -> float | None:
    """A syllable is cut when a token begins at its second or third byte."""
    syllables = whole = 0
    for text, ids in zip(samples, encoded, strict=True):
        pieces = [tokenizer.token_bytes(index) for index in ids] if tokenizer.is_byte_level else []
        if b"".join(pieces) != text.encode("utf-8"):
            return None  # a normaliser changed the text, so bytes and text do not line up
        borders, position = set(), 0
        for piece in pieces:
            borders.add(position)
            position += len(piece)
        position = 0
        for character in text:
            width = len(character.encode("utf-8"))
            if _HANGUL[0] <= character <= _HANGUL[1]:
                syllables += 1
                whole += position + 1 not in borders and position + 2 not in borders
            position += width
    return whole / syllables if syllables else None


def _texts(config: ReportConfig) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    if config.documents is not None:
        read_manifest(config.documents, kind="documents", made_by=MADE_BY["documents"])
        for record in read_json_lines(config.documents / "heldout.jsonl.gz", made_by=MADE_BY["documents"]):
            group = groups.setdefault(str(record.get("language", "?")), [])
            if len(group) < config.samples and record.get("text"):
                group.append(record["text"])
    for path in config.files:
        groups[path.name] = _file_texts(path, config.samples)
    groups = {name: texts for name, texts in groups.items() if texts}
    if not groups:
        raise ConfigError("there is no text to measure", repair="name a documents artifact or files")
    return groups


def _file_texts(path: Path, samples: int) -> list[str]:
    if ".json" in path.name:
        lines = (str(record["text"]) for record in read_json_lines(path) if record.get("text"))
        return [text for text, _ in zip(lines, range(samples), strict=False)]
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8") as file:
            text = file.read()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ArtifactError(f"{str(path)!r} cannot be read as text: {error}") from None
    return [text] if text else []
