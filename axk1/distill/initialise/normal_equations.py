"""Least squares over the tokens of a text that need not be held: the matrix that maps inputs nearest to outputs.

Shapes: T tokens, I inputs, O outputs.
"""

import torch
from torch import Tensor

RIDGE = 1e-3
"""Weight of the distance from the start, as a share of the inputs' mean square."""


class NormalEquations:
    """Sums of products over tokens. ``add`` what was seen, then ``solve``."""

    def __init__(self) -> None:
        self.inputs_II = torch.zeros(())
        self.cross_IO = torch.zeros(())

    def add(self, x_TI: Tensor, y_TO: Tensor) -> None:
        """Adds T pairs of an input and the output that is wanted for it."""
        x_TI, y_TO = x_TI.double(), y_TO.double()
        self.inputs_II = self.inputs_II.to(x_TI.device) + x_TI.T @ x_TI
        self.cross_IO = self.cross_IO.to(x_TI.device) + x_TI.T @ y_TO

    def solve(self, start_OI: Tensor | None = None, ridge: float = RIDGE) -> Tensor:
        """The matrix [O, I] of least squares; where the text does not say, it stays near ``start`` (or zero)."""
        weight = ridge * self.inputs_II.diagonal().mean().clamp(min=torch.finfo(torch.float64).tiny)
        system_II = self.inputs_II + weight * torch.eye(len(self.inputs_II), dtype=torch.float64).to(weight.device)
        right_IO = self.cross_IO if start_OI is None else self.cross_IO + weight * start_OI.double().T
        return torch.linalg.solve(system_II, right_IO).T

    def gains(self, weight_OI: Tensor) -> Tensor:
        """For each output of a matrix, the factor on it that comes closest: [O]; 1 for one that is always zero."""
        weight_OI = weight_OI.double()
        agreement_O = (weight_OI * self.cross_IO.T).sum(1)
        energy_O = (weight_OI @ self.inputs_II * weight_OI).sum(1)
        return torch.where(energy_O > 0, agreement_O / energy_O, 1.0)
