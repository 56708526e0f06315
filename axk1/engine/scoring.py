"""The log-likelihood of whole texts, straight through the network: no cache is needed where nothing is written.

Shapes: B sequences, T tokens, V vocab_size.
"""

from collections.abc import Sequence

import torch

from axk1.core.language_model import TextScore
from axk1.model.transformer import Transformer
from axk1.tokenizer.tokenizer import Tokenizer

_SCORED_TOKENS = 4096
"""Most tokens that one pass holds, padding counted."""
_LOGIT_ROWS = 1024
"""Most positions whose logits exist at once."""


@torch.inference_mode()
def score(model: Transformer, tokenizer: Tokenizer, texts: Sequence[str]) -> list[TextScore]:
    """The log-likelihood of each text. Texts beyond the context are scored in pieces."""
    window = model.config.max_position_embeddings - 1
    tokens = [tokenizer.encode(text, special=False) for text in texts]
    pieces = [(i, ids[k : k + window]) for i, ids in enumerate(tokens) for k in range(0, len(ids), window)]
    pieces.sort(key=lambda piece: len(piece[1]))
    sums = [0.0] * len(texts)
    while pieces:
        rows = max(1, _SCORED_TOKENS // (len(pieces[-1][1]) + 1))
        batch, pieces = pieces[-rows:], pieces[:-rows]
        values = _log_likelihoods(model, [ids for _, ids in batch], tokenizer.bos_id)
        for (i, _), value in zip(batch, values, strict=True):
            sums[i] += value
    sizes = [len(text.encode("utf-8", "surrogatepass")) for text in texts]
    return [TextScore(s, len(ids), size) for s, ids, size in zip(sums, tokens, sizes, strict=True)]


def _log_likelihoods(model: Transformer, batch: list[list[int]], bos_id: int) -> list[float]:
    """Log-likelihood of each token list, given the begin-of-text token. The last list is the longest."""
    width, device = len(batch[-1]), model.norm.weight.device
    inputs_BT = torch.full((len(batch), width), bos_id)
    targets_BT = torch.full((len(batch), width), -1)
    for row, ids in enumerate(batch):
        targets_BT[row, : len(ids)] = torch.tensor(ids)
        inputs_BT[row, 1 : len(ids)] = torch.tensor(ids[:-1])
    targets_BT = targets_BT.to(device)
    states_BTH = model.hidden(inputs_BT.to(device)).states_BTH
    scored = targets_BT >= 0
    states_NH, targets_N = states_BTH[scored], targets_BT[scored]
    parts = []
    for start in range(0, targets_N.numel(), _LOGIT_ROWS):
        logits = model.lm_head(states_NH[start : start + _LOGIT_ROWS]).float()
        chosen = logits.gather(1, targets_N[start : start + _LOGIT_ROWS, None]).squeeze(1)
        parts.append(chosen - logits.logsumexp(dim=-1))
    values = torch.zeros(targets_BT.shape, dtype=torch.float64, device=device)
    values[scored] = torch.cat(parts).double()
    return values.sum(1).tolist()
