"""Choosing documents by the hash of their ids: the same choice on every machine, in any order, on any day."""

import hashlib
import heapq

from axk1.data.document import Document


def draw(document: Document, purpose: str, seed: int) -> float:
    """A number in [0, 1), fixed by the document's id, the purpose and the seed; another purpose draws anew."""
    digest = hashlib.blake2b(document.id.encode("utf-8"), digest_size=8, key=f"{purpose}:{seed}".encode()).digest()
    return int.from_bytes(digest, "big") / 2**64


class Sample:
    """A uniform sample of a stream that no one needs to hold whole: the documents with the smallest draws.

    Keeps the longest run of documents, in the order of their draws, that stays within both limits; memory is that of
    the sample. The result does not depend on the order in which the documents come.

    Args:
        max_bytes: the limit in bytes of UTF-8; None for no limit.
        max_documents: the limit in documents; None for no limit.
    """

    def __init__(self, *, max_bytes: int | None = None, max_documents: int | None = None) -> None:
        self.max_bytes, self.max_documents = max_bytes, max_documents
        self.left_out_documents = self.left_out_bytes = 0
        self._bytes = 0
        self._ceiling = 1.0
        self._heap: list[tuple[float, str, Document, int]] = []

    def add(self, document: Document, drawn: float) -> None:
        """Offers a document with its draw."""
        size = document.bytes
        if drawn >= self._ceiling:
            self._leave_out(size)
            return
        heapq.heappush(self._heap, (-drawn, document.id, document, size))
        self._bytes += size
        while self._heap and self._over():
            negative, _, _, removed = heapq.heappop(self._heap)
            self._ceiling = min(self._ceiling, -negative)
            self._bytes -= removed
            self._leave_out(removed)

    def documents(self) -> list[Document]:
        """The sample, in the order of the draws."""
        return [document for _, _, document, _ in sorted(self._heap, key=lambda item: (-item[0], item[1]))]

    def _over(self) -> bool:
        too_long = self.max_bytes is not None and self._bytes > self.max_bytes
        return too_long or (self.max_documents is not None and len(self._heap) > self.max_documents)

    def _leave_out(self, size: int) -> None:
        self.left_out_documents += 1
        self.left_out_bytes += size
