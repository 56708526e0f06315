"""``GgufFile``: a GGUF file of the llama, qwen2 or qwen3 architecture, seen as a Hugging Face config and tensors."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, dequantize

from axk1.core.errors import CheckpointError
from axk1.model.config import ModelConfig

ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
"""``general.architecture`` of a GGUF file -> architecture of a Hugging Face config."""

_TOP = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output.weight": "lm_head.weight",
    "output_norm.weight": "model.norm.weight",
}
_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_UNREADABLE = (ValueError, IndexError, KeyError, OverflowError, OSError, TypeError, RecursionError)


class _Reader(GGUFReader):
    """Refuses to read past the end of the file, where the base class returns less than was asked for."""

    def _get(self, offset: int, dtype: Any, count: int = 1, override_order: Any = None) -> np.ndarray:
        if int(offset) + np.dtype(dtype).itemsize * int(count) > len(self.data):
            raise ValueError("it ends before its contents do")
        return super()._get(offset, dtype, count, override_order)


class GgufFile:
    """One open file.

    Args:
        path: a ``.gguf`` file.

    Raises:
        CheckpointError: the file is missing, corrupt, truncated, or of an unsupported architecture.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._reader = _Reader(path)
            fields = self._reader.fields
            self.metadata: dict[str, Any] = {key: field.contents() for key, field in fields.items()}
        except FileNotFoundError:
            raise CheckpointError(f"{str(path)!r} does not exist") from None
        except _UNREADABLE as error:
            raise CheckpointError(f"{path.name!r} is not a whole GGUF file: {error}", repair="fetch it again") from None
        self.architecture = str(self.metadata.get("general.architecture"))
        if self.architecture not in ARCHITECTURES:
            allowed = ", ".join(map(repr, ARCHITECTURES))
            raise CheckpointError(f"general.architecture = {self.architecture!r} is not supported; allowed: {allowed}")
        self._quantised = {tensor.name: tensor for tensor in self._reader.tensors}
        self.bytes = sum(tensor.n_bytes for tensor in self._reader.tensors)
        self.parameters = sum(tensor.n_elements for tensor in self._reader.tensors)
        self.config = self._config()
        self._check_names()
        self.shapes = {hugging_face_name(name): t.shape.tolist()[::-1] for name, t in self._quantised.items()}

    def get(self, key: str, default: Any = None) -> Any:
        """A value under the architecture's own prefix, for example ``block_count``."""
        return self.metadata.get(f"{self.architecture}.{key}", default)

    def tensors(self) -> Iterator[tuple[str, np.ndarray, int]]:
        """Yields Hugging Face name, float32 array in the Hugging Face layout, and the bytes it took in the file.

        Raises:
            CheckpointError: a quantisation that cannot be undone, or numbers that are not finite.
        """
        for tensor in self._reader.tensors:
            try:
                array = np.require(dequantize(tensor.data, tensor.tensor_type), np.float32, ["W"])
            except (NotImplementedError, ValueError) as error:
                raise CheckpointError(f"tensor {tensor.name!r} of {self.path.name!r} cannot be read: {error}") from None
            if not np.isfinite(array).all():
                raise CheckpointError(f"tensor {tensor.name!r} of {self.path.name!r} is corrupt: infinite or no number")
            yield hugging_face_name(tensor.name), self._layout(tensor.name, array), tensor.n_bytes

    def _layout(self, name: str, array: np.ndarray) -> np.ndarray:
        if self.architecture != "llama" or not re.search(r"\.attn_[qk]\.", name):
            return array
        heads = self.config.num_attention_heads if ".attn_q." in name else self.config.kv_heads
        return unpermute(array, heads)

    def _config(self) -> ModelConfig:
        self._refuse_unsupported()
        try:
            return ModelConfig.from_hf(self._hf_values())
        except CheckpointError as error:
            raise CheckpointError(f"{self.path.name!r}: {error.message}") from None
        except (TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise CheckpointError(f"{self.path.name!r} garbles a field of its geometry: {error}") from None

    def _refuse_unsupported(self) -> None:
        for key in ("expert_count", "attention.sliding_window"):
            if self.get(key):
                raise CheckpointError(f"{self.architecture}.{key} = {self.get(key)} is not supported; allowed: 0")
        if "rope_freqs.weight" in self._quantised:
            raise CheckpointError(f"tensor 'rope_freqs.weight' of {self.path.name!r} (Llama 3.1) is not supported")
        # The block count is held against the tensors before anything of that many layers is built.
        for name in ("token_embd.weight", f"blk.{self._required('block_count') - 1}.attn_norm.weight"):
            if name not in self._quantised:
                raise CheckpointError(f"{self.path.name!r} lacks tensor {name!r}", repair="fetch it again")

    def _hf_values(self) -> dict[str, Any]:
        heads = int(self._required("attention.head_count"))
        hidden = int(self._required("embedding_length"))
        return {
            "architectures": [ARCHITECTURES[self.architecture]],
            "vocab_size": int(self._quantised["token_embd.weight"].shape[1]),
            "hidden_size": hidden,
            "num_hidden_layers": int(self._required("block_count")),
            "num_attention_heads": heads,
            "num_key_value_heads": int(self.get("attention.head_count_kv", heads)),
            "head_dim": int(self.get("attention.key_length", hidden // heads)),
            "intermediate_size": int(self._required("feed_forward_length")),
            "rms_norm_eps": _shortest(self._required("attention.layer_norm_rms_epsilon")),
            "max_position_embeddings": int(self._required("context_length")),
            "rope_parameters": self._rope(),
            "tie_word_embeddings": "output.weight" not in self._quantised,
            "attention_bias": self.architecture != "qwen2" and "blk.0.attn_q.bias" in self._quantised,
            "bos_token_id": self._token_id("bos"),
            "eos_token_id": self._end_tokens(),
            "pad_token_id": self._token_id("padding"),
        }

    def _token_id(self, role: str) -> int | None:
        return self.metadata.get(f"tokenizer.ggml.{role}_token_id")

    def _end_tokens(self) -> int | list[int] | None:
        ends = sorted({self._token_id("eos"), self._token_id("eot")} - {None})
        return ends if len(ends) > 1 else next(iter(ends), None)

    def _required(self, key: str) -> Any:
        value = self.get(key)
        if not isinstance(value, int | float):
            raise CheckpointError(f"{self.architecture}.{key} = {value!r} is not allowed; allowed: a number")
        return value

    def _rope(self) -> dict[str, Any]:
        rope: dict[str, Any] = {"rope_type": "default", "rope_theta": _shortest(self.get("rope.freq_base", 10000.0))}
        kind = self.get("rope.scaling.type", "none")
        if kind in ("linear", "yarn"):
            rope |= {"rope_type": kind, "factor": _shortest(self.get("rope.scaling.factor", 1.0))}
            if kind == "yarn":
                rope["original_max_position_embeddings"] = int(self._required("rope.scaling.original_context_length"))
        elif kind != "none":
            raise CheckpointError(f"rope.scaling.type = {kind!r} is not supported; allowed: 'none', 'linear', 'yarn'")
        return rope

    def _check_names(self) -> None:
        for name in self._quantised:
            parts = name.split(".")
            in_block = len(parts) == 4 and parts[0] == "blk" and parts[1].isdigit() and parts[2] in _BLOCK
            in_range = in_block and int(parts[1]) < self.config.num_hidden_layers and parts[3] in ("weight", "bias")
            if name not in _TOP and not in_range:
                raise CheckpointError(f"tensor {name!r} of {self.path.name!r} is unknown to {self.architecture}")


def hugging_face_name(name: str) -> str:
    """The Hugging Face name of a GGUF tensor: ``blk.3.attn_q.weight`` -> ``model.layers.3.self_attn.q_proj.weight``."""
    if name in _TOP:
        return _TOP[name]
    _, layer, part, kind = name.split(".")
    return f"model.layers.{layer}.{_BLOCK[part]}.{kind}"


def unpermute(array: np.ndarray, heads: int) -> np.ndarray:
    """Undoes llama.cpp's reordering of q and k rows from rotated halves to rotated neighbours, head by head."""
    pairs = array.shape[0] // heads // 2
    return array.reshape(heads, pairs, 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)


def _shortest(value: float) -> float:
    """The shortest decimal that a float32 stands for: 9.999999747378752e-06 -> 1e-05."""
    return float(str(np.float32(value)))
