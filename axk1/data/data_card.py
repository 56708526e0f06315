"""The data card: what an artifact of documents holds, where it comes from and under which licences, for a person."""

from collections.abc import Mapping, Sequence
from typing import Any

from axk1.data.sources import Source

_LANGUAGES = {"ko": "Korean", "en": "English", "ja": "Japanese", "zh": "Chinese", "es": "Spanish", "code": "Code"}


def data_card(title: str, description: str, sources: Sequence[Source], counts: Mapping[str, Any]) -> str:
    """The card in Markdown.

    Args:
        title: its heading.
        description: what the recipe says about the data.
        sources: the recipe's sources.
        counts: the manifest's counts, as ``build_documents`` makes them.
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
