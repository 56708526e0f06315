"""``Encoder``: texts -> vectors whose products say how alike they are."""

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np


class Encoder(Protocol):
    """Whoever turns texts into vectors: a model in this process, or any server with ``/v1/embeddings``."""

    @property
    def name(self) -> str:
        """Which model, with its version or hash; an index remembers it and refuses another."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        ...

    def encode(self, texts: Sequence[str], *, kind: Literal["query", "passage"]) -> np.ndarray:
        """Texts -> float32 [texts, dimensions], rows of length 1.

        Args:
            texts: what to encode.
            kind: a question, or what may answer it; some models prepare them differently.

        Raises:
            AXK1Error: the model cannot be reached.
        """
        ...
