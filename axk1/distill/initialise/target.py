"""The student's ``ModelConfig``: the teacher's with the sizes that were asked for, checked against the method."""

import dataclasses
from typing import Any

from axk1.core.config import require
from axk1.core.errors import CheckpointError, ConfigError
from axk1.distill.initialise.config import InitConfig
from axk1.model.config import ModelConfig

_CUT_BY = {
    "depth": ("num_hidden_layers",),
    "width": (
        "hidden_size", "intermediate_size", "moe_intermediate_size", "num_attention_heads", "num_key_value_heads",
        "q_lora_rank", "kv_lora_rank",
    ),
    "moe_to_dense": ("intermediate_size", "num_key_value_heads", "head_dim", "n_routed_experts"),
    "fewer_experts": ("n_routed_experts", "num_experts_per_tok"),
}  # fmt: skip
"""The sizes that each method can change; ``random`` can change all."""
_MAY_GROW = {"moe_to_dense": ("intermediate_size", "head_dim")}
"""Sizes that may exceed the teacher's: new neurons add nothing at first, and a head's size has no counterpart."""


def student_config(teacher: ModelConfig, config: InitConfig) -> ModelConfig:
    """The student's config. With ``depth`` its first layers are dense as the teacher's, until it is known which stay.

    Raises:
        ConfigError: the method cannot make such a student of this teacher; names the field and what is allowed.
    """
    _check_method(teacher, config)
    values = dict(config.size.given)
    if config.method == "moe_to_dense":
        values["n_routed_experts"] = 0
        met = teacher.moe_intermediate_size * (teacher.n_shared_experts + teacher.num_experts_per_tok)
        values.setdefault("intermediate_size", met)
    # The module that predicts the token after the next stays behind: a student is taught without it.
    values["num_nextn_predict_layers"] = 0
    if config.architecture != "same":
        values |= _grouped_query(teacher, config)
    elif not teacher.latent_attention:
        values.setdefault("head_dim", teacher.rotary_dim)  # it would follow hidden_size otherwise
    layers = values.get("num_hidden_layers", teacher.num_hidden_layers)
    dense = layers if values.get("n_routed_experts") == 0 else min(teacher.first_k_dense_replace, layers)
    values["first_k_dense_replace"] = dense
    try:
        return dataclasses.replace(teacher, **values)
    except (ConfigError, CheckpointError) as error:
        raise ConfigError(f"size: {error.message}") from None


def _check_method(teacher: ModelConfig, config: InitConfig) -> None:
    method, sparse = config.method, teacher.is_sparse and teacher.first_k_dense_replace < teacher.num_hidden_layers
    if method in ("moe_to_dense", "fewer_experts"):
        require(sparse, "method", method, f"depth, width, random, since {str(config.teacher)!r} has no experts")
    for name, value in config.size.given.items():
        if method == "random":
            continue
        own = getattr(teacher, name)
        able = name in _CUT_BY[method]
        require(able or value == own, f"size.{name}", value, f"{own}, the teacher's, with method = {method!r}")
        if method == "moe_to_dense" and name == "n_routed_experts":
            require(value == 0, "size.n_routed_experts", value, "0 with method = 'moe_to_dense'")
        elif able and name not in _MAY_GROW.get(method, ()):
            own = own or (teacher.kv_heads if name == "num_key_value_heads" else 0)
            least = 1 if name == "n_routed_experts" else 0
            require(least <= value <= own, f"size.{name}", value, f"up to {own}, the teacher's")
    if method == "fewer_experts":
        _check_groups(teacher, config)
    if method == "width" and not teacher.latent_attention:
        _check_heads(teacher, config)


def _check_groups(teacher: ModelConfig, config: InitConfig) -> None:
    kept, groups = config.size.n_routed_experts, teacher.n_group
    good = kept is None or kept % groups == 0
    require(good, "size.n_routed_experts", kept, f"a multiple of the teacher's n_group ({groups})")


def _check_heads(teacher: ModelConfig, config: InitConfig) -> None:
    """Every key and value head keeps as many query heads, and no more than it has."""
    heads = config.size.num_attention_heads or teacher.num_attention_heads
    groups = config.size.num_key_value_heads or teacher.kv_heads
    most = groups * (teacher.num_attention_heads // teacher.kv_heads)
    fits = heads % groups == 0 and heads <= most
    require(fits, "size.num_attention_heads", heads, f"a multiple of {groups}, the key and value heads, up to {most}")


def _grouped_query(teacher: ModelConfig, config: InitConfig) -> dict[str, Any]:
    """What grouped-query attention in place of latent attention asks for."""
    require(
        teacher.latent_attention, "architecture", config.architecture, f"'same', since it is {teacher.architecture}"
    )
    least = max(teacher.qk_nope_head_dim + teacher.qk_rope_head_dim, teacher.v_head_dim)
    turned = teacher.qk_rope_head_dim
    least = -(-least // turned) * turned
    head_dim = config.size.head_dim or least
    if config.method == "moe_to_dense" and config.attention == "least_squares":
        fits = head_dim >= least and head_dim % turned == 0
        require(fits, "size.head_dim", head_dim, f"a multiple of qk_rope_head_dim ({turned}), {least} or more")
        kind = teacher.rope_parameters.get("rope_type", "default")
        repair = "set attention = 'random'"
        require(kind == "default", "architecture", config.architecture, "'same' under a scaled rope", repair=repair)
    return {"architecture": config.architecture, "head_dim": head_dim, "attention_bias": False}
