"""Where a run came from: machine, versions, commands, sources and licences, from the manifests of its artifacts."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from axk1.core.artifact import Manifest
from axk1.core.progress import human
from axk1.eval.report.words import Words

Stages = Sequence[tuple[str, Manifest]]
"""(path within the run folder, manifest), in the order of the stages."""


@dataclass(frozen=True)
class Source:
    """One source of documents, as the data card names it."""

    name: str
    training: str
    """Documents and megabytes that went into training; empty when not counted."""
    held_out: str
    licence: str
    """Licence and attribution."""


def machine() -> list[tuple[Words, str]]:
    """This machine in words: processor, cores that may be used, memory, operating system."""
    rows = [
        (Words("processor", "프로세서"), _processor()),
        (Words("cores", "코어"), str(_cores())),
        (Words("memory", "메모리"), _memory()),
        (Words("system", "운영체제"), f"{platform.system()} {platform.release()} ({platform.machine()})"),
    ]
    return [(name, value) for name, value in rows if value]


def versions(stages: Stages) -> list[tuple[str, str]]:
    """Package versions and the project's commit; where stages differ, all that were used."""
    found: dict[str, list[str]] = {}
    for _, manifest in stages:
        for name, version in {**manifest.versions, "commit": manifest.commit[:12]}.items():
            if version and version not in found.setdefault(name, []):
                found[name].append(str(version))
    return [(name, ", ".join(values)) for name, values in found.items() if values]


def commands(stages: Stages) -> list[str]:
    """The command lines that made the artifacts, each once, in order."""
    return list(dict.fromkeys(manifest.command for _, manifest in stages if manifest.command))


def sources(shared: Mapping[str, Manifest]) -> list[Source]:
    """The sources of documents and conversations with what was kept of each, licence and attribution."""
    found = []
    for name in ("documents", "conversations"):
        if name in shared:
            counts = _table(shared[name].counts, "sources")
            for key, text in shared[name].licences.items():
                own = _table(counts, key)
                found.append(Source(key, _kept(_table(own, "train")), _kept(_table(own, "heldout")), str(text)))
    return found


def counts_in_words(counts: Mapping[str, Any]) -> str:
    """Counts on one line: ``tokens 4.56 M · by mode: think 100, no think 90``; deeper tables have their own place."""
    words = []
    for key, value in counts.items():
        name = key.replace("_", " ")
        if isinstance(value, Mapping):
            if value and all(_is_short(v) for v in value.values()):
                words.append(f"{name}: {', '.join(f'{k} {_amount(v)}' for k, v in value.items())}")
        elif _is_short(value):
            words.append(f"{name} {_amount(value)}")
    return " · ".join(words)


def _is_short(value: Any) -> bool:
    return isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 32)


def _table(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = values.get(key)
    return found if isinstance(found, Mapping) else {}


def _kept(counts: Mapping[str, Any]) -> str:
    documents, size = counts.get("documents"), counts.get("bytes")
    if not isinstance(documents, int):
        return ""
    return f"{documents:,} ({size / 1e6:,.2f} MB)" if isinstance(size, int) else f"{documents:,}"


def _amount(value: Any) -> str:
    return human(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _cores() -> int:
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return ""
    return f"{size / 1e9:.0f} GB"
