"""Rollouts: the answers that a student writes to prompts, as shards, and what the teacher says of them, as a cache.

Both are the artifacts of every other stage, so that packing, lookup and loss need not know who wrote the text.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from axk1.core.artifact import MANIFEST, building, write_manifest
from axk1.core.errors import ArtifactError, Interrupted
from axk1.data.random_order import random_order
from axk1.data.sample_table import Origin, Piece, SampleTable
from axk1.data.shards import KIND, Shards, token_dtype
from axk1.distill.building import CacheBuilder, CachePlan
from axk1.distill.cache import KnowledgeCache
from axk1.distill.capture import fill
from axk1.distill.hidden import MATRIX, HiddenRecords, compact
from axk1.distill.round_scoring import RoundTeacher
from axk1.distill.selection import select_samples
from axk1.engine.llm import LLM

CHUNK_ROWS = 8192
"""Positions in a chunk of a round's cache."""
_AT_ONCE = 64
"""Prompts given to the engine together; between two such groups the work can be stopped."""


@dataclass(frozen=True)
class Prompt:
    """What a student is asked, and where it comes from."""

    ids: np.ndarray
    """The tokens up to the last answer of the conversation."""
    origin: Origin
    """Of the sample that it is the beginning of."""


class Prompts:
    """The prompts of conversations in shards, in an order of their own for every pass.

    Args:
        shards: those with a loss mask hold conversations, the others are left out.
        longest: tokens of the longest prompt to take.
        seed: other seeds give other orders.
    """

    def __init__(self, shards: Sequence[Shards], *, longest: int, seed: int) -> None:
        self._seed = seed
        found = [_prompts(one, longest) for one in shards if one.loss_mask is not None]
        self._all = list(itertools.chain.from_iterable(found))
        if not self._all:
            raise ArtifactError(
                f"the shards hold no conversation whose prompt has at most {longest} tokens",
                repair="raise sequence_length or lower max_new_tokens, or name shards of conversations",
            )

    def __len__(self) -> int:
        return len(self._all)

    def take(self, first: int, count: int) -> list[Prompt]:
        """``count`` prompts from place ``first`` on; after the last one, all come again in another order."""
        taken = []
        for place in range(first, first + count):
            turn, number = divmod(place, len(self._all))
            taken.append(self._all[self._order(turn)[number]])
        return taken

    def _order(self, turn: int) -> np.ndarray:
        return random_order(len(self._all), self._seed, turn, 11)


def write_rollouts(
    folder: Path,
    student: LLM,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    stopped: Callable[[], bool],
) -> None:
    """The student answers the prompts; the shards hold prompt and answer, whose tokens are the targets.

    Args:
        folder: the shards artifact to make.
        student: who writes.
        prompts: what to answer.
        max_new_tokens, temperature: how.
        seed: other seeds give other answers.
        stopped: asked now and then; True ends the work with Interrupted.
    """
    tokenizer, begun = student.tokenizer, 0
    with building(folder) as new, SampleTable(new, token_dtype(tokenizer.vocab_size), has_mask=True) as table:
        ended = 0
        while begun < len(prompts):
            if stopped():
                raise Interrupted("stopped while the student was writing", signal=0)
            group = prompts[begun : begun + _AT_ONCE]
            answers = student.generate(
                [prompt.ids.tolist() for prompt in group],
                max_tokens=max_new_tokens,
                temperature=temperature,
                seed=seed + begun,
            )
            for place, (prompt, answer) in enumerate(zip(group, answers, strict=True), start=begun):
                ids = [*prompt.ids.tolist(), *answer.token_ids]
                mask = [False] * len(prompt.ids) + [True] * len(answer.token_ids)
                table.append(prompt.origin._replace(document=f"rollout-{place}"), 0, Piece(ids, mask), seed=seed)
                ended += answer.finish_reason == "stop"
            begun += len(group)
        counts = {**table.write(new, table.choose(None, {})), "vocab_size": tokenizer.vocab_size, "ended": ended}
        write_manifest(new, kind=KIND, inputs={"tokenizer": tokenizer.content_hash}, counts=counts)


def score_rollouts(folder: Path, rollouts: Shards, teacher: RoundTeacher, teacher_hash: str) -> None:
    """The teacher's states at every position of some rollouts, as a knowledge cache of kind ``hidden``."""
    selection = select_samples([rollouts], [1.0], None)
    records = HiddenRecords(teacher.hidden_size, rollouts.vocab_size)
    rows = selection.lengths - 1
    plan = CachePlan(records, teacher_hash, rollouts.tokenizer_hash, 1.0, selection.keys, rows, CHUNK_ROWS)
    builder = CacheBuilder(folder, plan)
    scorer = teacher.scorer(builder)
    fill(builder, scorer, lambda part: [rollouts.sample(number) for number in selection.sample[part]], None)
    inputs = {"teacher": teacher_hash, "tokenizer": rollouts.tokenizer_hash, "shards": rollouts.manifest.content_hash}
    builder.finish(
        config={},
        inputs=inputs,
        counts={"samples": len(plan.keys), "rows": int(rows.sum())},
        licences={},
        tensors={MATRIX: compact(teacher.output_matrix())},
    )


@dataclass(frozen=True)
class Round:
    """The rollouts of one round and what the teacher says of them."""

    shards: Shards
    """Prompts and answers."""
    cache: KnowledgeCache
    """The teacher at each of their positions."""

    @classmethod
    def open(cls, folder: Path) -> "Round":
        """Opens what ``write_rollouts`` and ``score_rollouts`` have made of a round."""
        return cls(Shards.open(folder / "rollouts"), KnowledgeCache.open(folder / "knowledge"))

    @staticmethod
    def has(folder: Path, part: str) -> bool:
        """Whether a part of a round, ``rollouts`` or ``knowledge``, is there; artifacts appear only when whole."""
        return (folder / part / MANIFEST).is_file()

    @property
    def mean_answer(self) -> float:
        """Tokens of an answer, on average."""
        return self.shards.manifest.counts["targets"] / len(self.shards)

    @property
    def ended(self) -> float:
        """Share of the answers that ended by themselves, before ``max_new_tokens``."""
        return self.shards.manifest.counts["ended"] / len(self.shards)


def _prompts(shards: Shards, longest: int) -> list[Prompt]:
    columns = [shards.column(name) for name in Origin._fields]
    found = []
    for number, origin in enumerate(zip(*columns, strict=True)):
        begin, ids = shards.offsets[number], shards.sample(number)
        mask = np.asarray(shards.loss_mask[begin : begin + len(ids)], bool)
        starts = np.flatnonzero(mask & ~np.concatenate(([False], mask[:-1])))
        if len(starts) and 0 < starts[-1] <= longest:
            found.append(Prompt(np.asarray(ids[: starts[-1]]), Origin(*origin)))
    return found
