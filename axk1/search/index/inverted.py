"""``InvertedIndex``: terms -> passages by BM25 (k1 = 1.2, b = 0.75), kept by tantivy.

It holds numbers, terms, days and document names, no text. Writing is atomic (tantivy's commit), and searching goes on
meanwhile on what was committed before.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import tantivy
from tantivy import FieldType, Occur, Query

from axk1.search.retriever import Bounds

_HEAP = 64_000_000
_SPECIAL = re.compile(r"([\\.+*?()|\[\]{}^$&~\-#])")


class Posting(NamedTuple):
    """One passage for the inverted index."""

    number: int
    terms: Sequence[str]
    document: str
    date: str


class InvertedIndex:
    """An inverted index in a folder, made where there is none."""

    def __init__(self, folder: Path) -> None:
        """Raises ValueError where the folder holds something that tantivy does not read."""
        builder = tantivy.SchemaBuilder()
        builder.add_integer_field("number", indexed=True, fast=True)
        builder.add_integer_field("day", indexed=True, fast=True)
        builder.add_text_field("document", tokenizer_name="raw", index_option="basic")
        builder.add_text_field("words", tokenizer_name="words", index_option="freq")
        self._schema = builder.build()
        folder.mkdir(parents=True, exist_ok=True)
        self._index = tantivy.Index(self._schema, path=str(folder))
        spaces = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build()
        self._index.register_tokenizer("words", spaces)

    def __len__(self) -> int:
        return self._index.searcher().num_docs

    def change(self, added: Iterable[Posting], removed: Sequence[int] = (), *, after: int | None = None) -> None:
        """Adds and removes passages in one commit.

        Args:
            added: new passages.
            removed: numbers to forget.
            after: first forget every number above this one, which a killed writer may have left.
        """
        writer = self._index.writer(_HEAP, 1)
        if after is not None:
            above = Query.range_query(self._schema, "number", FieldType.Integer, after, None, include_lower=False)
            writer.delete_documents_by_query(above)
        for number in removed:
            writer.delete_documents_by_term("number", number)
        for posting in added:
            words = " ".join(posting.terms)
            values = {"number": posting.number, "day": _day(posting.date), "document": posting.document, "words": words}
            writer.add_document(tantivy.Document(**values))
        writer.commit()
        writer.wait_merging_threads()
        self.reload()

    def reload(self) -> None:
        """Sees what other processes have committed."""
        self._index.reload()

    def frequencies(self, terms: Sequence[str]) -> list[int]:
        """How many passages hold each term."""
        searcher = self._index.searcher()
        return [searcher.doc_freq("words", term) for term in terms]

    def search(self, terms: Sequence[str], limit: int, bounds: Bounds = Bounds()) -> dict[int, float]:
        """Numbers of the passages with the highest BM25 and their scores, best first; none without any of the terms."""
        if not terms or limit < 1:
            return {}
        counted = {term: terms.count(term) for term in terms}
        each = [(Occur.Should, self._term(term, count)) for term, count in counted.items()]
        query = Query.boolean_query(each)
        if conditions := list(self._conditions(bounds)):
            free = [(Occur.Must, Query.const_score_query(condition, 0.0)) for condition in conditions]
            query = Query.boolean_query([(Occur.Must, query), *free])
        searcher = self._index.searcher()
        hits = searcher.search(query, limit, count=False).hits
        numbers = searcher.fast_field_values("number", [address for _, address in hits])
        return dict(zip(numbers, (score for score, _ in hits), strict=True))

    def _term(self, term: str, count: int) -> Query:
        query = Query.term_query(self._schema, "words", term, "freq")
        return query if count == 1 else Query.boost_query(query, float(count))

    def _conditions(self, bounds: Bounds) -> Iterable[Query]:
        if bounds.since or bounds.until:
            first, last = _day(bounds.since or "0001-01-01"), _day(bounds.until or "9999-12-31")
            yield Query.range_query(self._schema, "day", FieldType.Integer, first, last)
        if bounds.documents:
            pattern = "|".join(_SPECIAL.sub(r"\\\1", beginning) for beginning in bounds.documents)
            yield Query.regex_query(self._schema, "document", f"({pattern})(.|\\n)*")


def _day(date: str) -> int:
    """2024-03-01 -> 20240301; 0 for documents without a date, which no bounds hold."""
    return int(date.replace("-", "")) if date else 0
