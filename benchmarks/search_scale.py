"""How an index grows: build rate, latency of questions and memory, beside bm25s.

    python benchmarks/search_scale.py [--quick] [--passages 1000000] [--dimensions 512] [--precision f16]

The text is real: bills of the Korean National Assembly (the archive that ``recipes/nano/documents.toml`` names), as
files of documents that ``axk1 search build`` reads. Where more passages are asked for than the bills hold, sentences
are dealt anew among the documents of a file. Questions are beginnings of sentences of bills that are not indexed.
Vectors are sums of a vector drawn for each word, so that they cluster as the text does; how long the model takes to
encode a question is a row of its own. Each side runs in a process of its own, and memory is its largest resident set.
"""

import argparse
import functools
import gzip
import json
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import bm25s
import numpy as np
from front import quantile
from harness import Row, arguments, publish, refuse_busy_machine

from axk1.core.config import from_dict, load_toml
from axk1.data.documents import DocumentsConfig
from axk1.data.download import cached_file, fetch_file
from axk1.data.readers import read_source
from axk1.search.build import BuildConfig, build
from axk1.search.documents.sources import Source
from axk1.search.encoders.open import DEFAULT_ENCODER, open_encoder
from axk1.search.index.index import Index
from axk1.search.index.store import Store
from axk1.search.index.words import Words
from axk1.search.retriever import Bounds

RECIPE = Path(__file__).parents[1] / "recipes/nano/documents.toml"
CHARACTERS = 400
"""Most characters of a passage here; they come out at about 300."""
FILE_DOCUMENTS = 5_000
QUESTIONS = 400
GOAL_MS, GOAL_GB = 50.0, 8.0
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


class WordVectors:
    """A vector for each beginning of a word, chosen by its hash; a text is the sum of its words, of length 1."""

    def __init__(self, dimensions: int) -> None:
        """Args: dimensions: length of a vector."""
        self.name, self.dimensions = "drawn-word-vectors", dimensions
        self._drawn = np.random.default_rng(0).standard_normal((1 << 15, dimensions), np.float32)
        self._row = functools.lru_cache(None)(lambda word: zlib.crc32(word.encode()) % len(self._drawn))

    def encode(self, texts: Sequence[str], *, kind: Literal["query", "passage"] = "passage") -> np.ndarray:
        """As ``Encoder.encode``."""
        rows = [[self._row(word[:3]) for word in text.split()] for text in texts]
        found = np.stack([self._drawn[row].sum(axis=0) for row in rows])
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)


def main() -> None:
    """Builds, asks and publishes."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=512)
    parser.add_argument("--precision", choices=["f16", "i8"], default="f16")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.passages = min(options.passages, 10_000)
    if options.side:
        print(json.dumps(SIDES[options.side](options)))
        return
    refuse_busy_machine(options.force)
    with tempfile.TemporaryDirectory() as folder:
        options.folder = Path(folder)
        write_files(options)
        found = {side: measured(side, options) for side in SIDES}
    publish(f"search_scale_{options.passages}", rows(options, found), ("tantivy", "usearch", "kiwipiepy", "bm25s"))


def write_files(options: argparse.Namespace) -> None:
    """Files of documents with as many passages as asked for, and questions."""
    sources = from_dict(DocumentsConfig, load_toml(RECIPE)).source
    source = next(each for each in sources if each.name == "korean-assembly-bills")
    asked = {"sha256": source.sha256}
    archive = cached_file(source.name, source.version, **asked) or fetch_file(
        source.name, source.version, **asked, size=source.archive_bytes
    )
    rng = random.Random(0)
    bills = [document.text for document in read_source(source, archive)]
    rng.shuffle(bills)
    asks = [text for bill in bills[:QUESTIONS] for text in _SENTENCE.split(bill)[1:2]]
    questions = [" ".join(text.split()[:8]) for text in asks if len(text.split()) >= 8]
    (options.folder / "questions.json").write_text(json.dumps(questions, ensure_ascii=False))
    (options.folder / "files").mkdir()
    characters = options.passages * 300
    for number, texts in enumerate(dealt(bills[QUESTIONS:], rng)):
        path = options.folder / "files" / f"{number:04}.jsonl.gz"
        with gzip.open(path, "wt", compresslevel=1, encoding="utf-8") as file:
            for place, text in enumerate(texts):
                date = f"{2000 + place % 25}-01-01"
                file.write(json.dumps({"id": str(place), "text": text, "date": date}, ensure_ascii=False) + "\n")
                characters -= len(text)
                if characters < 0:
                    return


def dealt(bills: list[str], rng: random.Random) -> Iterator[list[str]]:
    """The bills in files; when they are through, again with the sentences of a file dealt anew."""
    for turn in range(1000):
        for start in range(0, len(bills), FILE_DOCUMENTS):
            texts = bills[start : start + FILE_DOCUMENTS]
            if turn:
                parts = [_SENTENCE.split(text) for text in texts]
                pool = [sentence for sentences in parts for sentence in sentences]
                rng.shuffle(pool)
                deal = iter(pool)
                texts = [" ".join(next(deal) for _ in sentences) for sentences in parts]
            yield texts


def measured(side: str, options: argparse.Namespace) -> dict[str, Any]:
    """One side in a process of its own."""
    words = ["--passages", "--dimensions", "--precision", "--threads", "--folder"]
    values = [str(getattr(options, word[2:])) for word in words]
    line = [word for pair in zip(words, values, strict=True) for word in pair]
    done = subprocess.run([sys.executable, __file__, "--side", side, *line], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def build_ours(options: argparse.Namespace) -> dict[str, Any]:
    """The index, as the command builds it."""
    encoder = WordVectors(options.dimensions)
    config = BuildConfig(
        options.folder / "index",
        (Source(options.folder / "files"),),
        most_characters=CHARACTERS,
        precision=options.precision,
        threads=options.threads,
    )
    begun = time.perf_counter()
    build(config)
    words = time.perf_counter() - begun
    build(config, encoder=encoder)
    seconds = time.perf_counter() - begun
    index = Index.open(config.output, encoder=encoder)
    size = sum(path.stat().st_size for path in config.output.rglob("*") if path.is_file())
    return {"passages": len(index), "words": words, "seconds": seconds, "disk": size, "memory": _memory()}


def ask_ours(options: argparse.Namespace) -> dict[str, Any]:
    """The index, asked in the ways that people ask."""
    index = Index.open(options.folder / "index", encoder=WordVectors(options.dimensions))
    words = Index.open(options.folder / "index", vectors=False)
    bounds = Bounds(since="2010-01-01", until="2012-12-31")
    few = Bounds(documents=("files/0000.jsonl.gz#1",))
    ways = {
        "words": lambda question: words.search(question),
        "words and vectors": lambda question: index.search(question),
        "words and vectors, 3 of 25 years": lambda question: index.search(question, bounds=bounds),
        "words and vectors, within a name": lambda question: index.search(question, bounds=few),
    }
    return {"times": {way: _times(ask, options) for way, ask in ways.items()}, "memory": _memory()}


def ask_model(options: argparse.Namespace) -> dict[str, Any]:
    """The time to encode a question with the local default."""
    encoder = open_encoder(DEFAULT_ENCODER)
    return {"times": _times(lambda question: encoder.encode([question], kind="query"), options), "memory": _memory()}


def both_peer(options: argparse.Namespace) -> dict[str, Any]:
    """bm25s over the same passages and the same terms."""
    store, words = Store(options.folder / "index"), Words(options.threads)
    begun, terms, after = time.perf_counter(), [], 0
    vocabulary: dict[str, int] = {}
    while batch := store.passages_after(after, 10_000):
        for each in words.batch(f"{passage.title}\n{passage.text}" for _, passage in batch):
            terms.append([vocabulary.setdefault(term, len(vocabulary)) for term in each])
        after = batch[-1][0]
    retriever = bm25s.BM25(k1=1.2, b=0.75)
    retriever.index((terms, vocabulary), show_progress=False)
    seconds = time.perf_counter() - begun
    del terms

    def ask(question: str) -> None:
        known = [term for term in words.terms(question) if term in vocabulary]
        found, _ = retriever.retrieve([known], k=100, show_progress=False)
        store.passages([int(number) + 1 for number in found[0][:10]])

    return {"seconds": seconds, "times": _times(ask, options), "memory": _memory()}


SIDES = {"build": build_ours, "ask": ask_ours, "model": ask_model, "bm25s": both_peer}


def _times(ask: Any, options: argparse.Namespace) -> list[float]:
    questions = json.loads((options.folder / "questions.json").read_text())
    for question in questions[: len(questions) // 4]:
        ask(question)  # warms up; the rest was not asked before
    taken = []
    for question in questions[len(questions) // 4 :]:
        begun = time.perf_counter()
        ask(question)
        taken.append(1e3 * (time.perf_counter() - begun))
    return taken


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def rows(options: argparse.Namespace, found: dict[str, dict[str, Any]]) -> list[Row]:
    """The table."""
    built, asked, peer = found["build"], found["ask"], found["bm25s"]
    count = built["passages"]
    case = f"{count:,} passages"
    rate, other = count / built["words"], count / peer["seconds"]
    table = [
        Row(case, "built, words", "passages/s", rate, other, "bm25s, terms by us", rate / other, "ours reads and cuts"),
        Row(
            case,
            f"built, {options.dimensions} dimensions too",
            "passages/s",
            count / built["seconds"],
            None,
            "",
            None,
            "",
        ),
        Row(case, "memory of the build", "GB", built["memory"], GOAL_GB, "goal", GOAL_GB / built["memory"], "", 1.0),
        Row(case, "on disk", "GB", built["disk"] / 1e9, None, "", None, ""),
    ]
    for way, taken in asked["times"].items():
        spread = f"{min(taken):.1f} - {max(taken):.1f} ms"
        for name, share in (("p50", 0.5), ("p95", 0.95)):
            own = quantile(taken, share)
            against = quantile(peer["times"], share) if way == "words" else GOAL_MS
            who = "bm25s" if way == "words" else "goal"
            goal = 1.0 if who == "goal" and name == "p95" else None
            table.append(Row(case, f"{way}, {name}", "ms", own, against, who, against / own, spread, goal))
    own = asked["memory"]
    table.append(
        Row(case, "memory when asked", "GB", own, peer["memory"], "bm25s, words alone", peer["memory"] / own, "")
    )
    taken = found["model"]["times"]
    who = f"{DEFAULT_ENCODER} encodes a question"
    table.append(Row(case, "a question's vector, p95", "ms", quantile(taken, 0.95), None, who, None, ""))
    return table


if __name__ == "__main__":
    main()
