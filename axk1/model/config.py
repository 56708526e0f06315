"""``ModelConfig``: what a Hugging Face ``config.json`` says about the network, under its own names."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from axk1.core.config import from_dict, require
from axk1.core.errors import CheckpointError, ConfigError, UnknownNetwork

ARCHITECTURES = ("AXK1ForCausalLM", "Qwen3ForCausalLM", "Qwen2ForCausalLM", "LlamaForCausalLM")
GROUP_RULES = ("top2sum", "max", "none")
_MODEL_TYPES = {"AXK1ForCausalLM": "axk1", "Qwen3ForCausalLM": "qwen3", "Qwen2ForCausalLM": "qwen2"}
_TOPK_METHODS = {"top2sum": "noaux_tc", "max": "group_limited_greedy", "none": "none"}
_GROUPED_QUERY_KEYS = {"head_dim", "num_key_value_heads", "mlp_bias"}
_LATENT_KEYS = {"q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "rope_interleave"}
_EXPERT_KEYS = {"n_routed_experts", "n_shared_experts", "num_experts_per_tok", "moe_intermediate_size"}
_EXPERT_KEYS |= {"first_k_dense_replace", "n_group", "topk_group", "norm_topk_prob", "routed_scaling_factor"}
_EXPERT_KEYS |= {"num_nextn_predict_layers"}
_SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
_ROUTING_SIZES = ["num_experts_per_tok", "moe_intermediate_size", "n_group", "topk_group"]
_ROPE_NUMBERS = {
    "default": (),
    "linear": ("factor",),
    "yarn": ("original_max_position_embeddings",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
"""What each kind of rotary embedding cannot do without, besides rope_theta."""


@dataclass(frozen=True)
class ModelConfig:
    """The geometry of a network. Fields keep their Hugging Face names; sizes are in units, not bytes."""

    architecture: str = "AXK1ForCausalLM"
    """One of AXK1ForCausalLM (latent attention, mixture of experts), Qwen3-, Qwen2- and LlamaForCausalLM (dense)."""
    vocab_size: int = 163840
    """Rows of the embedding; may exceed the tokenizer's entries (padding)."""
    hidden_size: int = 7168
    """Width of the residual stream."""
    num_hidden_layers: int = 61
    """Number of blocks, the multi-token-prediction module not counted."""
    num_attention_heads: int = 64
    """Query heads."""
    num_key_value_heads: int | None = None
    """Key and value heads of grouped-query attention; None means one per query head."""
    head_dim: int | None = None
    """Size of a head of grouped-query attention; None means hidden_size / num_attention_heads."""
    intermediate_size: int = 18432
    """Inner width of a dense SwiGLU."""
    rms_norm_eps: float = 1e-6
    """Epsilon of the RMS norms."""
    tie_word_embeddings: bool = False
    """Whether the output matrix is the embedding."""
    attention_bias: bool = False
    """Whether the attention projections have biases (Qwen2 always has them on q, k and v)."""
    mlp_bias: bool = False
    """Whether a Llama MLP has biases."""
    max_position_embeddings: int = 131072
    """Longest context that the position encoding is meant for."""
    rope_parameters: dict[str, Any] = field(default_factory=lambda: {"rope_type": "default", "rope_theta": 10000.0})
    """Rotary embedding: rope_type (default, yarn, llama3, linear), rope_theta and the type's own numbers."""
    rope_interleave: bool = True
    """Whether latent attention rotates neighbouring pairs rather than halves."""
    initializer_range: float = 0.02
    """Standard deviation of new weights."""

    q_lora_rank: int | None = None
    """Rank of the compressed query; None means an uncompressed query projection."""
    kv_lora_rank: int = 512
    """Rank of the compressed key and value, which is what the cache holds."""
    qk_nope_head_dim: int = 128
    """Dimensions of a head's query and key without position."""
    qk_rope_head_dim: int = 64
    """Dimensions of a head's query and key with rotary position; the key's are shared by all heads."""
    v_head_dim: int = 128
    """Dimensions of a head's value."""

    n_routed_experts: int = 0
    """Experts of a sparse layer; 0 means that all layers are dense."""
    n_shared_experts: int = 1
    """Experts that see every token, fused into one SwiGLU."""
    num_experts_per_tok: int = 8
    """Experts that a token is sent to."""
    moe_intermediate_size: int = 2048
    """Inner width of one expert."""
    first_k_dense_replace: int = 1
    """How many layers at the start are dense."""
    n_group: int = 1
    """Groups that the experts are divided into for routing."""
    topk_group: int = 1
    """Groups that a token's experts may come from."""
    group_rule: str = "top2sum"
    """How a group is scored: top2sum (transformers), max (vLLM without a bias), none (no groups)."""
    norm_topk_prob: bool = True
    """Whether the chosen experts' weights are normalised to one."""
    routed_scaling_factor: float = 2.5
    """Factor on the routed experts' sum."""
    num_nextn_predict_layers: int = 0
    """Multi-token-prediction modules that the checkpoint carries (0 or 1)."""

    bos_token_id: int | None = None
    """Id of the token that begins a text."""
    eos_token_id: int | tuple[int, ...] | None = None
    """Ids of the tokens that end a text."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Keys of config.json that the network does not need; written back unchanged."""

    def __post_init__(self) -> None:
        require(self.architecture in ARCHITECTURES, "architectures", self.architecture, ", ".join(ARCHITECTURES))
        require(self.group_rule in GROUP_RULES, "group_rule", self.group_rule, ", ".join(GROUP_RULES))
        self._check_sizes()
        self._check_rope()
        modules = self.num_nextn_predict_layers
        require(modules in (0, 1), "num_nextn_predict_layers", modules, "0, 1")
        if self.is_sparse:
            self._check_experts()

    def _check_sizes(self) -> None:
        optional = [n for n in ("num_key_value_heads", "head_dim", "q_lora_rank") if getattr(self, n) is not None]
        latent = ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim") if self.latent_attention else ()
        sparse = ("n_shared_experts", *_ROUTING_SIZES) if self.is_sparse else ()
        for name in (*_SIZES, *optional, *latent, *sparse, "max_position_embeddings"):
            require(getattr(self, name) > 0, name, getattr(self, name), "a positive number")
        for name in ("first_k_dense_replace", "rms_norm_eps", "initializer_range"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        heads, kv_heads = self.num_attention_heads, self.kv_heads
        require(heads % kv_heads == 0, "num_key_value_heads", kv_heads, f"a divisor of num_attention_heads ({heads})")
        divides = self.latent_attention or self.head_dim is not None or self.hidden_size % heads == 0
        require(
            divides, "num_attention_heads", heads, f"a divisor of hidden_size ({self.hidden_size}), or give head_dim"
        )
        name = "qk_rope_head_dim" if self.latent_attention else "head_dim"
        require(self.rotary_dim > 0 and self.rotary_dim % 2 == 0, name, self.rotary_dim, "a positive even number")

    def _check_rope(self) -> None:
        kind = self.rope_parameters.get("rope_type", "default")
        require(kind in _ROPE_NUMBERS, "rope_parameters.rope_type", kind, ", ".join(_ROPE_NUMBERS))
        needed = ("rope_theta", *_ROPE_NUMBERS[kind])
        for name in (*needed, "factor", "mscale", "mscale_all_dim", "beta_fast", "beta_slow", "attention_factor"):
            value = self.rope_parameters.get(name)
            number = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
            good = (number and value > 0) if name in needed else (number or value is None)
            require(good, f"rope_parameters.{name}", value, "a positive number")

    def _check_experts(self) -> None:
        experts, groups = self.n_routed_experts, self.n_group
        require(experts % groups == 0, "n_group", groups, f"a divisor of n_routed_experts ({experts})")
        require(1 <= self.topk_group <= groups, "topk_group", self.topk_group, f"1 to n_group ({groups})")
        two = self.group_rule != "top2sum" or self.topk_group == groups or experts // groups >= 2
        require(two, "n_group", groups, f"at most {experts // 2}, since top2sum needs two experts in a group")
        reachable = experts if self.group_rule == "none" else experts // groups * self.topk_group
        chosen = self.num_experts_per_tok
        require(1 <= chosen <= reachable, "num_experts_per_tok", chosen, f"1 to {reachable}, the experts in reach")

    @property
    def latent_attention(self) -> bool:
        """Whether attention is multi-head latent attention (A.X K1) rather than grouped-query attention."""
        return self.architecture == "AXK1ForCausalLM"

    @property
    def is_sparse(self) -> bool:
        """Whether any layer is a mixture of experts."""
        return self.latent_attention and self.n_routed_experts > 0

    @property
    def kv_heads(self) -> int:
        """Key and value heads of grouped-query attention."""
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def rotary_dim(self) -> int:
        """Dimensions that the rotary embedding turns."""
        if self.latent_attention:
            return self.qk_rope_head_dim
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def cache_width(self) -> int:
        """Values that a cache holds per token and layer: latent and rotary key, or keys and values."""
        if self.latent_attention:
            return self.kv_lora_rank + self.qk_rope_head_dim
        return 2 * self.kv_heads * self.rotary_dim

    def sparse_layer(self, index: int) -> bool:
        """Whether block ``index`` holds a mixture of experts."""
        return self.is_sparse and index >= self.first_k_dense_replace

    @classmethod
    def load(cls, path: str | Path) -> "ModelConfig":
        """Reads ``config.json`` (or a folder that holds one). Raises CheckpointError with what is wrong."""
        path = Path(path)
        path = path / "config.json" if path.is_dir() else path
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CheckpointError(f"{str(path)!r} does not exist, so there is no model here") from None
        except (ValueError, OSError) as error:
            raise CheckpointError(f"{str(path)!r} is not a model config: {error}") from None
        if not isinstance(values, dict):
            raise CheckpointError(f"{str(path)!r} is not a model config: it holds no JSON object")
        return cls.from_hf(values)

    @classmethod
    def from_hf(cls, values: dict[str, Any]) -> "ModelConfig":
        """Makes a config from the values of a Hugging Face ``config.json``."""
        values = dict(values)
        architecture = _architecture(values)
        known = {f.name for f in dataclasses.fields(cls)} - {"architecture", "extra", "rope_parameters"}
        if architecture == "AXK1ForCausalLM":
            _read_sparse_keys(values)
        chosen: dict[str, Any] = {k: values.pop(k) for k in list(values) if k in known}
        _check_required(architecture, chosen)
        _refuse_unsupported(values)
        chosen["rope_parameters"] = _rope_parameters(values, chosen.get("max_position_embeddings"))
        try:
            return from_dict(cls, {"architecture": architecture, "extra": values, **chosen})
        except ConfigError as error:
            raise CheckpointError(f"config.json does not fit {architecture}: {error.message}") from None

    def to_hf(self) -> dict[str, Any]:
        """The values of a Hugging Face ``config.json`` for this network."""
        values: dict[str, Any] = {
            "architectures": [self.architecture],
            "model_type": _MODEL_TYPES.get(self.architecture, "llama"),
        }
        skip = {"architecture", "extra", "rope_parameters", "group_rule"}
        skip |= _GROUPED_QUERY_KEYS if self.latent_attention else _LATENT_KEYS | _EXPERT_KEYS
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if f.name not in skip and not (value is None and f.name in ("head_dim", "num_key_value_heads")):
                values[f.name] = list(value) if isinstance(value, tuple) else value
        if self.latent_attention:
            values |= self._sparse_keys()
        elif self.architecture == "Qwen3ForCausalLM":  # whose class takes 128 where nothing is said
            values["head_dim"] = self.rotary_dim
        # Readers of either generation find their keys: transformers 5 reads rope_parameters, older ones the other two.
        values["rope_parameters"] = dict(self.rope_parameters)
        values["rope_theta"] = self.rope_parameters["rope_theta"]
        if self.rope_parameters.get("rope_type", "default") != "default":
            values["rope_scaling"] = {k: v for k, v in self.rope_parameters.items() if k != "rope_theta"}
        return {"hidden_act": "silu", **values, **self.extra}

    def _sparse_keys(self) -> dict[str, Any]:
        """Keys that only A.X K1 has, in the forms that transformers (layer types) and vLLM (the others) read."""
        layers = range(self.num_hidden_layers)
        groups = {} if self.group_rule != "none" else {"n_group": 1, "topk_group": 1}  # one group: all rules agree
        return {
            "num_key_value_heads": self.num_attention_heads,
            "mlp_layer_types": ["sparse" if self.sparse_layer(layer) else "dense" for layer in layers],
            "moe_layer_freq": 1,
            "scoring_func": "sigmoid",
            "topk_method": _TOPK_METHODS[self.group_rule],
            **groups,
        }


def _architecture(values: dict[str, Any]) -> str:
    named = values.pop("architectures", None) or []
    named = named if isinstance(named, list) else [named]
    model_type = str(values.pop("model_type", "")).lower()
    if named and named[0] in ARCHITECTURES:
        return str(named[0])
    by_type = {"axk1": "AXK1ForCausalLM", "qwen3": "Qwen3ForCausalLM", "qwen2": "Qwen2ForCausalLM"}
    by_type["llama"] = "LlamaForCausalLM"
    if not named and model_type in by_type:
        return by_type[model_type]
    found = named[0] if named else model_type or "nothing"
    raise UnknownNetwork(f"architectures = {found!r} is not supported; allowed: {', '.join(ARCHITECTURES)}")


def _read_sparse_keys(values: dict[str, Any]) -> None:
    """Brings A.X K1's several spellings of layer types and group rules to this config's fields."""
    for derived in ("head_dim", "qk_head_dim", "num_key_value_heads", "num_local_experts"):
        values.pop(derived, None)
    types = values.pop("mlp_layer_types", None)
    if types is not None and not isinstance(types, list):
        raise CheckpointError(f"mlp_layer_types = {types!r} is not allowed; allowed: a list")
    if types:
        dense = types.index("sparse") if "sparse" in types else len(types)
        if "dense" in types[dense:]:
            raise CheckpointError(f"mlp_layer_types = {types} is not allowed; allowed: dense layers, then sparse ones")
        values["first_k_dense_replace"] = dense
    if values.pop("moe_layer_freq", 1) != 1:
        raise UnknownNetwork("moe_layer_freq other than 1 is not supported")
    if values.pop("scoring_func", "sigmoid") != "sigmoid":
        raise UnknownNetwork("scoring_func other than sigmoid is not supported")
    # The released config says "none", under which transformers still takes groups by their top two: so do we.
    method = values.pop("topk_method", None)
    values.setdefault("group_rule", "max" if method == "group_limited_greedy" else "top2sum")


def _refuse_unsupported(values: dict[str, Any]) -> None:
    if (activation := values.pop("hidden_act", "silu")) != "silu":
        raise UnknownNetwork(f"hidden_act = {activation!r} is not supported; allowed: 'silu'")
    if values.get("use_sliding_window") or "sliding_attention" in str(values.get("layer_types")):
        raise UnknownNetwork("sliding-window attention is not supported; allowed: full attention in every layer")


def _check_required(architecture: str, chosen: dict[str, Any]) -> None:
    """A size that config.json leaves out would be guessed, and other programs may guess otherwise."""
    required = list(_SIZES)
    if architecture == "AXK1ForCausalLM":
        required += ["q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"]
        required += ["n_routed_experts"] + (_ROUTING_SIZES if chosen.get("n_routed_experts") else [])
    for name in required:
        if name not in chosen:
            raise CheckpointError(f"config.json lacks {name!r}, which {architecture} needs")
    if architecture == "Qwen3ForCausalLM":
        chosen.setdefault("head_dim", 128)  # the one size that older Qwen3 configs leave to the class


def _rope_parameters(values: dict[str, Any], max_positions: Any) -> dict[str, Any]:
    """Unites rope_parameters (transformers 5) with rope_theta and rope_scaling (before), and removes them."""
    theta = values.pop("rope_theta", None)
    scaling = values.pop("rope_scaling", None) or {}
    parameters = values.pop("rope_parameters", None) or {}
    for name, value in (("rope_scaling", scaling), ("rope_parameters", parameters)):
        if not isinstance(value, dict):
            raise CheckpointError(f"{name} = {value!r} is not allowed; allowed: an object")
    rope = {**parameters, **scaling}
    rope.setdefault("rope_theta", 10000.0 if theta is None else theta)
    rope["rope_type"] = rope.pop("type", None) or rope.get("rope_type") or "default"
    if rope["rope_type"] in ("yarn", "llama3"):
        rope.setdefault("original_max_position_embeddings", max_positions)
    return rope
