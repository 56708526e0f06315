"""What a student is taught with: the teacher's distribution at N positions, whole, in short, or by samples.

    HiddenTargets    its last states and its output matrix; the logits are made chunk by chunk    every divergence
    TopKTargets      its K most probable tokens and its tail                                      every divergence
    SampledTargets   tokens drawn from it                                                         the forward KL

Drawn tokens estimate a sum over p without bias; only the forward KL is such a sum, so the others are refused there.

Vocabularies are often padded to a round size. Columns beyond the teacher's vocabulary are tokens that it never says.
Rows of the teacher beyond the student's vocabulary are no tokens at all: the teacher is taken as it speaks when it is
none of them (``within``).

Shapes: N positions, C of one chunk, J teacher's hidden size, V vocabulary, K stored tokens, S drawn tokens.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from axk1.core.config import require
from axk1.distill.divergence import NAMES, Divergence

ABSENT = -1
"""The id of an entry whose token the student does not have."""
NEVER = -1e30
"""A logit whose probability is zero; finite, so that zero times it is zero."""


@dataclass(frozen=True)
class HiddenTargets:
    """The teacher's last states and its output matrix: its whole distribution, at any temperature."""

    states_NJ: Tensor
    """Its last states."""
    weight_VJ: Tensor
    """Its output matrix."""

    divergences: ClassVar[tuple[str, ...]] = NAMES

    def __len__(self) -> int:
        return len(self.states_NJ)

    def __getitem__(self, rows: slice | Tensor) -> "HiddenTargets":
        """The targets of some of the positions."""
        return HiddenTargets(self.states_NJ[rows], self.weight_VJ)

    @property
    def vocab_size(self) -> int:
        """Size of the teacher's vocabulary."""
        return len(self.weight_VJ)

    def within(self, vocab_size: int) -> "HiddenTargets":
        """The teacher without the tokens beyond a vocabulary."""
        return HiddenTargets(self.states_NJ, self.weight_VJ[:vocab_size])

    def logits(self, temperature: float, *, out: Tensor) -> Tensor:
        """Its logits, divided by the temperature, in ``out`` [C, V]; ``NEVER`` beyond its vocabulary."""
        known = out[:, : self.vocab_size]
        if self.weight_VJ.dtype == out.dtype:
            torch.mm(self.states_NJ.to(out.dtype), self.weight_VJ.t(), out=known)
        else:
            known.copy_(torch.mm(self.states_NJ.to(self.weight_VJ.dtype), self.weight_VJ.t()))
        if temperature != 1:
            known.div_(temperature)
        out[:, self.vocab_size :] = NEVER
        return out


@dataclass(frozen=True)
class TopKTargets:
    """The teacher's distribution in short, at the temperature of the loss."""

    ids_NK: Tensor
    """Its K most probable tokens, each once; or ``ABSENT``."""
    log_probs_NK: Tensor
    """Their natural log-probabilities."""
    log_tail_N: Tensor
    """Log of the mass of all its other tokens; -inf where there is none."""
    tail_ids_NS: Tensor
    """Tokens drawn from these by their probability; one can come several times, and S can be 0."""
    entropy_N: Tensor
    """Entropy of the whole distribution, in nats; read only where S is above 0."""
    vocab_size: int
    """Size of its vocabulary: no tokens beyond it exist for the teacher."""

    divergences: ClassVar[tuple[str, ...]] = NAMES

    def __len__(self) -> int:
        return len(self.ids_NK)

    def __getitem__(self, rows: slice | Tensor) -> "TopKTargets":
        """The targets of some of the positions."""
        parts = (self.ids_NK, self.log_probs_NK, self.log_tail_N, self.tail_ids_NS, self.entropy_N)
        return TopKTargets(*(part[rows] for part in parts), self.vocab_size)

    def within(self, vocab_size: int) -> "TopKTargets":
        """The teacher without the tokens beyond a vocabulary, as far as it is known; the rest sums to one again."""
        if self.vocab_size <= vocab_size:
            return self
        absent_NK = self.ids_NK >= vocab_size
        p_NK = self.log_probs_NK.exp()
        lost_N, lost_surprise_N = ((x * absent_NK).sum(1) for x in (p_NK, -torch.xlogy(p_NK, p_NK)))
        log_kept_N = torch.log1p(-lost_N)
        return TopKTargets(
            self.ids_NK.masked_fill(absent_NK, ABSENT),
            self.log_probs_NK.masked_fill(absent_NK, float("-inf")) - log_kept_N.unsqueeze(1),
            self.log_tail_N - log_kept_N,
            self.tail_ids_NS.masked_fill(self.tail_ids_NS >= vocab_size, ABSENT),
            (self.entropy_N - lost_surprise_N) / log_kept_N.exp() + log_kept_N,
            vocab_size,
        )


@dataclass(frozen=True)
class SampledTargets:
    """Tokens drawn from the teacher, weighted so that the weights' expectation is its distribution.

    Sparse Logit Sampling (arXiv 2503.16870): loss and gradient of the forward KL are right in expectation, with a
    dozen draws a token, where the top tokens alone would teach too much of themselves.
    """

    ids_NS: Tensor
    """The tokens; one can come several times."""
    weights_NS: Tensor
    """What each stands for; 0 for an entry that is not used."""
    vocab_size: int
    """Size of the teacher's vocabulary."""
    entropy_N: Tensor | None = None
    """Entropy of the teacher, in nats; left out, the loss is the cross-entropy, with the same gradient."""

    divergences: ClassVar[tuple[str, ...]] = ("forward_kl",)

    @classmethod
    def from_counts(cls, ids_NS: Tensor, counts_NS: Tensor, vocab_size: int) -> "SampledTargets":
        """Tokens drawn by their probability, with how often each one came."""
        return cls(ids_NS, counts_NS / counts_NS.sum(1, keepdim=True), vocab_size)

    @classmethod
    def draw(
        cls, log_probs_NV: Tensor, samples: int, *, power: float = 1.0, generator: torch.Generator | None = None
    ) -> "SampledTargets":
        """Draws tokens in proportion to ``p ** power``, each weighted with its p over what it was drawn by."""
        proposal_NV = torch.log_softmax(power * log_probs_NV, 1)
        ids_NS = torch.multinomial(proposal_NV.exp(), samples, replacement=True, generator=generator)
        weights_NS = (log_probs_NV - proposal_NV).gather(1, ids_NS).exp() / samples
        entropy_N = -torch.xlogy(log_probs_NV.exp(), log_probs_NV.exp()).sum(1)
        return cls(ids_NS, weights_NS, log_probs_NV.shape[1], entropy_N)

    def __len__(self) -> int:
        return len(self.ids_NS)

    def __getitem__(self, rows: slice | Tensor) -> "SampledTargets":
        """The targets of some of the positions."""
        entropy_N = None if self.entropy_N is None else self.entropy_N[rows]
        return SampledTargets(self.ids_NS[rows], self.weights_NS[rows], self.vocab_size, entropy_N)

    def within(self, vocab_size: int) -> "SampledTargets":
        """The teacher without the tokens beyond a vocabulary; the other draws share what theirs stood for."""
        if self.vocab_size <= vocab_size:
            return self
        absent_NS = self.ids_NS >= vocab_size
        kept_NS = self.weights_NS.masked_fill(absent_NS, 0.0)
        share_N1 = self.weights_NS.sum(1, keepdim=True) / kept_NS.sum(1, keepdim=True)
        weights_NS = kept_NS * torch.nan_to_num(share_N1, posinf=0.0)
        ids_NS = self.ids_NS.masked_fill(absent_NS, ABSENT)
        return dataclasses.replace(self, ids_NS=ids_NS, weights_NS=weights_NS, vocab_size=vocab_size)


Targets = HiddenTargets | TopKTargets | SampledTargets


def require_defined(divergence: Divergence, targets: type[Targets]) -> None:
    """Raises ConfigError where a divergence cannot be computed from targets of this type."""
    allowed = targets.divergences
    require(divergence.kind in allowed, "divergence", divergence.name, f"{', '.join(allowed)} ({targets.__name__})")
