"""Two shards of the same texts in different tokens, laid on one line of symbols.

Texts are matched by their ids, and believed only where their symbols are equal, one by one, as far as both go (shards
may be limited in size). The line holds one text behind the other with a gap between; a sample is a stretch of it.
Nothing of the text itself is kept: a token's place follows from where its sample begins.

Shapes: n samples, d texts, m tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from axk1.data.piece_order import piece_numbers, text_key
from axk1.data.shards import Shards
from axk1.distill.across.spelling import Spelling

UNMATCHED = -1
_BLOCK = 1 << 22
"""Symbols compared at once."""


@dataclass(frozen=True)
class Tokens:
    """Some samples' tokens, but for those that begin a document and so stand for nothing."""

    ids: np.ndarray
    """[m], int64."""
    samples: np.ndarray
    """Which of the samples asked for [m]."""
    positions: np.ndarray
    """Place in the sample [m]; the teacher's and the student's models say nothing of place 0."""
    starts: np.ndarray
    """First symbol, counted from the sample's own [m]."""
    lengths: np.ndarray
    """Symbols of each [m]."""


@dataclass
class Side:
    """The samples of the teacher's or the student's shards, counted through all folders."""

    shards: Sequence[Shards]
    spellings: dict[bool, Spelling]
    bos_id: int
    """A sample that begins with it begins with nothing."""
    places: np.ndarray = field(init=False)
    """Where each sample begins on the line [n], int64, or ``UNMATCHED``."""
    lengths: np.ndarray = field(init=False)
    """Symbols of each sample [n], int64."""

    def __post_init__(self) -> None:
        self.first = np.concatenate(([0], np.cumsum([len(one) for one in self.shards]))).astype(np.int64)
        self.lengths = np.concatenate([self._symbols(one) for one in self.shards])
        self.places = np.full(len(self.lengths), UNMATCHED, np.int64)

    def __len__(self) -> int:
        return len(self.lengths)

    def tokens(self, samples: np.ndarray) -> Tokens:
        """The tokens of samples, in the order asked for."""
        pieces, which = [], np.searchsorted(self.first, samples, side="right") - 1
        for number, sample in zip(which, samples - self.first[which], strict=True):
            pieces.append(self.shards[number].sample(sample))
        counts = np.array([len(piece) for piece in pieces], np.int64)
        ids = np.concatenate([*pieces, np.zeros(0, np.int64)]).astype(np.int64)
        owner = np.repeat(np.arange(len(samples)), counts)
        positions = np.arange(len(ids)) - np.repeat(np.cumsum(counts) - counts, counts)
        lengths = np.where((positions == 0) & (ids == self.bos_id), 0, self.spellings[True].lengths_V[ids])
        ends = np.cumsum(lengths)
        starts = ends - lengths - np.repeat((ends - lengths)[positions == 0], counts)
        kept = lengths > 0
        return Tokens(ids[kept], owner[kept], positions[kept], starts[kept], lengths[kept])

    def spell(self, samples: np.ndarray) -> np.ndarray:
        """The symbols of samples, one sample after the other."""
        which = np.searchsorted(self.first, samples, side="right") - 1
        kinds = np.array([one.loss_mask is None for one in self.shards])
        tokens = self.tokens(samples)
        texts = kinds[which][tokens.samples]
        whole = self.spellings[True].spell(tokens.ids)
        if not texts.all():  # lengths are equal, only the end of a text is spelt otherwise
            chat = np.repeat(~texts, tokens.lengths)
            whole[chat] = self.spellings[False].spell(tokens.ids)[chat]
        return whole

    def _symbols(self, shards: Shards) -> np.ndarray:
        """Symbols of each sample."""
        if not len(shards):
            return np.zeros(0, np.int64)
        lengths_V = self.spellings[True].lengths_V
        found = np.empty(len(shards), np.int64)
        step = 1 << 14
        for begin in range(0, len(shards), step):
            offsets, sizes = shards.offsets[begin : begin + step], shards.lengths[begin : begin + step]
            tokens = shards.tokens[offsets[0] : offsets[-1] + sizes[-1]]
            first = tokens[offsets - offsets[0]]
            sums = np.add.reduceat(lengths_V[tokens], offsets - offsets[0])
            found[begin : begin + step] = sums - np.where(first == self.bos_id, lengths_V[first], 0)
        return found


@dataclass(frozen=True)
class Line:
    """How long the line is and how many texts lie on it."""

    symbols: int
    """Symbols of the line with its gaps."""
    texts: int
    """Texts that both sides hold."""
    different: int
    """Texts of the same id whose symbols differ; they are left out."""


def lay_out(teacher: Side, student: Side) -> Line:
    """Finds each sample's place on the line that the two sides share, and sets ``places`` on both."""
    names: dict[str, int] = {}
    parts = [_texts(side, names) for side in (teacher, student)]
    totals_2d = np.stack([np.bincount(one.texts, side.lengths, minlength=len(names)).astype(np.int64)
                          for one, side in zip(parts, (teacher, student), strict=True)])  # fmt: skip
    common_d = totals_2d.min(axis=0)
    equal_d = common_d > 0
    different_d = np.zeros(len(names), bool)
    for block in _blocks(np.flatnonzero(equal_d), common_d):
        streams = [one.stream(side, block, common_d) for one, side in zip(parts, (teacher, student), strict=True)]
        owner = np.repeat(block, common_d[block])
        different_d[owner[streams[0] != streams[1]]] = True
    equal_d &= ~different_d
    base_d = np.cumsum(np.where(equal_d, totals_2d.max(axis=0) + 1, 0))
    length = int(base_d[-1]) if len(base_d) else 0
    base_d -= np.where(equal_d, totals_2d.max(axis=0) + 1, 0)
    for one, side in zip(parts, (teacher, student), strict=True):
        side.places = np.where(equal_d[one.texts], base_d[one.texts] + one.starts, UNMATCHED)
    return Line(length, int(equal_d.sum()), int(different_d.sum()))


@dataclass(frozen=True)
class _Texts:
    """The text of each sample and where in it the sample begins."""

    texts: np.ndarray
    starts: np.ndarray
    order: np.ndarray
    """The samples, text by text and piece by piece."""
    first_d: np.ndarray
    """Where each text's samples begin in that order [d + 1]."""

    def stream(self, side: Side, texts: np.ndarray, common_d: np.ndarray) -> np.ndarray:
        """The symbols of some texts, each as far as both sides go."""
        samples = np.concatenate([self.order[self.first_d[text] : self.first_d[text + 1]] for text in texts])
        symbols, owner = side.spell(samples), np.repeat(self.texts[samples], side.lengths[samples])
        place = np.arange(len(symbols)) - np.repeat(
            np.cumsum(side.lengths[samples]) - side.lengths[samples] - self.starts[samples], side.lengths[samples]
        )
        return symbols[place < common_d[owner]]


def _texts(side: Side, names: dict[str, int]) -> _Texts:
    texts, pieces = [], []
    for shards in side.shards:
        documents = shards.column("document")
        numbers = np.array([names.setdefault(name, len(names)) for name in documents], np.int64)
        local, compact = np.unique(numbers, return_inverse=True)
        own = {number: name for name, number in zip(documents, numbers.tolist(), strict=True)}
        seed = int(shards.manifest.config.get("seed", 0))
        keys = np.array([text_key(own[number], seed) for number in local.tolist()], np.uint64)
        texts.append(numbers)
        pieces.append(piece_numbers(compact, keys))
    texts_n, pieces_n = np.concatenate(texts), np.concatenate(pieces)
    order = np.lexsort((pieces_n, texts_n))
    first_d = np.searchsorted(texts_n[order], np.arange(len(names) + 1))
    ends = np.cumsum(side.lengths[order])
    starts = np.empty_like(side.lengths)
    before = np.concatenate(([0], ends))
    starts[order] = ends - side.lengths[order] - before[first_d[texts_n[order]]]
    return _Texts(texts_n, starts, order, first_d)


def _blocks(texts: np.ndarray, common_d: np.ndarray) -> list[np.ndarray]:
    """The texts in groups of about ``_BLOCK`` symbols."""
    if not len(texts):
        return []
    groups = np.cumsum(common_d[texts]) // _BLOCK
    return np.split(texts, np.flatnonzero(np.diff(groups)) + 1)
