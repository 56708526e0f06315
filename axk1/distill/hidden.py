"""Kind ``hidden``: the teacher's last hidden state in bf16, and its output matrix once for the whole cache.

With the two the student's trainer makes the teacher's logits again, all of them: exact, but for rounding the state to
bf16, at two bytes for each of its entries.
"""

import itertools
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from axk1.core.config import require
from axk1.core.errors import ArtifactError

MATRIX = "output_matrix.safetensors"


@dataclass(frozen=True)
class HiddenStates:
    """The teacher's states at R positions, after its final norm."""

    states_RH: np.ndarray
    """bf16, as the uint16 that holds its bits: numpy has no bf16."""

    @classmethod
    def of(cls, states_RH: torch.Tensor) -> "HiddenStates":
        """Rounds states to bf16. Raises ValueError where one is not finite."""
        rounded_RH = states_RH.detach().to("cpu", torch.bfloat16)
        if not torch.isfinite(rounded_RH).all():
            raise ValueError("the teacher gives a hidden state that is not finite")
        return cls(rounded_RH.view(torch.uint16).numpy())

    def torch(self) -> torch.Tensor:
        """The states as a bf16 tensor."""
        return torch.from_numpy(np.ascontiguousarray(self.states_RH)).view(torch.bfloat16)


@dataclass(frozen=True)
class HiddenRecords:
    """The record format of kind ``hidden``."""

    hidden_size: int
    """Entries of a state."""
    vocab_size: int
    """Size of the teacher's vocabulary: the rows of its output matrix."""

    kind: ClassVar[str] = "hidden"

    def __post_init__(self) -> None:
        require(self.hidden_size >= 1, "hidden_size", self.hidden_size, "1 or more")

    @property
    def expected_bytes(self) -> float:
        return 2.0 * self.hidden_size

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "hidden_size": self.hidden_size, "vocab_size": self.vocab_size}

    def files(self) -> dict[str, np.ndarray]:
        return {}

    def pack(self, rows: HiddenStates, offsets: np.ndarray) -> tuple[bytes, list[bytes]]:
        states = rows.states_RH.astype("<u2", copy=False)
        return b"", [states[a:b].tobytes() for a, b in itertools.pairwise(offsets)]

    def open_head(self, head: bytes) -> None:
        return None

    def unpack(self, head: None, content: bytes, rows: int) -> np.ndarray:
        if len(content) != 2 * rows * self.hidden_size:
            raise ArtifactError("a sample's bytes do not end where its rows end")
        return np.frombuffer(content, "<u2").reshape(rows, self.hidden_size)

    def rows(self, numbers: np.ndarray) -> HiddenStates:
        return HiddenStates(numbers)


def compact(matrix_VH: torch.Tensor) -> torch.Tensor:
    """The matrix in bf16 where that loses nothing, else as it is; on the CPU, with memory of its own."""
    half_VH = matrix_VH.detach().to("cpu", torch.bfloat16)
    exact = torch.equal(half_VH.float(), matrix_VH.detach().cpu().float())
    return half_VH.contiguous() if exact else matrix_VH.detach().cpu().contiguous().clone()
