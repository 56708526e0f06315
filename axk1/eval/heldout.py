"""Held-out documents: how many bits a model needs per byte of text that it has never seen, language by language."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from axk1.core.errors import ArtifactError
from axk1.core.language_model import LanguageModel
from axk1.core.texts import MADE_BY, read_json_lines
from axk1.eval.scores import Sample

HELDOUT_FILE = "heldout.jsonl.gz"


@dataclass(frozen=True)
class HeldoutText:
    """A document as it is scored."""

    id: str
    source: str
    language: str
    windows: tuple[str, ...]
    """Its text in pieces, each scored on its own."""


def heldout_texts(
    documents: Path, language: str, *, total_bytes: int, document_bytes: int, window_bytes: int
) -> list[HeldoutText]:
    """The first held-out documents of a language, up to ``total_bytes`` of text.

    The documents artifact orders them by chance, so its beginning is a fair mix of the sources. Texts are cut into
    windows here, not by the model, so that models with different contexts are asked the same.

    Raises:
        ArtifactError: the file is missing or corrupt, or holds no document of this language.
    """
    found, size = [], 0
    for line in read_json_lines(documents / HELDOUT_FILE, made_by=MADE_BY["documents"]):
        if line["language"] != language:
            continue
        pieces = tuple(itertools.islice(windows(line["text"], window_bytes), math.ceil(document_bytes / window_bytes)))
        found.append(HeldoutText(line["id"], line["source"], language, pieces))
        size += sum(len(piece.encode()) for piece in pieces)
        if size >= total_bytes:
            break
    if not found:
        raise ArtifactError(
            f"{str(documents / HELDOUT_FILE)!r} holds no document in {language!r}",
            repair="leave it out of languages in the recipe, or hold out documents in that language",
        )
    return found


def windows(text: str, window_bytes: int) -> Iterator[str]:
    """The text in pieces of at most ``window_bytes`` bytes of UTF-8, cut after white space where there is some."""
    rest = text.encode()
    while len(rest) > window_bytes:
        piece = rest[:window_bytes].decode(errors="ignore")  # a character cut in two goes to the next piece
        spaces = max(piece.rfind(" "), piece.rfind("\n"))
        if spaces > 0:
            piece = piece[: spaces + 1]
        yield piece
        rest = rest[len(piece.encode()) :]
    if rest:
        yield rest.decode()


def score_heldout(model: LanguageModel, texts: Sequence[HeldoutText]) -> list[Sample]:
    """One sample per document: its bits under the model, and its bytes."""
    scored = iter(model.score([piece for text in texts for piece in text.windows]))
    samples = []
    for text in texts:
        parts = list(itertools.islice(scored, len(text.windows)))
        bits = -sum(part.log_likelihood for part in parts) / math.log(2)
        size = sum(part.bytes for part in parts)
        samples.append(
            {
                "doc_id": text.id,
                "doc": {"source": text.source, "language": text.language, "windows": len(text.windows)},
                "metrics": ["bits_per_byte"],
                "bits": bits,
                "bytes": size,
                "tokens": sum(part.tokens for part in parts),
                "bits_per_byte": bits / size,
            }
        )
    return samples
