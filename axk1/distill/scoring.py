"""A teacher in memory scores samples: the records of a knowledge cache.

Shapes: B samples of a batch, T positions, H hidden size, R records.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from axk1.distill.records import Distributions, TopKRecords
from axk1.distill.topk import top_k_of_states
from axk1.model.transformer import Transformer


class Scorer:
    """Turns samples into records.

    Args:
        teacher: the model, on its device.
        records: the format of the records; the teacher's vocabulary is cut to it, so padding gets no mass.
        temperature: what the logits are divided by.
        precision: ``bf16`` runs the blocks in bf16. The output product is always fp32: bf16 logits would be coarser
            than what the cache can hold.
        batch_tokens: positions that go through the teacher at once.
    """

    def __init__(
        self, teacher: Transformer, records: TopKRecords, *, temperature: float, precision: str, batch_tokens: int
    ) -> None:
        self.teacher, self.records, self.temperature = teacher, records, temperature
        self.precision, self.batch_tokens = precision, batch_tokens
        self._weight_VH = teacher.output_weight.detach()[: records.vocab_size].float()

    @torch.no_grad()
    def score(self, samples: Sequence[np.ndarray], keys: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yields the number of a sample and its records, one for each token but the first, in any order.

        Samples of like length share a batch. Each has a row of its own, so that plain causal attention keeps it from
        the others, and the padding behind it changes nothing. What is drawn from the tail depends on a sample's key
        alone, so that it is the same whatever else is scored.
        """
        lengths = np.array([len(sample) - 1 for sample in samples])
        for batch in batches_by_length(lengths, self.batch_tokens):
            ids_BT = np.zeros((len(batch), lengths[batch].max()), dtype=np.int64)
            for row, number in enumerate(batch):
                ids_BT[row, : lengths[number]] = samples[number][:-1]
            states_BTH = self._states(torch.from_numpy(ids_BT))
            real_BT = torch.arange(ids_BT.shape[1]) < torch.from_numpy(lengths[batch]).unsqueeze(1)
            uniform_RS = np.concatenate([self._uniform(keys[number], lengths[number]) for number in batch])
            records_R = self._records(states_BTH[real_BT.to(states_BTH.device)], torch.from_numpy(uniform_RS))
            yield from zip(batch.tolist(), np.split(records_R, np.cumsum(lengths[batch])[:-1]), strict=True)

    def _states(self, ids_BT: Tensor) -> Tensor:
        device = self._weight_VH.device
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            return self.teacher.hidden(ids_BT.to(device)).states_BTH

    def _uniform(self, key: np.ndarray, rows: int) -> np.ndarray:
        seed = np.random.Philox(key=np.frombuffer(key.tobytes(), np.uint64))
        return 1 - np.random.Generator(seed).random((rows, self.records.tail_samples), dtype=np.float32)

    def _records(self, states_RH: Tensor, uniform_RS: Tensor) -> np.ndarray:
        top = top_k_of_states(
            states_RH.float(),
            self._weight_VH,
            self.records.top_k,
            uniform_RS.to(states_RH.device),
            temperature=self.temperature,
        )
        return self.records.encode(Distributions(*(value.cpu().numpy() for value in vars(top).values())))


def batches_by_length(lengths: np.ndarray, batch_tokens: int) -> Iterator[np.ndarray]:
    """Groups sequences of like length, the longest first, so that rows x longest stays within ``batch_tokens``."""
    order = np.argsort(-lengths, kind="stable")
    while len(order):
        rows = max(batch_tokens // int(lengths[order[0]]), 1)
        yield order[:rows]
        order = order[rows:]
