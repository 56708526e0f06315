"""A teacher in memory scores samples: the rows of a knowledge cache.

Shapes: B samples of a batch, T positions, H hidden size, V vocabulary, R rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from axk1.core.errors import ConfigError
from axk1.distill.hidden import HiddenRecords, HiddenStates
from axk1.distill.records import Distributions, Records, TopKRecords
from axk1.distill.sampled import Draws, SampledRecords
from axk1.distill.text_records import TextDistributions, TextTopKRecords
from axk1.distill.topk import draws_of_states, log_probs_of, top_k_of_states


class Teacher(Protocol):
    """A model in memory whose logits are its states times its output matrix."""

    weight_VH: Tensor | None
    """The output matrix on the teacher's device, fp32, cut to the vocabulary; None where ``states`` gives logits."""

    def states(self, ids_BT: Tensor) -> Tensor:
        """The states after the final norm at every position [B, T, H], or, without a matrix, the logits [B, T, V]."""


class SampleScorer(Protocol):
    """Whatever turns samples into rows: a model in memory or on disk, or a server."""

    rows_at_once: int
    """Chunks are given together up to so many rows; 0 has each come alone."""

    def score(self, samples: Sequence[np.ndarray], keys: np.ndarray) -> Iterator[tuple[int, Any]]:
        """Yields the number of a sample and its rows, one for each token but the first, in any order."""


class Scorer:
    """Turns samples into the rows of a kind.

    Args:
        teacher: the model, on its device, its vocabulary cut to that of the records, so that padding gets no mass.
        records: the kind.
        temperature: what the logits are divided by.
        batch_tokens: positions that go through the teacher at once.
    """

    rows_at_once = 0

    def __init__(self, teacher: Teacher, records: Records, *, temperature: float, batch_tokens: int) -> None:
        self.teacher, self.records = teacher, records
        self.temperature, self.batch_tokens = temperature, batch_tokens

    @torch.no_grad()
    def score(self, samples: Sequence[np.ndarray], keys: np.ndarray) -> Iterator[tuple[int, Any]]:
        """Yields the number of a sample and its rows, one for each token but the first, in any order.

        What is drawn depends on a sample's key alone, so that it is the same whatever else is scored.
        """
        lengths = np.array([len(sample) - 1 for sample in samples])
        for batch, states_RH in states_of_samples(self.teacher, samples, self.batch_tokens):
            uniform_RS = uniform_of_samples(self.records, keys[batch], lengths[batch].tolist())
            text_R = torch.from_numpy(np.concatenate([samples[number][1:] for number in batch]).astype(np.int64))
            rows = rows_of_states(
                self.records, states_RH, self.teacher.weight_VH, torch.from_numpy(uniform_RS), self.temperature, text_R
            )
            yield from zip(batch.tolist(), split_rows(rows, lengths[batch].tolist()), strict=True)


def uniform_of_samples(records: Records, keys: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """Numbers above 0, up to 1, that decide which tokens are drawn at the rows of some samples [R, S].

    They depend on a sample's key alone.
    """
    draws = 0
    match records:
        case TopKRecords(tail_samples=draws) | SampledRecords(draws=draws):
            pass
    return np.concatenate([_uniform(key, rows, draws) for key, rows in zip(keys, lengths, strict=True)])


def split_rows(rows: Any, lengths: Sequence[int]) -> list[Any]:
    """Rows of several samples, one after the other, as those of each."""
    ends = np.cumsum(lengths)[:-1]
    columns = [np.split(getattr(rows, one.name), ends) for one in fields(rows)]
    return [type(rows)(*each) for each in zip(*columns, strict=True)]


def states_of_samples(
    teacher: Teacher, samples: Sequence[np.ndarray], batch_tokens: int
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Yields the numbers of some samples and their states at all positions but the last, one after the other.

    Samples of like length share a batch. Each has a row of its own, so that plain causal attention keeps it from
    the others, and the padding behind it changes nothing.
    """
    lengths = np.array([len(sample) - 1 for sample in samples])
    for batch in batches_by_length(lengths, batch_tokens):
        ids_BT = np.zeros((len(batch), lengths[batch].max()), dtype=np.int64)
        for row, number in enumerate(batch):
            ids_BT[row, : lengths[number]] = samples[number][:-1]
        states_BTH = teacher.states(torch.from_numpy(ids_BT))
        real_BT = torch.arange(ids_BT.shape[1]) < torch.from_numpy(lengths[batch]).unsqueeze(1)
        yield batch, states_BTH[real_BT.to(states_BTH.device)]


def rows_of_states(
    records: Records, states_RH: Tensor, weight_VH: Tensor | None, uniform_RS: Tensor, temperature: float,
    text_R: Tensor | None = None, *, chunk: int | None = None,
) -> Any:  # fmt: skip
    """The rows of a kind from the teacher's states, where ``text_R`` are the tokens that follow in the text.

    Of the kinds, ``hidden`` takes no draws and no temperature. ``chunk`` is how many rows have logits at a time.
    """
    if isinstance(records, HiddenRecords):
        return HiddenStates.of(states_RH)
    uniform_RS, states_RH = uniform_RS.to(states_RH.device), states_RH.float()
    if isinstance(records, SampledRecords):
        drawn_RS, entropy_R = draws_of_states(states_RH, weight_VH, uniform_RS, temperature=temperature, chunk=chunk)
        return Draws.of(drawn_RS.cpu().numpy(), entropy_R.cpu().numpy())
    if not isinstance(records, TopKRecords):
        raise TypeError(f"no rows of kind {records.kind!r} come from states")
    top = top_k_of_states(states_RH, weight_VH, records.top_k, uniform_RS, temperature=temperature, chunk=chunk)
    columns = [value.cpu().numpy() for value in vars(top).values()]
    if not isinstance(records, TextTopKRecords):
        return Distributions(*columns)
    if text_R is None:
        raise ConfigError("kind = 'topk_text' needs the text beside the states", repair="set kind = 'topk' or 'hidden'")
    text_log_probs_R = log_probs_of(text_R.to(states_RH.device), states_RH, weight_VH, top, temperature)
    return TextDistributions.of(Distributions(*columns), text_R.numpy(), text_log_probs_R.cpu().numpy())


def _uniform(key: np.ndarray, rows: int, draws: int) -> np.ndarray:
    """Numbers above 0, up to 1 [rows, draws], that follow from a sample's key."""
    seed = np.random.Philox(key=np.frombuffer(key.tobytes(), np.uint64))
    return 1 - np.random.Generator(seed).random((rows, draws), dtype=np.float32)


def batches_by_length(lengths: np.ndarray, batch_tokens: int) -> Iterator[np.ndarray]:
    """Groups sequences of like length, the longest first, so that rows x longest stays within ``batch_tokens``."""
    order = np.argsort(-lengths, kind="stable")
    while len(order):
        rows = max(batch_tokens // int(lengths[order[0]]), 1)
        yield order[:rows]
        order = order[rows:]
