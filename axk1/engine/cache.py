"""The key-value cache: what attention keeps of the tokens that it has seen.

Shapes: B sequences, T new tokens, S tokens held.
"""

import torch
from torch import Tensor


class ContiguousCache:
    """One buffer per layer and kind, with room for all tokens of a batch from the start.

    For latent attention a layer's two kinds are latents and rotary keys; for grouped-query attention keys and values.
    """

    def __init__(self, sequences: int, room: int) -> None:
        """Args: sequences: B; room: most tokens that a sequence will hold, its padding counted."""
        self.sequences, self.room, self.length = sequences, room, 0
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}
        self._places: tuple[Tensor, Tensor] | None = None
        self._incoming = 0

    def extend(self, positions_BT: Tensor, segments_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Appends the new tokens' positions and segments and returns those of all tokens held, each [B, S].

        The network calls this once per step, before the layers' ``update``.
        """
        self._places = self._write(self._places, (positions_BT, segments_BT), self.length)
        self._incoming = positions_BT.shape[1]
        self.length += self._incoming
        return self._places[0][:, : self.length], self._places[1][:, : self.length]

    def update(self, layer: int, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Appends a layer's new entries along dimension 1 and returns all that the layer holds."""
        buffers = self._write(self._layers.get(layer), (first, second), self.length - self._incoming)
        self._layers[layer] = buffers
        return buffers[0][:, : self.length], buffers[1][:, : self.length]

    def keep(self, rows: Tensor) -> None:
        """Drops all sequences but these, so that finished ones cost nothing."""
        self._layers = {k: (a[rows], b[rows]) for k, (a, b) in self._layers.items()}
        if self._places is not None:
            self._places = (self._places[0][rows], self._places[1][rows])
        self.sequences = rows.numel()

    def _write(
        self, buffers: tuple[Tensor, Tensor] | None, new: tuple[Tensor, Tensor], start: int
    ) -> tuple[Tensor, Tensor]:
        if buffers is None:
            first, second = (
                torch.empty(self.sequences, self.room, *x.shape[2:], dtype=x.dtype, device=x.device) for x in new
            )
            buffers = (first, second)
        for buffer, values in zip(buffers, new, strict=True):
            buffer[:, start : start + values.shape[1]] = values
        return buffers
