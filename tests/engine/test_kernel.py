"""The kernel on a network's own weights, float32 and bfloat16, against torch's modules in float32."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from axk1.engine.kernel import decoder
from axk1.engine.kernel.compiler import kernel
from axk1.engine.kernel.decoder import Decoder
from axk1.engine.kernel.structures import Matrix
from axk1.engine.llm import LLM
from axk1.engine.sampling_params import SamplingParams
from axk1.model.config import ModelConfig
from axk1.model.transformer import Transformer

pytestmark = pytest.mark.skipif(kernel() is None, reason="no C++ compiler is here")
PROMPTS = ["제3조", "The committee met on day", "예산은 14일에 놓인다. The", "d"]
NUMBERS = [torch.float32, torch.bfloat16]
SMALL = {"vocab_size": 333, "hidden_size": 42, "num_hidden_layers": 2, "max_position_embeddings": 160}
LATENT = {
    **SMALL, "num_attention_heads": 3, "q_lora_rank": 13, "kv_lora_rank": 21, "qk_nope_head_dim": 9,
    "qk_rope_head_dim": 6, "v_head_dim": 11, "n_routed_experts": 8, "num_experts_per_tok": 3,
    "moe_intermediate_size": 19, "intermediate_size": 45,
}  # fmt: skip
HEADS = {**SMALL, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 10, "intermediate_size": 45}
ARCHITECTURES = {
    "latent": ("AXK1ForCausalLM", LATENT),
    "latent, plain query": ("AXK1ForCausalLM", {**LATENT, "q_lora_rank": None, "rope_interleave": False}),
    "latent, groups, biases": (
        "AXK1ForCausalLM",
        {**LATENT, "n_group": 4, "topk_group": 2, "n_shared_experts": 2, "attention_bias": True},
    ),
    "Qwen3": ("Qwen3ForCausalLM", HEADS),
    "Qwen3, tied": ("Qwen3ForCausalLM", {**HEADS, "tie_word_embeddings": True}),
    "Qwen2": ("Qwen2ForCausalLM", {**HEADS, "head_dim": None, "num_attention_heads": 3, "num_key_value_heads": 3}),
    "Llama": ("LlamaForCausalLM", {**HEADS, "attention_bias": True, "mlp_bias": True}),
}


def network(architecture: str, sizes: dict) -> Transformer:
    """A network with sizes that are no multiples of anything, and random numbers in every tensor."""
    torch.manual_seed(3)
    model = Transformer(ModelConfig(architecture=architecture, **sizes)).eval().requires_grad_(False)
    for tensor in model.parameters():
        tensor.add_(torch.randn_like(tensor) * 0.1)
    for layer in model.layers:
        if hasattr(layer.mlp, "gate"):
            layer.mlp.gate.e_score_correction_bias.copy_(torch.randn(model.config.n_routed_experts) * 0.2)
    return model


@pytest.fixture(params=ARCHITECTURES)
def odd(request) -> Transformer:
    return network(*ARCHITECTURES[request.param])


def run(llm: LLM, prompt: list[int]) -> torch.Tensor:
    """The log-probabilities of a prompt's next tokens, after a chunk for each third of it."""
    runner, engine, rows = llm.engine._runner, llm.engine, []
    sequence = engine.add_request("rows", prompt, SamplingParams(max_tokens=1))[0]
    while sequence.num_computed_tokens < len(prompt):
        scheduled = engine.scheduler.schedule()
        rows.append(runner._logits(runner._forward(scheduled)[1]))
        sequence.num_computed_tokens += scheduled[0].num_tokens
    return torch.cat(rows).float().log_softmax(-1)


@pytest.mark.parametrize("dtype", NUMBERS)
def test_passes_equal_the_modules_in_float32(odd, tokenizer, dtype):
    model = odd.to(dtype)
    ids = torch.randint(0, 320, (60,), generator=torch.Generator().manual_seed(1)).tolist()
    llm = LLM(model, tokenizer, max_num_batched_tokens=20, max_num_seqs=4)
    assert Decoder.fits(model)
    found = run(llm, ids)
    reference = copy.deepcopy(model).float()
    with torch.inference_mode():
        expected = reference(torch.tensor([ids]))[0].log_softmax(-1)
    if dtype == torch.float32:
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
        return
    # The cache rounds to bfloat16. Torch's passes round every activation as well, so they are further off.
    eager = run(LLM(model, tokenizer, max_num_batched_tokens=20, max_num_seqs=4, enforce_eager=True), ids)
    error = [(each - expected).exp().sub(1).abs().mean() for each in (found, eager)]
    assert error[0] < 0.05 and error[0] < error[1]


@pytest.mark.parametrize("dtype", NUMBERS)
def test_texts_are_the_same_alone_and_together(model, tokenizer, dtype):
    model = model.to(dtype)
    long = "The committee met on day 3. " * 3
    prompts = [*PROMPTS, long, long + "예산", long, PROMPTS[0] * 2]
    together = LLM(model, tokenizer, max_num_seqs=7).generate(prompts, max_tokens=20, seed=5, temperature=0.7)
    for place, prompt in enumerate(prompts):
        llm = LLM(model, tokenizer, enable_prefix_caching=False)
        params = SamplingParams(max_tokens=20, seed=5 * 1_000_003 + place, temperature=0.7)
        assert llm.generate([prompt], params)[0].token_ids == together[place].token_ids


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 40), columns=st.integers(1, 90), count=st.integers(1, 30), heads=st.integers(1, 3),
    narrow=st.booleans(), turned=st.booleans(), bias=st.booleans(), threads=st.integers(1, 3),
)  # fmt: skip
def test_products_with_views_equal_torch_and_no_row_depends_on_another(
    rows, columns, count, heads, narrow, turned, bias, threads
):
    dtype = torch.bfloat16 if narrow else torch.float32
    draw = torch.Generator().manual_seed(rows * columns + count)
    whole = torch.randn(heads, rows + 3, columns + 2, generator=draw).to(dtype)
    weight = whole[heads - 1, 2:-1, :columns] if not turned else whole[heads - 1, 2:-1, :columns].T
    x, extra = torch.randn(count, weight.shape[1], generator=draw), torch.randn(weight.shape[0], generator=draw)
    extra = extra.to(dtype) if bias else None
    matrix, out = Matrix.view(weight, extra), torch.empty(count, weight.shape[0])
    kernel().axk1_linear(matrix, x.data_ptr(), count, out.data_ptr(), threads)
    expected = torch.nn.functional.linear(x.double(), weight.double(), None if extra is None else extra.double())
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-4)
    alone = torch.empty_like(out)
    for row in range(count):
        kernel().axk1_linear(matrix, x[row:].data_ptr(), 1, alone[row:].data_ptr(), 1)
    assert alone.equal(out)


@pytest.mark.parametrize("dtype", NUMBERS)
def test_embeddings_of_short_and_long_texts_equal_the_modules(model, tokenizer, dtype):
    model = model.to(dtype)
    for text in ("d", "The committee met", "제3조 예산은 " * 6):
        ids = tokenizer.encode(text)
        vectors = []
        for options in ({}, {"enforce_eager": True}):
            engine = LLM(model, tokenizer, **options).engine
            sequence = engine.add_request("e", ids, SamplingParams(max_tokens=0, pooling="mean"))[0]
            while engine.has_unfinished_requests():
                engine.step()
            vectors.append(sequence.pooler.vector())
        torch.testing.assert_close(*vectors, rtol=0, atol=1e-5 if dtype == torch.float32 else 0.05)


@pytest.mark.parametrize("method", ["ngram", "mtp"])
@pytest.mark.parametrize("dtype", NUMBERS)
def test_speculation_writes_the_same_text(tokenizer, method, dtype):
    model = network("AXK1ForCausalLM", {**LATENT, "num_nextn_predict_layers": 1}).to(dtype)
    options = {"max_tokens": 60, "temperature": 0.3, "seed": 2}
    prompts = ["d d d d d d", "제3조 예산은 14일 제3조 예산은"]
    plain = LLM(model, tokenizer).generate(prompts, **options)
    llm = LLM(model, tokenizer, speculative_config={"method": method, "prompt_lookup_min": 1})
    assert [r.token_ids for r in llm.generate(prompts, **options)] == [r.token_ids for r in plain]
    assert llm.engine.speculator.num_draft_tokens > 0


@pytest.mark.parametrize("replace", ["load_state_dict", "data", "double and back"])
def test_weights_changed_in_place_count_from_the_next_pass(odd, tokenizer, replace):
    ids = list(range(40, 70))
    llm, other = LLM(odd, tokenizer), copy.deepcopy(odd)
    before = run(llm, ids)
    for tensor in other.parameters():
        tensor.add_(torch.randn_like(tensor) * 0.05)
    if replace == "load_state_dict":
        odd.load_state_dict(other.state_dict())
    elif replace == "data":
        for mine, new in zip(odd.parameters(), other.parameters(), strict=True):
            mine.data = new.data.clone()
    else:
        odd.load_state_dict(other.state_dict())
        odd.double().float()
    llm.engine.abort_all()
    found, expected = run(llm, ids), run(LLM(other, tokenizer, enforce_eager=True), ids)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert (found - before).abs().max() > 0.01


def test_what_the_kernel_cannot_read_goes_through_torch(model, tokenizer):
    prompts, expected = PROMPTS[:2], {}
    for dtype in (torch.float64, torch.float16):
        assert not Decoder.fits(copy.deepcopy(model).to(dtype))
    for eager in (False, True):
        llm = LLM(model, tokenizer, enforce_eager=eager)
        assert (llm.engine._runner._decoder is None) == eager
        expected[eager] = [r.token_ids for r in llm.generate(prompts, max_tokens=12)]
    assert expected[False] == expected[True]


def test_a_text_may_pass_from_the_modules_to_the_kernel(tokenizer, monkeypatch):
    monkeypatch.setattr(decoder, "_PAIRS", dict.fromkeys((False, True), 90 * 90))
    model = network(*ARCHITECTURES["Llama"])
    ids = torch.randint(0, 320, (94,), generator=torch.Generator().manual_seed(2)).tolist()
    texts = [
        LLM(model, tokenizer, enforce_eager=eager).generate([ids], max_tokens=20)[0].token_ids
        for eager in (False, True)
    ]
    assert texts[0] == texts[1]
