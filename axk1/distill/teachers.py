"""Teachers that are opened from a folder: our own architectures, and any causal language model of transformers.

Shapes: B rows, T positions, H hidden size, V vocabulary.
"""

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from axk1.core.artifact import MANIFEST, content_hash, read_manifest
from axk1.core.errors import ArtifactError, CheckpointError, ConfigError
from axk1.core.progress import human
from axk1.distill.scoring import Teacher
from axk1.model.checkpoint import load_model
from axk1.model.config import ModelConfig
from axk1.model.inspect import inspect_model

TeacherKind = Literal["axk1", "transformers", "server"]
_PROBE = 16
"""Positions on which a model of transformers is asked whether its logits are its states times its matrix."""


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
        self._model = _load_foreign(folder).to(device)
        self._precision, self._device, self._vocab_size = precision, device, vocab_size
        self.weight_VH = self._model.get_output_embeddings().weight.detach()[:vocab_size].float()
        if not self._is_product():
            self.weight_VH = None

    @torch.no_grad()
    def states(self, ids_BT: Tensor) -> Tensor:
        ids_BT = ids_BT.to(self._device)
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._precision == "bf16"):
            if self.weight_VH is None:
                return self._model(input_ids=ids_BT, use_cache=False).logits[..., : self._vocab_size]
            return self._model.base_model(input_ids=ids_BT, use_cache=False).last_hidden_state

    @torch.no_grad()
    def _is_product(self) -> bool:
        """Whether states times matrix are the logits, on a few tokens."""
        ids_BT = torch.arange(_PROBE, device=self._device).unsqueeze(0) % self._vocab_size
        logits = self._model(input_ids=ids_BT, use_cache=False).logits[..., : self._vocab_size].float()
        states = self._model.base_model(input_ids=ids_BT, use_cache=False).last_hidden_state.float()
        if self.weight_VH is None or states.shape[-1] != self.weight_VH.shape[1]:
            return False
        return torch.allclose(states @ self.weight_VH.T, logits, atol=1e-3, rtol=1e-3)


def _load_foreign(folder: Path) -> Any:
    try:
        # Not at the top: transformers is an extra, slow to import, and our own teachers do without it.
        transformers = importlib.import_module("transformers")
    except ImportError:
        raise ConfigError(
            f"our own code does not know the architecture of {str(folder)!r}, and transformers is not installed",
            repair="pip install transformers",
        ) from None
    try:
        return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"transformers cannot open {str(folder)!r}: {error}") from None


def _foreign_facts(folder: Path, kind: TeacherKind) -> TeacherFacts:
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text("utf-8")) if path.is_file() or kind != "server" else {}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{str(path)!r} is not a model config: {error}") from None
    sizes = {**values, **values.get("text_config", {})}
    named = ("vocab_size", "max_position_embeddings", "hidden_size")
    # GPT-2 and its kin have their own names for the last two.
    other = {"max_position_embeddings": "n_positions", "hidden_size": "n_embd"}
    found = (sizes.get(name, sizes.get(other.get(name, ""))) for name in named)
    architecture = (values.get("architectures") or ["unknown"])[0]
    return TeacherFacts(kind, f"{folder}, {architecture} by {kind}", *found, None)
