"""Networks that our own code does not know, trained through transformers: any causal language model that it opens.

Such a network shows what training uses of ours, ``hidden`` and ``output_weight``, so losses, caches, optimizers and
resuming are the same. The samples of a packed row are taken apart: every sample becomes a row of its own, padded behind
its end, which no causal network sees, whatever it does between tokens (attention, recurrence, convolution). Rows of
like length go through together, so at most half of what is computed is padding.

Shapes: B rows, T positions, S samples of a group, L their longest, H hidden size, V vocabulary.
"""

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from axk1.core.errors import CheckpointError, ConfigError
from axk1.model.transformer import Hidden

_PROBE = 16
"""Positions on which a model is asked whether its logits are its states times its matrix."""
_OTHER_NAMES = {"max_position_embeddings": ("n_positions", "max_seq_len"), "hidden_size": ("n_embd", "d_model")}
"""What GPT-2 and others call these fields."""


@dataclass(frozen=True)
class ForeignConfig:
    """What a ``config.json`` of an architecture that we do not know says."""

    folder: Path
    """A checkpoint, or a folder with ``config.json`` alone."""
    architecture: str
    """Such as ``GPTNeoXForCausalLM``."""
    vocab_size: int | None
    max_position_embeddings: int | None
    """The longest sequence, where it says."""
    hidden_size: int | None

    @property
    def has_weights(self) -> bool:
        """Whether there are weights to start from."""
        return any(self.folder.glob("*.safetensors")) or any(self.folder.glob("*.bin"))

    @classmethod
    def load(cls, folder: Path) -> "ForeignConfig":
        """Reads a folder's ``config.json``. Raises CheckpointError where there is none."""
        path = folder / "config.json"
        try:
            values = json.loads(path.read_text("utf-8"))
            sizes = {**values, **values.get("text_config", {})}
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise CheckpointError(f"{str(path)!r} is not a model config: {error}") from None
        found = {"vocab_size": sizes.get("vocab_size")}
        for name, others in _OTHER_NAMES.items():
            found[name] = next((sizes[key] for key in (name, *others) if sizes.get(key) is not None), None)
        return cls(folder, (values.get("architectures") or ["unknown"])[0], **found)


class ForeignNetwork(nn.Module):
    """A causal language model of transformers, as training takes it. Make one with ``load_foreign_network``."""

    mtp = None
    """It has no module for the token after the next one."""

    def __init__(self, network: nn.Module, config: ForeignConfig) -> None:
        super().__init__()
        self.network, self.config = network, config

    @property
    def output_weight(self) -> Tensor:
        """The output matrix [V, H]."""
        return self.network.get_output_embeddings().weight

    def hidden(self, tokens_BT: Tensor, positions_BT: Tensor, segments_BT: Tensor) -> Hidden:
        """States [B, T, H], whose products with the output matrix are the logits; zero at padding.

        Args:
            tokens_BT: token ids.
            positions_BT: from 0 in each sample; implied by where a sample begins, so they are not read.
            segments_BT: number of the sample within its row, from 1; 0 is padding.
        """
        del positions_BT
        rows, starts, lengths = _samples(segments_BT)
        # The output matrix tells width and type, and ties the result to the weights where there is no sample at all.
        states_BTH = self.output_weight.new_zeros(*tokens_BT.shape, self.output_weight.shape[1])
        groups = torch.ceil(torch.log2(lengths.double())).long()
        for group in groups.unique():
            of = groups == group
            offsets_L = torch.arange(int(lengths[of].max()), device=tokens_BT.device)
            inside_SL = offsets_L < lengths[of].unsqueeze(1)
            columns_SL = (starts[of].unsqueeze(1) + offsets_L).clamp(max=tokens_BT.shape[1] - 1)
            ids_SL = tokens_BT[rows[of].unsqueeze(1), columns_SL].masked_fill(~inside_SL, 0)
            states_SLH = self.network.base_model(input_ids=ids_SL, use_cache=False).last_hidden_state
            where = rows[of].unsqueeze(1).expand_as(columns_SL)[inside_SL], columns_SL[inside_SL]
            states_BTH = states_BTH.index_put(where, states_SLH[inside_SL].to(states_BTH.dtype))
        return Hidden(states_BTH, [])

    def save(self, folder: Path) -> None:
        """Writes config and weights as transformers does."""
        self.network.save_pretrained(folder)


def load_foreign(folder: Path, *, seed: int | None = None) -> nn.Module:
    """A causal language model of transformers in fp32, in evaluation mode.

    Args:
        folder: the checkpoint, or with ``seed`` a folder whose ``config.json`` alone is used.
        seed: draws the weights.

    Raises:
        ConfigError: transformers is not installed.
        CheckpointError: it cannot open the folder.
    """
    try:
        # Not at the top: transformers is an extra, slow to import, and networks of ours do without it.
        transformers = importlib.import_module("transformers")
    except ImportError:
        raise ConfigError(
            f"our own code does not know the architecture of {str(folder)!r}, and transformers is not installed",
            repair="pip install transformers",
        ) from None
    opener: Any = transformers.AutoModelForCausalLM
    try:
        if seed is None:
            return opener.from_pretrained(folder, dtype=torch.float32).eval()
        torch.manual_seed(seed)
        return opener.from_config(transformers.AutoConfig.from_pretrained(folder), dtype=torch.float32).eval()
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"transformers cannot open {str(folder)!r}: {error}") from None


def load_foreign_network(config: ForeignConfig, *, seed: int) -> ForeignNetwork:
    """The network with its starting weights: the checkpoint's, or drawn where the folder holds a config alone.

    Raises:
        ConfigError, CheckpointError: it cannot be opened, or its logits are more than states times matrix.
    """
    network = load_foreign(config.folder, seed=None if config.has_weights else seed)
    if not is_product(network, config.vocab_size or 1):
        raise CheckpointError(
            f"the logits of {config.architecture} are more than its states times its output matrix (a bias, a cap, "
            "a scale), and the losses here never hold logits"
        )
    return ForeignNetwork(network, config)


@torch.no_grad()
def is_product(network: Any, vocab_size: int) -> bool:
    """Whether states times matrix are a model's logits, on a few tokens."""
    weight_VH = network.get_output_embeddings().weight
    ids_BT = torch.arange(_PROBE, device=weight_VH.device).unsqueeze(0) % vocab_size
    logits = network(input_ids=ids_BT, use_cache=False).logits.float()
    states = network.base_model(input_ids=ids_BT, use_cache=False).last_hidden_state.float()
    if states.shape[-1] != weight_VH.shape[1]:
        return False
    return torch.allclose(states @ weight_VH.float().T, logits, atol=1e-3, rtol=1e-3)


def _samples(segments_BT: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row, first column and length of every sample."""
    before_BT = nn.functional.pad(segments_BT, (1, 0), value=-1)[:, :-1]
    rows, starts = ((segments_BT != before_BT) & (segments_BT > 0)).nonzero(as_tuple=True)
    same = segments_BT[rows] == segments_BT[rows, starts].unsqueeze(1)
    return rows, starts, same.sum(1)
