"""Continuous batching against the plain network without a cache: same tokens and log-probabilities, whatever the batch,
the sizes of blocks and chunks, the memory, and what was in the cache before."""

import pytest
import torch

from axk1.core.errors import ConfigError
from axk1.engine.llm import LLM
from axk1.engine.sampling_params import SamplingParams

PROMPTS = [
    "제3조",
    "The committee met on day",
    "예산은 14일에 놓인다. The",
    "d",
    "제3조 예산은 21일에 놓인다. The comm",
]
GREEDY = SamplingParams(temperature=0, max_tokens=20, logprobs=4, prompt_logprobs=3)


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def precise(model, request):
    return model.to(request.param)


def memory(model, blocks, block_size):
    """GiB of so many blocks."""
    width = model.config.cache_width * model.config.num_hidden_layers
    return blocks * block_size * width * model.embed_tokens.weight.element_size() / 2**30


@torch.no_grad()
def by_hand(model, tokenizer, prompt, params):
    """Greedy tokens, and the log-probabilities [T, V] of all positions, by a whole forward for each token."""
    ids = tokenizer.encode(prompt)
    start = len(ids)
    while len(ids) - start < params.max_tokens:
        logits = model(torch.tensor([ids]))[0]
        ids.append(int(logits[-1, : tokenizer.vocab_size].argmax()))
        if ids[-1] in tokenizer.stop_ids:
            break
    return ids[start:], model(torch.tensor([ids]))[0].log_softmax(-1), ids


def assert_equals_by_hand(model, tokenizer, prompt, result, params=GREEDY):
    tokens, logprobs_TV, ids = by_hand(model, tokenizer, prompt, params)
    assert list(result.token_ids) == tokens
    start = result.prompt_tokens
    found = [*result.prompt_logprobs, *result.logprobs]
    assert [each.token_id for each in found] == ids[1:]
    assert len(result.prompt_logprobs) == start - 1
    for place, each in enumerate(found):
        row = logprobs_TV[place]
        expected = [row[each.token_id], *row.topk(len(each.top)).values]
        torch.testing.assert_close(
            torch.tensor([each.logprob, *(p for _, p in each.top)]).to(row), torch.stack(expected)
        )
        assert [p for _, p in each.top] == sorted((p for _, p in each.top), reverse=True)
        assert len(each.top) == (params.prompt_logprobs if place < start - 1 else params.logprobs)
        torch.testing.assert_close(row[[i for i, _ in each.top]], torch.stack(expected[1:]))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"block_size": 1},
        {"block_size": 5, "max_num_batched_tokens": 7, "max_num_seqs": 3},
        {"max_num_batched_tokens": 5, "max_num_seqs": 5, "enable_prefix_caching": False},
        {"max_num_seqs": 1, "max_num_batched_tokens": 1},
    ],
)
def test_tokens_and_logprobs_equal_a_forward_without_a_cache(precise, tokenizer, options):
    llm = LLM(precise, tokenizer, **options)
    for prompt, result in zip(PROMPTS, llm.generate(PROMPTS, GREEDY), strict=True):
        assert_equals_by_hand(precise, tokenizer, prompt, result)
    assert llm.engine.blocks.num_free_blocks == llm.engine.blocks.num_blocks


def test_preempted_sequences_are_recomputed_to_the_same(model, tokenizer):
    model = model.double()
    llm = LLM(model, tokenizer, block_size=4, kv_cache_memory=memory(model, 18, 4), max_num_batched_tokens=64)
    for prompt, result in zip(PROMPTS, llm.generate(PROMPTS, GREEDY), strict=True):
        assert_equals_by_hand(model, tokenizer, prompt, result)
    assert llm.engine.scheduler.num_preemptions > 0, "the test needs a cache too small for all"
    assert llm.engine.blocks.num_free_blocks == llm.engine.blocks.num_blocks


def test_what_the_prefix_cache_held_changes_nothing(model, tokenizer):
    model = model.double()
    llm = LLM(model, tokenizer, block_size=4)
    params = SamplingParams(temperature=0, max_tokens=20, logprobs=2)
    first = llm.generate(PROMPTS, params)
    again = llm.generate(PROMPTS, params)
    longer = llm.generate([[*tokenizer.encode(PROMPTS[1]), *first[1].token_ids]], params)[0]
    assert [r.token_ids for r in again] == [r.token_ids for r in first]
    assert all(r.cached_tokens == (r.prompt_tokens - 1) // 4 * 4 for r in again)
    assert longer.cached_tokens == (first[1].prompt_tokens + first[1].completion_tokens - 1) // 4 * 4
    for one, two in zip(first, again, strict=True):
        assert [x.logprob for x in one.logprobs] == pytest.approx([x.logprob for x in two.logprobs], rel=1e-9)
    off = LLM(model, tokenizer, block_size=4, enable_prefix_caching=False)
    off.generate(PROMPTS, params)
    assert all(r.cached_tokens == 0 for r in off.generate(PROMPTS, params))


def test_prompts_of_one_pass_share_their_beginning(model, tokenizer):
    model = model.double()
    llm = LLM(model, tokenizer, block_size=4)
    results = llm.generate([PROMPTS[4]], SamplingParams(n=5, temperature=0, max_tokens=6))
    assert len({r.token_ids for r in results}) == 1 and len(results) == 5
    assert list(results[0].token_ids) == by_hand(model, tokenizer, PROMPTS[4], SamplingParams(max_tokens=6))[0]
    assert [r.cached_tokens > 0 for r in results] == [False, True, True, True, True]


def test_a_full_cache_drops_what_was_unused_for_longest(model, tokenizer):
    model = model.double()
    llm = LLM(model, tokenizer, block_size=4, kv_cache_memory=memory(model, 8, 4))
    params = SamplingParams(temperature=0, max_tokens=8)
    expected = [r.token_ids for r in LLM(model, tokenizer).generate(PROMPTS, params)]
    for _ in range(3):
        assert [r.token_ids for r in llm.generate(PROMPTS, params)] == expected


SAMPLED = [
    SamplingParams(temperature=1.0, seed=1, max_tokens=16),
    SamplingParams(temperature=0.7, top_p=0.8, seed=2, max_tokens=16, frequency_penalty=0.5),
    SamplingParams(temperature=1.3, top_k=5, seed=3, max_tokens=16, n=3),
    SamplingParams(temperature=1.0, min_p=0.1, seed=4, max_tokens=16, repetition_penalty=1.2, ignore_eos=True),
    SamplingParams(temperature=0, max_tokens=16, presence_penalty=1.0, logit_bias={40: 3.0}),
]


def test_the_same_seed_gives_the_same_text_in_any_company(model, tokenizer):
    model = model.double()
    alone = [LLM(model, tokenizer).generate([prompt], params) for prompt, params in zip(PROMPTS, SAMPLED, strict=True)]
    engine = LLM(model, tokenizer, block_size=4, kv_cache_memory=memory(model, 24, 4), max_num_batched_tokens=64).engine
    together = []
    for number, (prompt, params) in enumerate(zip(PROMPTS, SAMPLED, strict=True)):
        together.append(engine.add_request(str(number), tokenizer.encode(prompt), params))
        engine.step()
    while engine.has_unfinished_requests():
        engine.step()
    assert engine.scheduler.num_preemptions > 0
    for one, other in zip(alone, together, strict=True):
        assert [list(r.token_ids) for r in one] == [s.output_token_ids for s in other]
        assert [r.text for r in one] == [s.detokenizer.text for s in other]
    assert len({r.token_ids for r in alone[2]}) > 1, "the n texts of a prompt differ"


def test_an_aborted_request_frees_its_blocks_and_its_neighbours_go_on(model, tokenizer):
    engine = LLM(model, tokenizer).engine
    params = SamplingParams(temperature=0, max_tokens=12, n=2)
    kept = engine.add_request("kept", tokenizer.encode(PROMPTS[1]), params)
    engine.add_request("running", tokenizer.encode(PROMPTS[0]), params)
    engine.step()
    engine.add_request("waiting", tokenizer.encode(PROMPTS[2]), params)
    used = engine.blocks.num_blocks - engine.blocks.num_free_blocks
    engine.abort_request("running")
    engine.abort_request("waiting")
    engine.abort_request("never was")
    assert engine.blocks.num_blocks - engine.blocks.num_free_blocks < used
    while engine.has_unfinished_requests():
        engine.step()
    assert engine.blocks.num_free_blocks == engine.blocks.num_blocks
    assert kept[0].output_token_ids == kept[1].output_token_ids != []


def test_what_can_never_run_is_refused_before_anything_starts(model, tokenizer):
    llm = LLM(model, tokenizer, block_size=4, kv_cache_memory=memory(model, 5, 4))
    with pytest.raises(ConfigError, match=r"room for \d+ tokens, but kv_cache_memory = .* holds 20") as refused:
        llm.generate(["d"], SamplingParams(max_tokens=40))
    assert refused.value.repair.startswith("--kv-cache-memory")
    assert llm.generate(["d"], SamplingParams(temperature=0, ignore_eos=True))[0].completion_tokens == 20
    with pytest.raises(ConfigError, match="8 more than fit"):
        LLM(model, tokenizer).generate([[5] * 103], SamplingParams())
    with pytest.raises(ConfigError, match="less than one block"):
        LLM(model, tokenizer, kv_cache_memory=1e-9)
    with pytest.raises(ConfigError, match="a token of prompt = 320"):
        llm.generate([[320]], SamplingParams())
    with pytest.raises(ConfigError, match="did you mean 'block_size'"):
        LLM(model, tokenizer, blocksize=3)
    with pytest.raises(ConfigError, match="max_num_seqs"):
        LLM(model, tokenizer, max_num_batched_tokens=8)
    assert not llm.engine.has_unfinished_requests()


def test_prompts_alone_can_be_scored(model, tokenizer):
    params = SamplingParams(max_tokens=0, prompt_logprobs=0)
    results = LLM(model.double(), tokenizer, max_num_batched_tokens=3, max_num_seqs=2).generate(PROMPTS, params)
    for prompt, result in zip(PROMPTS, results, strict=True):
        ids = torch.tensor(tokenizer.encode(prompt))
        with torch.no_grad():
            expected = model(ids[None])[0].log_softmax(-1)[:-1].gather(1, ids[1:, None]).squeeze(1).tolist()
        assert [each.logprob for each in result.prompt_logprobs] == pytest.approx(expected, rel=1e-6)
        assert (result.text, result.token_ids, result.finish_reason) == ("", (), "length")


def test_a_pass_that_was_interrupted_leaves_nothing_wrong_behind(model, tokenizer):
    """Blocks become known before they are filled; an interruption in between must not leave them known."""
    model = model.double()
    llm, params = LLM(model, tokenizer, block_size=4), SamplingParams(temperature=0, max_tokens=8)
    expected = LLM(model, tokenizer).generate(PROMPTS, params)

    def interrupt(*_):
        raise KeyboardInterrupt

    hook = model.layers[1].register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        llm.generate(PROMPTS, params)
    hook.remove()
    assert llm.engine.blocks.num_free_blocks == llm.engine.blocks.num_blocks
    assert [r.token_ids for r in llm.generate(PROMPTS, params)] == [r.token_ids for r in expected]


def test_log_probabilities_of_prompts_survive_preemption(model, tokenizer):
    model = model.double()
    options = {"block_size": 4, "max_num_batched_tokens": 5, "max_num_seqs": 5}
    llm = LLM(model, tokenizer, kv_cache_memory=memory(model, 16, 4), **options)
    params = SamplingParams(temperature=0, max_tokens=30, logprobs=4, prompt_logprobs=3)
    for prompt, result in zip(PROMPTS, llm.generate(PROMPTS, params), strict=True):
        assert_equals_by_hand(model, tokenizer, prompt, result, params)
    assert llm.engine.scheduler.num_preemptions > 0
