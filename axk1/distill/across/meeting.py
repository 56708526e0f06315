"""Where a batch of the student's samples meets what a cache of another tokenizer says of the same text.

From a step's samples follow the stretch of the line that they cover, the teacher's samples there, the spans that both
cut alike, and for each span what the teacher says:

- *a distribution*, where the span is one token on either side: the teacher's most probable next tokens, as far as
  the student has tokens that spell the same. All other mass, the teacher's tail included, is one entry: the rest.
- *a probability* of the span, for all others: the product over the teacher's tokens of it.

The teacher read its own sample and the student reads its own, which may begin elsewhere in a long text.

Shapes: N positions of the batch, n tokens taught by a distribution, K stored tokens, s spans, m tokens of these.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from axk1.core.errors import ArtifactError
from axk1.data.shards import Shards
from axk1.distill.across.alignment import Spans, Stretch, align, members, span_sums
from axk1.distill.across.line import UNMATCHED, Side, Tokens, lay_out
from axk1.distill.across.spelling import ABSENT, Spellings
from axk1.distill.cache import KnowledgeCache
from axk1.distill.records import Distributions
from axk1.distill.selection import keep_samples
from axk1.distill.text_records import TextDistributions
from axk1.tokenizer.tokenizer import Tokenizer

HALF = 0.5
"""A student's sample is kept where the cache covers at least this share of it."""


@dataclass(frozen=True)
class Lesson:
    """What the teacher says of a batch."""

    places_n: np.ndarray
    """Position of the batch (row x width + column) of each token that a distribution teaches."""
    ids_nK: np.ndarray
    """The student's tokens, or ``ABSENT``."""
    log_probs_nK: np.ndarray
    """What the teacher gives them, fp32; -inf where absent."""
    log_rest_n: np.ndarray
    """Log of the mass of everything else."""
    span_places_m: np.ndarray
    """Position of each token of the other spans."""
    spans_m: np.ndarray
    """The span that it belongs to."""
    span_log_probs_s: np.ndarray
    """The teacher's log-probability of each span, fp32."""
    symbols: tuple[int, int]
    """Bytes of the batch that are taught, and all."""


class Meeting:
    """A cache, the teacher's shards and the student's shards, matched text by text.

    Args:
        cache: what the teacher said; made at temperature 1.
        teacher_shards: what it was made from.
        student_shards: the same texts in the student's tokens.
        teacher, student: the tokenizers.
        longest: spans of more bytes are left out.
    """

    def __init__(
        self, cache: KnowledgeCache, teacher_shards: Sequence[Shards], student_shards: Sequence[Shards], *,
        teacher: Tokenizer, student: Tokenizer, longest: int,
    ) -> None:  # fmt: skip
        self.cache, self.longest = cache, longest
        self.spellings = Spellings.of(teacher, student)
        self.teacher = Side(teacher_shards, self.spellings.teacher, teacher.bos_id)
        self.student = Side(student_shards, self.spellings.student, student.bos_id)
        self.line = lay_out(self.teacher, self.student)
        self._keys = np.concatenate([one.keys for one in teacher_shards])
        known = (self.teacher.places != UNMATCHED) & cache.contains(self._keys)
        by_place = np.argsort(self.teacher.places[known], kind="stable")
        self._cached = np.flatnonzero(known)[by_place]
        self._starts = self.teacher.places[self._cached]
        self._ends = self._starts + self.teacher.lengths[self._cached]
        self._kept = [np.arange(len(one)) for one in student_shards]

    def narrow(self) -> list[Shards]:
        """The student's shards with only those samples that the cache covers for at least the half."""
        covered = self._covered() >= HALF * np.maximum(self.student.lengths, 1)
        held = np.split(covered, self.student.first[1:-1])
        self._kept = [np.flatnonzero(one) for one in held]
        return [keep_samples(shards, one) for shards, one in zip(self.student.shards, held, strict=True)]

    def lesson(self, samples: np.ndarray, width: int) -> Lesson:
        """What the teacher says of some samples.

        Args:
            samples: (row, column, shard, sample, length) of each, counted in the narrowed shards.
            width: positions of a row.
        """
        numbers = np.array([self._kept[one["shard"]][one["sample"]] for one in samples], np.int64)
        numbers += self.student.first[samples["shard"]]
        turns = _turns(numbers) * (self.line.symbols + 1)  # a sample that comes twice lies on a line of its own
        order = np.argsort(self.student.places[numbers] + turns, kind="stable")
        samples, numbers, turns = samples[order], numbers[order], turns[order]
        mine = self.student.tokens(numbers)
        here = self.student.places[numbers] + turns
        one = _stretch(mine, here)
        theirs, other, rows, said = self._said(numbers, turns)
        spans = align(one, other)
        spans = spans[spans.ends - spans.starts <= self.longest]
        # A model says nothing of its first token.
        heard = span_sums(mine.positions == 0, spans, 0) + span_sums(theirs.positions == 0, spans, 1) == 0
        spans = spans[heard]
        base = samples["row"].astype(np.int64) * width + samples["column"]
        places = base[mine.samples] + mine.positions - 1
        taught = int((spans.ends - spans.starts).sum()), int(mine.lengths.sum())
        return self._lesson(spans, places, theirs.ids, rows, said, taught)

    def _lesson(
        self, spans: Spans, places: np.ndarray, text: np.ndarray, rows: np.ndarray, said: Distributions,
        symbols: tuple[int, int],
    ) -> Lesson:  # fmt: skip
        """Sorts spans into those with a distribution and those with a probability."""
        single = np.flatnonzero((spans.tokens == 1).all(axis=0))
        at = rows[spans.first[1][single]]
        ids_nK = self.spellings.student_of_teacher_V[said.ids_RK[at]]
        known = (ids_nK != ABSENT).any(axis=1)
        is_single = np.zeros(len(spans), bool)
        is_single[single[known]] = True
        at, ids_nK, alone = at[known], ids_nK[known], spans[is_single]
        p_nK = np.exp(said.log_probs_RK[at])
        lost_n = (p_nK * (ids_nK == ABSENT)).sum(axis=1)
        log_probs_nK = np.where(ids_nK == ABSENT, -np.inf, said.log_probs_RK[at]).astype(np.float32)
        log_rest_n = np.log(np.exp(said.log_tail_R[at]) + lost_n + 1e-30).astype(np.float32)
        rest = spans[~is_single] if isinstance(said, TextDistributions) else spans[:0]
        tokens, owner = members(rest, 0)
        log_probs = np.zeros(len(text))
        if isinstance(said, TextDistributions):
            heard = np.flatnonzero(rows >= 0)
            log_probs[heard] = _take(said, rows[heard]).of_text(text[heard])
        return Lesson(
            places[alone.first[0]], ids_nK, log_probs_nK, log_rest_n,
            places[tokens], owner, span_sums(log_probs, rest, 1).astype(np.float32), symbols,
        )  # fmt: skip

    def _said(self, numbers: np.ndarray, turns: np.ndarray) -> tuple[Tokens, Stretch, np.ndarray, Distributions]:
        """The teacher's tokens on the student's samples: tokens, where they lie, each one's row, and the rows."""
        starts = self.student.places[numbers]
        ends = starts + self.student.lengths[numbers]
        low = np.searchsorted(self._ends, starts, side="right")
        high = np.maximum(np.searchsorted(self._starts, ends, side="left"), low)
        counts = high - low
        touched = np.arange(counts.sum()) + np.repeat(low - np.cumsum(counts) + counts, counts)
        turn = np.repeat(turns, counts)
        pairs = np.unique(np.column_stack((turn, touched)), axis=0)
        samples = self._cached[pairs[:, 1]]
        theirs = self.teacher.tokens(samples)
        other = _stretch(theirs, self.teacher.places[samples] + pairs[:, 0])
        if not len(samples):
            raise ArtifactError(
                f"the knowledge cache {str(self.cache.folder)!r} says nothing of a batch", repair="a larger batch"
            )
        found = self.cache.lookup(self._keys[samples])
        rows = found.offsets[theirs.samples] + theirs.positions - 1
        return theirs, other, np.where(theirs.positions > 0, rows, -1), found.rows

    def _covered(self) -> np.ndarray:
        """Symbols of each of the student's samples that lie in cached samples of the teacher."""
        before = np.concatenate(([0], np.cumsum(self._ends - self._starts)))

        def up_to(place: np.ndarray) -> np.ndarray:
            number = np.searchsorted(self._starts, place, side="right")
            last = np.maximum(number - 1, 0)
            beyond = np.maximum(self._ends[last] - place, 0) if len(self._ends) else 0
            return before[number] - np.where(number > 0, beyond, 0)

        places = np.maximum(self.student.places, 0)
        covered = up_to(places + self.student.lengths) - up_to(places)
        return np.where(self.student.places == UNMATCHED, 0, covered)


def _stretch(tokens: Tokens, places: np.ndarray) -> Stretch:
    starts = places[tokens.samples] + tokens.starts
    return Stretch(starts, starts + tokens.lengths, tokens.samples)


def _turns(numbers: np.ndarray) -> np.ndarray:
    """How often each number came before."""
    order = np.argsort(numbers, kind="stable")
    found = np.empty(len(numbers), np.int64)
    found[order] = np.arange(len(numbers)) - np.searchsorted(numbers[order], numbers[order])
    return found


def _take(rows: TextDistributions, which: np.ndarray) -> TextDistributions:
    return TextDistributions(*(values[which] for values in vars(rows).values()))
