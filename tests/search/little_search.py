"""A real retriever in memory: BM25 over a few passages, one of each paragraph."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping

from axk1.search.answers.words import content_words
from axk1.search.passage import DocumentFacts, Hit, Passage
from axk1.search.retriever import Bounds


class LittleSearch:
    """Documents by name; paragraphs are separated by empty lines."""

    def __init__(self, documents: Mapping[str, str], dates: Mapping[str, str] | None = None) -> None:
        self.texts, self.asked = dict(documents), []
        self.passages = []
        for name, text in documents.items():
            start = 0
            for paragraph in text.split("\n\n"):
                span = (start, start + len(paragraph))
                place = f"{name}-{start}"
                self.passages.append(
                    Passage(place, name, name, "", None, *span, paragraph, (dates or {}).get(name, ""))
                )
                start = span[1] + 2
        self._counts = [Counter(word.form for word in content_words(one.text)) for one in self.passages]

    def search(self, question: str, *, limit: int = 10, bounds: Bounds = Bounds()) -> list[Hit]:
        self.asked.append(question)
        scored = [
            Hit(one, self._score(question, counts)) for one, counts in zip(self.passages, self._counts, strict=True)
        ]
        allowed = [hit for hit in scored if hit.score > 0 and hit.passage.document.startswith(bounds.documents or "")]
        return sorted(allowed, key=lambda hit: -hit.score)[:limit]

    def passage(self, id: str) -> Passage | None:
        return next((one for one in self.passages if one.id == id), None)

    def document_text(self, document: str) -> str:
        return self.texts[document]

    def documents(self) -> Iterator[DocumentFacts]:
        return (DocumentFacts(name, name, "", len(text)) for name, text in sorted(self.texts.items()))

    def _score(self, question: str, counts: Counter[str]) -> float:
        score = 0.0
        for form in {word.form for word in content_words(question)}:
            holding = sum(form in other for other in self._counts)
            rarity = math.log(1 + (len(self._counts) - holding + 0.5) / (holding + 0.5))
            score += rarity * counts[form] * 2.2 / (counts[form] + 1.2)
        return score
