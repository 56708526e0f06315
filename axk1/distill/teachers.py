"""Teachers that are opened from a folder: our own architectures, and any causal language model of transformers.

Shapes: B rows, T positions, H hidden size, V vocabulary.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from axk1.core.artifact import MANIFEST, content_hash, read_manifest
from axk1.core.errors import ArtifactError, CheckpointError
from axk1.core.progress import human
from axk1.distill.scoring import Teacher
from axk1.model.checkpoint import load_model
from axk1.model.config import ModelConfig
from axk1.model.inspect import inspect_model
from axk1.train.foreign import ForeignConfig, is_product, load_foreign

TeacherKind = Literal["axk1", "transformers", "server"]


@dataclass(frozen=True)
class TeacherFacts:
    """What is known of a teacher before it is opened."""

    kind: TeacherKind
    """How it is opened."""
    text: str
    """What it is, for people."""
    vocab_size: int | None
    """Its output columns, where its config says."""
    max_positions: int | None
    """The longest sequence, where its config says."""
    hidden_size: int | None
    """Entries of its last state, where its config says."""
    flops_per_token: float | None
    """Arithmetic of a forward pass, where it is known."""


def facts_of(folder: Path, kind: Literal["auto", "axk1", "transformers", "server"], context: int) -> TeacherFacts:
    """Reads a teacher's ``config.json``; ``auto`` is our own code where it knows the architecture.

    Raises:
        CheckpointError: there is no ``config.json``, or our own code was asked for and does not know it.
    """
    if kind in ("auto", "axk1"):
        try:
            model = ModelConfig.load(folder)
        except CheckpointError:
            if kind == "axk1" or not (folder / "config.json").is_file():
                raise
        else:
            size = inspect_model(model, context=context)
            text = f"{folder}, {human(size.total)} parameters, {human(size.active)} active"
            sizes = (model.vocab_size, model.max_position_embeddings, model.hidden_size)
            return TeacherFacts("axk1", text, *sizes, size.flops_forward)
    return _foreign_facts(folder, "server" if kind == "server" else "transformers")


def checkpoint_hash(folder: Path) -> str:
    """The content hash by which a cache knows its teacher. Raises ArtifactError where there is none."""
    if not folder.is_dir():
        raise ArtifactError(f"teacher = {str(folder)!r} does not exist", repair="axk1 sft recipes/nano/sft.toml")
    return read_manifest(folder).content_hash if (folder / MANIFEST).exists() else content_hash(folder)


def open_teacher(folder: Path, kind: TeacherKind, *, vocab_size: int, device: torch.device, precision: str) -> Teacher:
    """Opens a teacher in memory.

    Args:
        folder: the checkpoint.
        kind: ``axk1`` or ``transformers``.
        vocab_size: what its vocabulary is cut to.
        device: where it computes.
        precision: ``bf16`` runs the blocks in bf16. The output product is always fp32: bf16 logits would be coarser
            than what a cache can hold.

    Raises:
        CheckpointError: it cannot be opened.
    """
    cls = OwnTeacher if kind == "axk1" else TransformersTeacher
    return cls(folder, vocab_size=vocab_size, device=device, precision=precision)


class OwnTeacher:
    """A checkpoint that ``axk1.model`` knows. Arguments as for ``open_teacher``."""

    def __init__(self, folder: Path, *, vocab_size: int, device: torch.device, precision: str) -> None:
        self._model = load_model(folder, dtype=torch.float32, device=device)
        self._precision, self._device = precision, device
        self.weight_VH: Tensor | None = self._model.output_weight.detach()[:vocab_size].float()

    @torch.no_grad()
    def states(self, ids_BT: Tensor) -> Tensor:
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._precision == "bf16"):
            return self._model.hidden(ids_BT.to(self._device)).states_BTH


class TransformersTeacher:
    """Any causal language model that transformers opens. Arguments as for ``open_teacher``.

    A model whose logits are more than states times matrix (a bias, a cap, a scale) gives its logits instead.
    """

    def __init__(self, folder: Path, *, vocab_size: int, device: torch.device, precision: str) -> None:
        self._model = load_foreign(folder).to(device)
        self._precision, self._device, self._vocab_size = precision, device, vocab_size
        self.weight_VH = self._model.get_output_embeddings().weight.detach()[:vocab_size].float()
        if not is_product(self._model, vocab_size):
            self.weight_VH = None

    @torch.no_grad()
    def states(self, ids_BT: Tensor) -> Tensor:
        ids_BT = ids_BT.to(self._device)
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._precision == "bf16"):
            if self.weight_VH is None:
                return self._model(input_ids=ids_BT, use_cache=False).logits[..., : self._vocab_size]
            return self._model.base_model(input_ids=ids_BT, use_cache=False).last_hidden_state


def _foreign_facts(folder: Path, kind: TeacherKind) -> TeacherFacts:
    if kind == "server" and not (folder / "config.json").is_file():
        return TeacherFacts(kind, f"{folder}, unknown by {kind}", None, None, None, None)
    known = ForeignConfig.load(folder)
    sizes = known.vocab_size, known.max_position_embeddings, known.hidden_size
    return TeacherFacts(kind, f"{folder}, {known.architecture} by {kind}", *sizes, None)
