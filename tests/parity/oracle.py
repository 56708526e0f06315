"""The oracle of the parity tests: tiny random configs, and transformers' own models with random weights."""

import copy
from pathlib import Path
from typing import Any

import torch
import transformers
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from axk1.model.checkpoint import load_model
from axk1.model.transformer import Transformer

VOCABULARY = 40
FAMILIES = ("AXK1ForCausalLM", "Qwen3ForCausalLM", "Qwen2ForCausalLM", "LlamaForCausalLM")
FEW = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),  # the examples are tiny already; shrinking them takes minutes
    suppress_health_check=(HealthCheck.too_slow,),
)
_MODEL_TYPES = dict(zip(FAMILIES, ("axk1", "qwen3", "qwen2", "llama"), strict=True))

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


@st.composite
def ropes(draw: st.DrawFn, kinds: tuple[str, ...] = ("default", "linear", "yarn", "llama3")) -> dict[str, Any]:
    """``rope_parameters`` of every kind that the network knows, with short original contexts so that they matter."""
    kind = draw(st.sampled_from(kinds))
    rope: dict[str, Any] = {"rope_type": kind, "rope_theta": draw(st.sampled_from([100.0, 10000.0, 500000.0]))}
    if kind == "default":
        return rope
    rope["factor"] = draw(st.sampled_from([1.0, 2.0, 4.0]))
    if kind == "linear":
        return rope
    rope["original_max_position_embeddings"] = draw(st.sampled_from([8, 16, 32]))
    if kind == "llama3":
        return rope | {"low_freq_factor": 1.0, "high_freq_factor": draw(st.sampled_from([2.0, 4.0]))}
    optional = {
        "mscale": st.sampled_from([0.7, 1.0]),
        "mscale_all_dim": st.sampled_from([0.0, 1.0]),
        "beta_fast": st.sampled_from([4, 32]),
        "beta_slow": st.just(1),
        "attention_factor": st.just(1.25),
        "truncate": st.just(False),
    }
    return rope | draw(st.fixed_dictionaries({}, optional=optional))


@st.composite
def axk1_configs(draw: st.DrawFn) -> dict[str, Any]:
    """A tiny ``config.json`` of A.X K1, every switch of the network thrown at random."""
    groups = draw(st.sampled_from([1, 2, 4]))
    per_group = draw(st.integers(2, 3))
    chosen_groups = draw(st.integers(1, groups))
    layers = draw(st.integers(1, 3))
    return _common(draw, "AXK1ForCausalLM", layers) | {
        "num_attention_heads": (heads := draw(st.integers(1, 3))),
        "num_key_value_heads": heads,
        "q_lora_rank": draw(st.sampled_from([8, 12])),
        "kv_lora_rank": draw(st.sampled_from([8, 16])),
        "qk_nope_head_dim": draw(st.sampled_from([4, 8])),
        "qk_rope_head_dim": draw(st.sampled_from([4, 8])),
        "v_head_dim": draw(st.sampled_from([4, 20])),
        "rope_interleave": draw(st.booleans()),
        "attention_bias": draw(st.booleans()),
        "n_routed_experts": groups * per_group,
        "n_shared_experts": draw(st.integers(1, 2)),
        "num_experts_per_tok": draw(st.integers(1, chosen_groups * per_group)),
        "moe_intermediate_size": draw(st.sampled_from([8, 12])),
        "first_k_dense_replace": draw(st.integers(0, layers)),
        "n_group": groups,
        "topk_group": chosen_groups,
        "norm_topk_prob": draw(st.booleans()),
        "routed_scaling_factor": draw(st.sampled_from([1.0, 2.5])),
    }


@st.composite
def dense_configs(draw: st.DrawFn, family: str) -> dict[str, Any]:
    """A tiny ``config.json`` of one of the dense families."""
    kv_heads = draw(st.integers(1, 2))
    heads = kv_heads * draw(st.integers(1, 2))
    values = _common(draw, family, draw(st.integers(1, 3)))
    values |= {"num_attention_heads": heads, "num_key_value_heads": kv_heads, "hidden_size": 8 * heads}
    if family == "Qwen3ForCausalLM":
        values["head_dim"] = draw(st.sampled_from([4, 8, 12]))
    if family != "Qwen2ForCausalLM":
        values["attention_bias"] = draw(st.booleans())
    if family == "LlamaForCausalLM":
        values["mlp_bias"] = draw(st.booleans())
    return values


def configs(family: str) -> st.SearchStrategy[dict[str, Any]]:
    """Tiny configs of a family."""
    return axk1_configs() if family == "AXK1ForCausalLM" else dense_configs(family)


def _common(draw: st.DrawFn, family: str, layers: int) -> dict[str, Any]:
    return {
        "architectures": [family],
        "model_type": _MODEL_TYPES[family],
        "vocab_size": VOCABULARY,
        "hidden_size": draw(st.sampled_from([16, 24])),
        "intermediate_size": draw(st.sampled_from([20, 32])),
        "num_hidden_layers": layers,
        "rms_norm_eps": draw(st.sampled_from([1e-6, 0.05])),
        "tie_word_embeddings": draw(st.booleans()),
        "max_position_embeddings": 64,
        "rope_parameters": draw(ropes()),
        "bos_token_id": 1,
        "eos_token_id": draw(st.sampled_from([2, [2, 3]])),
        "pad_token_id": None,
    }


def oracle(values: dict[str, Any], seed: int = 0) -> transformers.PreTrainedModel:
    """transformers' model of a config in float32; all weights are random, norms, biases and router included."""
    values = copy.deepcopy(values)  # transformers edits rope_parameters in place
    config = transformers.AutoConfig.for_model(**values)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    randomise(model, seed)
    return model


@torch.no_grad()
def randomise(model: torch.nn.Module, seed: int) -> None:
    """Draws weights that keep activations near one, so that an absolute tolerance means something."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("e_score_correction_bias"):
            tensor.copy_(0.2 * noise)
        elif "inv_freq" in name:
            continue
        elif "norm" in name:
            tensor.copy_(1 + 0.3 * noise)
        elif tensor.ndim == 1:
            tensor.copy_(0.3 * noise)
        else:
            tensor.copy_(noise / tensor.shape[-1] ** 0.5)


def ours(model: transformers.PreTrainedModel, folder: Path) -> Transformer:
    """Our network with the oracle's weights, by way of the files that transformers writes."""
    model.save_pretrained(folder)
    return load_model(folder)


def tokens(seed: int, *, batch: int = 2, length: int = 11) -> torch.Tensor:
    """Random token ids."""
    return torch.randint(0, VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(seed))
