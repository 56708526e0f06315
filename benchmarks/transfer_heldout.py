"""What a student says of held-out text beside its teacher: KL, calibration, how often both prefer the same token.

Both read the windows that ``axk1 eval`` scores. The calibration error is that of the most probable next token: its
probability against how often it comes, over 15 bins of equal width, each weighing as many positions as fall into it.

Shapes: B windows of a batch, T positions, N positions that count, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from axk1.eval.heldout import heldout_texts
from axk1.model.checkpoint import load_model
from axk1.tokenizer.tokenizer import Tokenizer

BINS = 15
HELDOUT_BYTES = 24_000
"""Of each language; the bits per byte of ``axk1 eval`` come from more."""
_BATCH_TOKENS = 4096
_ROWS = 512


@torch.inference_mode()
def heldout_figures(student: Path, teacher: Path, documents: Path, *, size: int = HELDOUT_BYTES) -> dict[str, float]:
    """Figures of a student, or of the teacher itself where both are one.

    Returns:
        ``kl_ko``, ``kl_en`` (nats a token), ``ece``, ``confidence`` less accuracy, ``accuracy``, ``agreement``.
    """
    models = [load_model(folder, dtype=torch.float32).eval() for folder in (student, teacher)]
    tokenizer, figures, seen = Tokenizer.load(teacher), {}, []
    for language in ("ko", "en"):
        texts = heldout_texts(documents, language, total_bytes=size, document_bytes=4096, window_bytes=768)
        ids = [tokenizer.encode(window, special=False) for text in texts for window in text.windows]
        kl, counted = 0.0, []
        for inputs_BT, targets_BT in _batches(ids, tokenizer.bos_id):
            real_BT = targets_BT >= 0
            states = [model.hidden(inputs_BT).states_BTH[real_BT] for model in models]
            for rows in torch.arange(int(real_BT.sum())).split(_ROWS):
                log_q_NV, log_p_NV = (
                    torch.log_softmax(model.lm_head(states_NH[rows]).float(), 1)
                    for model, states_NH in zip(models, states, strict=True)
                )
                kl += float((log_p_NV.exp() * (log_p_NV - log_q_NV)).sum())
                counted.append(_best(log_q_NV, log_p_NV, targets_BT[real_BT][rows]))
        figures[f"kl_{language}"] = kl / sum(len(part) for part in counted)
        seen += counted
    confidence_N, right_N, same_N = np.concatenate(seen).T
    return figures | {
        "ece": calibration_error(confidence_N, right_N),
        "overconfidence": float(confidence_N.mean() - right_N.mean()),
        "accuracy": float(right_N.mean()),
        "agreement": float(same_N.mean()),
        "positions": len(right_N),
    }


def calibration_error(confidence_N: np.ndarray, right_N: np.ndarray, bins: int = BINS) -> float:
    """The expected calibration error: mean of |confidence - accuracy| over bins of equal width, by their share."""
    bin_N = np.minimum((confidence_N * bins).astype(int), bins - 1)
    gaps = np.bincount(bin_N, weights=confidence_N - right_N, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence_N))


def _best(log_q_NV: Tensor, log_p_NV: Tensor, targets_N: Tensor) -> np.ndarray:
    """Of each position: the student's largest probability, whether that token comes, whether it is the teacher's."""
    best_N = log_q_NV.argmax(1)
    columns = (log_q_NV.amax(1).exp(), best_N == targets_N, best_N == log_p_NV.argmax(1))
    return torch.stack([column.double() for column in columns], 1).numpy()


def _batches(ids: Sequence[Sequence[int]], bos_id: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and targets [B, T] of windows of like length; a target of -1 is padding."""
    pieces = sorted((list(one) for one in ids if one), key=len)
    while pieces:
        rows = max(1, _BATCH_TOKENS // len(pieces[-1]))
        batch, pieces = pieces[-rows:], pieces[:-rows]
        inputs_BT = torch.full((len(batch), len(batch[-1])), bos_id)
        targets_BT = torch.full(inputs_BT.shape, -1)
        for row, one in enumerate(batch):
            targets_BT[row, : len(one)] = torch.tensor(one)
            inputs_BT[row, 1 : len(one)] = torch.tensor(one[:-1])
        yield inputs_BT, targets_BT
