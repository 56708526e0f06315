"""Small encoders of our own that were tried, and how fast an encoder is. They run on numpy and scipy, in seconds.

- ``DistilledTable``: the multilingual encoder's vector of every piece of its vocabulary, kept as a table; a text is the
  mean of its pieces, the rare ones counting more. Its forward is a look-up: fast.
- ``MorphemeSvd``: Kiwi's morphemes of the passages to be searched, tf-idf, and their 256 largest singular directions.
"""

import json
import sys
import time
from collections.abc import Sequence

import numpy as np
import scipy.sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from axk1.search.encoders.open import open_encoder
from axk1.search.encoders.use_multilingual import UseMultilingual
from axk1.search.index.words import Words


class DistilledTable:
    """Pieces -> vectors, as the multilingual encoder gives them to each piece alone; weights a / (a + p) as in SIF."""

    name, dimensions = "own: table distilled from use-multilingual", 512

    def __init__(self, teacher: UseMultilingual, rare: float = 1e-4) -> None:
        self._pieces = teacher._pieces
        vocabulary = [self._pieces.id_to_token(i) for i in range(self._pieces.get_vocab_size())]
        self._table = teacher.encode([piece.strip("\0").replace("▁", " ") for piece in vocabulary], kind="passage")
        frequency = np.exp([score for _, score in json.loads(self._pieces.to_str())["model"]["vocab"]])
        self._table *= (rare / (rare + frequency))[:, None]

    def encode(self, texts: Sequence[str], *, kind: str = "passage") -> np.ndarray:
        ids = [piece.ids for piece in self._pieces.encode_batch(list(texts), add_special_tokens=False)]
        rows = np.repeat(np.arange(len(ids)), [len(each) for each in ids])
        columns = np.concatenate([np.array(each, int) for each in ids])
        bags = scipy.sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), (len(ids), len(self._table)))
        return _rows_of_length_one(bags @ self._table)


class MorphemeSvd:
    """Latent semantic analysis of the passages that it will search."""

    name, dimensions = "own: SVD of Kiwi's tf-idf on the passages themselves", 256

    def __init__(self, passages: Sequence[str], words: Words) -> None:
        self._words = words
        self._weights = TfidfVectorizer(analyzer=words.terms, sublinear_tf=True)
        counts = self._weights.fit_transform(passages)
        self._svd = TruncatedSVD(min(self.dimensions, min(counts.shape) - 1), random_state=0).fit(counts)

    def encode(self, texts: Sequence[str], *, kind: str = "passage") -> np.ndarray:
        return _rows_of_length_one(self._svd.transform(self._weights.transform(texts)))


def _rows_of_length_one(x: np.ndarray) -> np.ndarray:
    return (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)).astype(np.float32)


def passages_a_second(passages: Sequence[str], seconds: float = 5) -> float:
    """How many passages the default encoder encodes in a second, with the threads that numpy was started with."""
    encoder = open_encoder()
    encoder.encode(passages[:32], kind="passage")
    begun, done = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        done += len(encoder.encode(passages[done % 512 : done % 512 + 64], kind="passage"))
    return done / (time.perf_counter() - begun)


if __name__ == "__main__":  # a process of its own, since threads are counted when numpy is loaded
    print(passages_a_second(sys.stdin.read().split("\0")))
