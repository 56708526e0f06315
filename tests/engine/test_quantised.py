"""Quantised networks in the engine: near the unrounded network, and the same text alone and in a batch."""

import copy

import pytest
import torch

from axk1.core.errors import CheckpointError, ConfigError
from axk1.engine.kernel.compiler import kernel
from axk1.engine.kernel.packing import KINDS
from axk1.engine.llm import LLM
from axk1.engine.quantised.applying import quantise, quantised_kind, weight_bytes
from axk1.engine.quantised.folder import open_model, save_quantised
from axk1.engine.sampling_params import SamplingParams
from axk1.model.config import ModelConfig
from axk1.model.transformer import Transformer

PROMPTS = ["제3조", "The committee met on day", "예산은 14일에 놓인다. The", "d"]
EXPERT_RULES = [
    {},
    {"q_lora_rank": None, "rope_interleave": False, "norm_topk_prob": False},
    {"n_routed_experts": 8, "n_group": 4, "topk_group": 2, "first_k_dense_replace": 0},
    {"n_routed_experts": 8, "n_group": 4, "topk_group": 2, "group_rule": "max", "n_shared_experts": 2},
    {
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 1e4,
            "factor": 4.0,
            "original_max_position_embeddings": 24,
        }
    },
]
needs_kernel = pytest.mark.skipif(kernel() is None, reason="no C++ compiler is here")


def calmer(model: Transformer) -> Transformer:
    """Weights as small as those of trained networks, so that a rounding is not amplified from layer to layer."""
    model = copy.deepcopy(model)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 and "embed" not in name:
            parameter.data.mul_(0.4)
    return model


def states_of(llm: LLM, prompt: list[int]) -> torch.Tensor:
    """The states of a prompt, as the runner makes them."""
    llm.engine.add_request("states", prompt, SamplingParams(max_tokens=1))
    return llm.engine._runner._forward(llm.engine.scheduler.schedule())[1]


@needs_kernel
@pytest.mark.parametrize("kind", KINDS)
def test_one_call_of_the_kernel_equals_the_modules(model, tokenizer, kind):
    model = quantise(calmer(model), kind)
    ids = torch.randint(0, 300, (1, 41), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = model.hidden(ids).states_BTH[0]
    found = states_of(LLM(model, tokenizer), ids[0].tolist())
    error = (found - expected).norm() / expected.norm()
    # Latent attention multiplies with other roundings of the same matrix where it absorbs it.
    latent = model.config.latent_attention
    assert error < {"bf16": 1e-5, "int8": 0.02 if latent else 5e-3, "int4": 0.2 if latent else 5e-3}[kind]


@needs_kernel
@pytest.mark.parametrize("rules", EXPERT_RULES)
def test_the_kernel_knows_every_form_of_routing_and_latent_attention(tokenizer, rules):
    sizes = {"vocab_size": 320, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 3}
    sizes |= {"q_lora_rank": 12, "kv_lora_rank": 20, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 12}
    sizes |= {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "intermediate_size": 40}
    torch.manual_seed(3)
    model = Transformer(ModelConfig(max_position_embeddings=96, **{**sizes, **rules})).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    for layer in model.layers:
        if hasattr(layer.mlp, "gate"):
            layer.mlp.gate.e_score_correction_bias.copy_(torch.randn(model.config.n_routed_experts) * 0.2)
    model = quantise(model, "bf16")
    ids = torch.randint(0, 300, (1, 60))
    with torch.inference_mode():
        expected = model.hidden(ids).states_BTH[0]
    torch.testing.assert_close(states_of(LLM(model, tokenizer), ids[0].tolist()), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_logits_stay_near_those_of_the_unrounded_network(model, kind):
    plain = calmer(model)
    ids = torch.randint(0, 300, (2, 40), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = plain(ids).log_softmax(-1)
        found = quantise(copy.deepcopy(plain), kind)(ids).log_softmax(-1)
    divergence = (expected.exp() * (expected - found)).sum(-1).mean()
    assert -1e-6 < divergence < {"bf16": 1e-4, "int8": 1e-3, "int4": 0.1}[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_the_same_alone_and_together(model, tokenizer, kind):
    model = quantise(model, kind)
    long = "The committee met on day 3. " * 3
    prompts = [*PROMPTS, long, long + "예산", long]
    options = {"max_tokens": 20, "seed": 5, "temperature": 0.7}
    together = LLM(model, tokenizer, max_num_seqs=4).generate(prompts, **options)
    for place, prompt in enumerate(prompts):
        llm = LLM(model, tokenizer, enable_prefix_caching=False)
        params = SamplingParams(max_tokens=20, seed=5 * 1_000_003 + place, temperature=0.7)
        assert llm.generate([prompt], params)[0].token_ids == together[place].token_ids


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_follow_the_bits(model, kind):
    matrices = sum(p.numel() for p in model.parameters() if p.dim() > 1)
    found = weight_bytes(quantise(model, kind)) / matrices
    assert found < {"bf16": 3.6, "int8": 2.2, "int4": 1.5}[kind]  # tiny matrices are mostly padding
    assert quantised_kind(model) == kind


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_gives_the_network_back(model, tokenizer, tmp_path, kind):
    quantise(model, kind)
    save_quantised(model, tmp_path)
    again = open_model(tmp_path)
    assert quantised_kind(again) == kind
    texts = [LLM(each, tokenizer).generate(PROMPTS, max_tokens=12) for each in (model, again)]
    assert texts[0] == texts[1]
    assert LLM(model, tokenizer).score(PROMPTS) == LLM(again, tokenizer).score(PROMPTS)


def test_tied_embeddings_are_stored_once_and_stay_tied(tokenizer, tmp_path):
    config = ModelConfig(
        architecture="Qwen3ForCausalLM", vocab_size=320, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=48, tie_word_embeddings=True, max_position_embeddings=64,
    )  # fmt: skip
    model = quantise(Transformer(config), "int4")
    save_quantised(model, tmp_path)
    again = open_model(tmp_path)
    assert again.lm_head.packed is again.embed_tokens.packed
    assert weight_bytes(again) == weight_bytes(model)
    assert again.output_weight.equal(model.output_weight)


def test_corrupt_and_foreign_folders_are_refused(model, tmp_path):
    save_quantised(quantise(model, "int8"), tmp_path)
    with pytest.raises(ConfigError, match="int8"):
        open_model(tmp_path, weights="int4")
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"group_size": 32', '"group_size": 64'))
    with pytest.raises(CheckpointError, match="cannot read"):
        open_model(tmp_path)
    (tmp_path / "config.json").write_text(config)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cannot be read"):
        open_model(tmp_path)
