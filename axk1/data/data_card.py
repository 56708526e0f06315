"""What an artifact of documents holds: as numbers for the manifest, and as a card for a person."""

from collections.abc import Mapping, Sequence
from typing import Any

from axk1.data.corpus import Collected, Corpus, count_reasons
from axk1.data.document import Document
from axk1.data.sources import Source

_LANGUAGES = {"ko": "Korean", "en": "English", "ja": "Japanese", "zh": "Chinese", "es": "Spanish", "code": "Code"}


def count(sources: Sequence[Source], collected: Sequence[Collected], corpus: Corpus) -> dict[str, Any]:
    """Documents and bytes: in all, per source and per language; the counts of the manifest."""
    per_source = {}
    for source, part in zip(sources, collected, strict=True):

        def own(documents: Sequence[Document], source: Source = source) -> list[Document]:
            return [d for d in documents if (d.source, d.language) == (source.label, source.language)]

        removed = [item for item in corpus.removed if own([item[0]])]
        per_source[source.key] = {
            "read": dict(zip(("documents", "bytes"), part.read, strict=True)),
            "not_drawn": dict(zip(("documents", "bytes"), part.not_drawn, strict=True)),
            "train": _size(own(corpus.train)),
            "heldout": _size(own(corpus.heldout)),
            "removed": count_reasons(removed),
        }
    return {
        "train": _size(corpus.train),
        "heldout": _size(corpus.heldout),
        "removed": _size([document for document, _ in corpus.removed]) | {"reasons": count_reasons(corpus.removed)},
        "sources": per_source,
        "languages": _count_languages(sources, per_source, corpus),
    }


def _count_languages(sources: Sequence[Source], per_source: dict[str, Any], corpus: Corpus) -> dict[str, Any]:
    """Per language how much there is, and the largest source's share of it, of the kept and of all that was read."""
    languages = {}
    for language in dict.fromkeys(source.language for source in sources):
        keys = [source.key for source in sources if source.language == language]
        kept = {key: per_source[key]["train"]["bytes"] for key in keys}
        read = {key: per_source[key]["read"]["bytes"] for key in keys}
        largest = max(keys, key=lambda key: (kept[key], key))
        languages[language] = {
            "train": _size([d for d in corpus.train if d.language == language]),
            "heldout": _size([d for d in corpus.heldout if d.language == language]),
            "largest_source": largest,
            "largest_share": kept[largest] / max(sum(kept.values()), 1),
            "largest_share_available": read[largest] / max(sum(read.values()), 1),
        }
    return languages


def data_card(title: str, description: str, sources: Sequence[Source], counts: Mapping[str, Any]) -> str:
    """The card in Markdown.

    Args:
        title: its heading.
        description: what the recipe says about the data.
        sources: the recipe's sources.
        counts: what ``count`` found.
    """
    return "\n".join(
        [
            f"# {title}",
            "",
            *([description.strip(), ""] if description.strip() else []),
            *_languages(counts),
            "",
            "## Sources",
            "",
            "| source | kind | version | licence | attribution | SHA-256 |",
            "|---|---|---|---|---|---|",
            *[_source_row(source) for source in sources],
            "",
            "## What was kept",
            "",
            "Not drawn: documents beyond a source's `max_bytes` or `heldout_documents`. They were read and are fit for",
            "use; a uniform sample, drawn by the hash of each document's id, took the others.",
            "",
            "| source | read | not drawn | training | held out | removed |",
            "|---|---:|---:|---:|---:|---:|",
            *[_count_row(source.key, counts["sources"][source.key]) for source in sources],
            "",
            "## What was removed, and why",
            "",
            "The texts are in `removed.jsonl.gz`, each with its reason.",
            "",
            "| source | reason | documents |",
            "|---|---|---:|",
            *_removal_rows(sources, counts),
            "",
            f"Personal data (telephone numbers, addresses, names and the like): {counts['personal_data']}.",
            "",
        ]
    )


def _languages(counts: Mapping[str, Any]) -> list[str]:
    """For each language how much there is, and how much of it one source makes up."""
    lines = []
    for language, part in counts["languages"].items():
        name, share = part["largest_source"], part["largest_share"]
        available = part["largest_share_available"]
        amounts = f"{_amount(part['train'])} for training, {_amount(part['heldout'])} held out"
        line = f"- **{_LANGUAGES[language]}**: {amounts}."
        if share < 1:
            line += f" {share:.0%} of the training text is from {name} ({available:.0%} of all that was read)."
        else:
            line += f" All of the training text is from {name}."
        lines.append(line)
    return lines


def _source_row(source: Source) -> str:
    pinned = f"`{source.sha256}`" if source.sha256 else ""
    cells = [source.key, source.kind, source.version or source.path, source.licence, source.attribution, pinned]
    return "| " + " | ".join(cell.replace("|", "\\|") or "-" for cell in cells) + " |"


def _count_row(key: str, counts: Mapping[str, Any]) -> str:
    cells = [_amount(counts[name]) for name in ("read", "not_drawn", "train", "heldout")]
    return f"| {key} | {' | '.join(cells)} | {sum(counts['removed'].values()):,} |"


def _removal_rows(sources: Sequence[Source], counts: Mapping[str, Any]) -> list[str]:
    rows = [
        f"| {source.key} | {reason} | {number:,} |"
        for source in sources
        for reason, number in counts["sources"][source.key]["removed"].items()
    ]
    return rows or ["| - | nothing was removed | 0 |"]


def _amount(part: Mapping[str, int]) -> str:
    return f"{part['documents']:,} ({part['bytes'] / 1e6:,.2f} MB)"


def _size(documents: Sequence[Document]) -> dict[str, int]:
    return {"documents": len(documents), "bytes": sum(document.bytes for document in documents)}
