"""Speculative decoding against the same engine without it: the same texts, whatever is drafted, in any company."""

import copy
import dataclasses
import itertools

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from axk1.core.errors import ConfigError, TokenizerMismatch
from axk1.engine.config import SpeculativeConfig
from axk1.engine.llm import LLM
from axk1.engine.ngram import NgramDrafter
from axk1.engine.sampling_params import SamplingParams
from axk1.engine.speculation import Pace
from axk1.engine.structured_outputs import StructuredOutputsParams
from axk1.model.checkpoint import save_model
from axk1.model.config import ModelConfig
from axk1.model.transformer import Transformer
from axk1.tokenizer.training import learn

PROMPTS = [
    "제3조",
    "The committee met on day 3. The committee met on day",
    "예산은 14일에 놓인다. The",
    "d",
    "제3조 예산은 21일에 놓인다. 제3조 예산은",
    "abab abab abab",
]
GREEDY = SamplingParams(temperature=0, max_tokens=24, logprobs=3)
MIXED = [
    GREEDY,
    SamplingParams(temperature=0.8, seed=1, max_tokens=20, logprobs=2),
    SamplingParams(temperature=0.7, top_p=0.8, seed=2, max_tokens=16, frequency_penalty=0.5),
    SamplingParams(temperature=1.2, top_k=5, seed=3, max_tokens=16, n=3, logprobs=0),
    SamplingParams(temperature=1.0, min_p=0.1, seed=4, max_tokens=16, repetition_penalty=1.2, ignore_eos=True),
    SamplingParams(temperature=0, max_tokens=40, presence_penalty=1.0, logit_bias={40: 3.0}, ignore_eos=True),
]


@pytest.fixture
def precise(model):
    """A network whose texts repeat themselves at times, in double precision."""
    return model.double()


@pytest.fixture
def drafts(precise, tokenizer, tmp_path):
    """A draft model: the network itself, a little off."""
    draft = copy.deepcopy(precise)
    for parameter in draft.parameters():
        if parameter.dim() > 1:
            parameter.data += torch.randn_like(parameter) * 0.004
    save_model(draft, tmp_path)
    tokenizer.save(tmp_path)
    return {"method": "draft_model", "model": str(tmp_path)}


def with_module(tokenizer):
    """A network with a multi-token-prediction module."""
    torch.manual_seed(1)
    config = ModelConfig(
        vocab_size=320, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, q_lora_rank=12, kv_lora_rank=16,
        qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=12, n_routed_experts=4, num_experts_per_tok=2,
        moe_intermediate_size=16, intermediate_size=48, max_position_embeddings=96, num_nextn_predict_layers=1,
    )  # fmt: skip
    network = Transformer(config)
    for parameter in network.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(std=0.15)
    return network.double().eval()


def memory(model, blocks, block_size):
    """GiB of so many blocks."""
    width = model.config.cache_width * model.config.num_hidden_layers
    return blocks * block_size * width * model.embed_tokens.weight.element_size() / 2**30


def write(llm, requests, late=3):
    """Sequences of requests, the later of which come while the earlier are written."""
    engine, sequences = llm.engine, []
    for number, (ids, params) in enumerate(requests):
        sequences += engine.add_request(str(number), ids, params)
        if number >= late:
            engine.step()
    while engine.has_unfinished_requests():
        engine.step()
        held = {block for each in engine.scheduler.running for block in each.block_table}
        assert len(held) + engine.blocks.num_free_blocks == engine.blocks.num_blocks
        assert sum(len(part.block_table) for part in engine.scheduler.running) >= len(held)
    assert engine.blocks.num_free_blocks == engine.blocks.num_blocks
    return sequences


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert one.output_token_ids == other.output_token_ids
        assert one.detokenizer.text == other.detokenizer.text
        assert (one.finish_reason, one.stop_reason) == (other.finish_reason, other.stop_reason)
        assert len(one.logprobs) == (0 if one.params.logprobs is None else one.num_output_tokens)
        for left, right in zip(one.logprobs, other.logprobs, strict=True):
            assert left.token_id == right.token_id and len(left.top) == len(right.top)
            assert left.logprob == pytest.approx(right.logprob, abs=1e-5)
            assert [v for _, v in left.top] == pytest.approx([v for _, v in right.top], abs=1e-5)


both_attentions = pytest.mark.parametrize("model", ["AXK1ForCausalLM", "Qwen3ForCausalLM"], indirect=True)

OPTIONS = [
    {},
    {"block_size": 1, "max_num_seqs": 4},
    {"block_size": 4, "max_num_batched_tokens": 10, "max_num_seqs": 10},
    {"enable_prefix_caching": False, "max_num_seqs": 2},
]


def assert_speculation_changes_nothing(model, tokenizer, speculative_config, options):
    requests = [(tokenizer.encode(prompt), params) for prompt, params in zip(PROMPTS, MIXED, strict=True)]
    requests += [(tokenizer.encode(prompt), GREEDY) for prompt in PROMPTS[:3]]
    expected = write(LLM(model, tokenizer, **options), requests)
    speculative = LLM(model, tokenizer, speculative_config=speculative_config, **options)
    assert_same(write(speculative, requests), expected)
    if not options:
        assert_same([each for one in requests for each in write(speculative, [one])], expected)
    counted = speculative.engine.speculator
    assert 0 < counted.num_drafts <= counted.num_draft_tokens
    assert 0 <= counted.num_accepted_tokens <= counted.num_draft_tokens
    return counted


@both_attentions
@pytest.mark.parametrize("options", OPTIONS)
def test_a_look_up_changes_nothing_but_the_number_of_passes(precise, tokenizer, options):
    config = {"method": "ngram", "prompt_lookup_min": 1, "disable_by_batch_size": 12}
    assert_speculation_changes_nothing(precise, tokenizer, config, options)


@both_attentions
@pytest.mark.parametrize("options", OPTIONS)
def test_a_draft_model_changes_nothing_but_the_number_of_passes(precise, tokenizer, drafts, options):
    counted = assert_speculation_changes_nothing(precise, tokenizer, drafts, options)
    assert counted.num_accepted_tokens > counted.num_draft_tokens / 4


FORMS = [
    StructuredOutputsParams(json={"type": "array", "items": {"enum": ["제3조", 12]}, "minItems": 4, "maxItems": 9}),
    StructuredOutputsParams(regex="(ab ?){6,20}"),
    StructuredOutputsParams(grammar='start: ("day " | "3" | "예산은 "){5,12}'),
]


@pytest.mark.parametrize("method", ["ngram", "draft_model"])
def test_texts_with_a_form_are_the_same_beside_texts_that_are_drafted(precise, tokenizer, drafts, method):
    """A grammar must see each token before the next, so its text is not drafted; its neighbours are."""
    config = drafts if method == "draft_model" else {"method": "ngram", "num_speculative_tokens": 4}
    requests = [(tokenizer.encode(prompt), GREEDY) for prompt in PROMPTS]
    for form, temperature in zip(FORMS, (0, 0.9, 0), strict=True):
        params = SamplingParams(temperature=temperature, seed=9, max_tokens=32, logprobs=2, structured_outputs=form)
        requests.insert(1, (tokenizer.encode(PROMPTS[0]), params))
    plain, speculative = LLM(precise, tokenizer), LLM(precise, tokenizer, speculative_config=config)
    expected = write(plain, requests)
    assert_same(write(speculative, requests), expected)
    assert speculative.engine.speculator.num_draft_tokens > 0
    for request, alone in zip(requests[1:4], write(plain, requests[1:4]), strict=True):
        assert_same(write(speculative, [request]), [alone])


@pytest.mark.parametrize("options", OPTIONS)
def test_multi_token_prediction_changes_nothing_but_the_number_of_passes(tokenizer, options):
    config = {"method": "mtp", "num_speculative_tokens": 3, "disable_by_batch_size": 12}
    assert_speculation_changes_nothing(with_module(tokenizer), tokenizer, config, options)


@both_attentions
@pytest.mark.parametrize("method", ["ngram", "draft_model"])
def test_preempted_sequences_are_recomputed_to_the_same(precise, tokenizer, drafts, method):
    config = drafts if method == "draft_model" else {"method": "ngram", "prompt_lookup_min": 1}
    requests = [(tokenizer.encode(prompt), params) for prompt, params in zip(PROMPTS, MIXED, strict=True)]
    expected = write(LLM(precise, tokenizer), requests)
    share = 2 if method == "draft_model" else 1  # the draft model's cache takes half of the memory
    options = {"block_size": 4, "kv_cache_memory": share * memory(precise, 24, 4), "max_num_batched_tokens": 64}
    llm = LLM(precise, tokenizer, speculative_config=config, **options)
    assert llm.engine.blocks.num_blocks == 24
    assert_same(write(llm, requests), expected)
    assert llm.engine.scheduler.num_preemptions > 0
    assert llm.engine.speculator.num_drafts > 0


class Oracle:
    """Drafts what a text will be, changed where it is told to."""

    def __init__(self, texts, change=lambda token, place: token):
        self.texts, self.change = texts, change

    def propose(self, wanted):
        drafts = []
        for sequence, count in wanted:
            text = self.texts[sequence.request_id, sequence.index]
            start = sequence.num_output_tokens
            drafts.append([self.change(token, start + n) for n, token in enumerate(text[start : start + count])])
        return drafts

    def forget(self, sequence):
        pass

    def reset(self):
        pass


def texts_of(sequences):
    """What comes after the end is guessed too."""
    return {(each.request_id, each.index): [*each.output_token_ids, *range(20)] for each in sequences}


def guessed(llm, oracle):
    llm.engine.speculator._drafter = oracle
    return llm


@both_attentions
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_draft_changes_a_text(model, tokenizer, data):
    """Right and wrong tokens in any order, behind ends, and through stop strings."""
    precise = model.double()
    params = [
        SamplingParams(
            temperature=data.draw(st.sampled_from([0.0, 0.7, 1.0])),
            seed=data.draw(st.integers(0, 99)),
            n=data.draw(st.integers(1, 2)),
            max_tokens=data.draw(st.integers(1, 12)),
            stop=data.draw(st.sampled_from([(), ("e",), ("i", "제"), (" ",)])),
            logprobs=data.draw(st.sampled_from([None, 1])),
            presence_penalty=data.draw(st.sampled_from([0.0, 1.0])),
            ignore_eos=data.draw(st.booleans()),
        )
        for _ in range(3)
    ]
    requests = [(tokenizer.encode(prompt), each) for prompt, each in zip(PROMPTS, params, strict=False)]
    expected = write(LLM(precise, tokenizer), requests)
    wrong = data.draw(st.sets(st.integers(0, 12)))
    oracle = Oracle(texts_of(expected), lambda token, place: (token + place) % 320 if place in wrong else token)
    blocks = data.draw(st.sampled_from([24, 60]))
    config = {"method": "ngram", "num_speculative_tokens": data.draw(st.integers(1, 6))}
    options = {"block_size": data.draw(st.sampled_from([1, 3, 8])), "max_num_batched_tokens": 64}
    memory_of = memory(precise, blocks * 8 // options["block_size"], options["block_size"])
    llm = LLM(precise, tokenizer, speculative_config=config, kv_cache_memory=memory_of, **options)
    assert_same(write(guessed(llm, oracle), requests, late=data.draw(st.integers(0, 3))), expected)


def test_ends_inside_a_draft_drop_what_comes_after_them(precise, tokenizer):
    whole = write(LLM(precise, tokenizer), [(tokenizer.encode(PROMPTS[1]), GREEDY)])[0]
    text = whole.detokenizer.text
    ends = [
        SamplingParams(temperature=0, max_tokens=7, logprobs=1),
        SamplingParams(temperature=0, max_tokens=24, stop=(text[5:8],)),
        SamplingParams(temperature=0, max_tokens=24, stop_token_ids=(whole.output_token_ids[6],)),
    ]
    for params in ends:
        requests = [(tokenizer.encode(PROMPTS[1]), params)]
        expected = write(LLM(precise, tokenizer), requests)
        llm = LLM(precise, tokenizer, speculative_config={"method": "ngram", "num_speculative_tokens": 20})
        found = write(guessed(llm, Oracle(texts_of([whole]))), requests)
        assert_same(found, expected)
        counted, written = llm.engine.speculator, found[0].num_output_tokens
        assert counted.num_drafts == 1, "one draft reaches beyond the end"
        assert llm.engine.generation_tokens == written == expected[0].num_output_tokens


def test_only_tokens_of_the_text_become_known_to_the_prefix_cache(precise, tokenizer):
    ids = tokenizer.encode(PROMPTS[0])
    plain = LLM(precise, tokenizer, block_size=2)
    first = write(plain, [(ids, GREEDY)])
    for change in (lambda token, place: token, lambda token, place: token + 1 if place % 3 == 0 else token):
        llm = LLM(precise, tokenizer, block_size=2, speculative_config={"method": "ngram"})
        assert_same(write(guessed(llm, Oracle(texts_of(first), change)), [(ids, GREEDY)]), first)
        again = [([*ids, *first[0].output_token_ids[:count]], GREEDY) for count in (5, 12, 20)]
        llm.engine.speculator._drafter = NgramDrafter(SpeculativeConfig())
        found, expected = write(llm, again, late=0), write(plain, again, late=0)
        assert_same(found, expected)
        assert [each.num_cached_tokens for each in found] == [each.num_cached_tokens for each in expected]


def test_every_pass_gives_as_many_tokens_as_were_right_and_one_more(precise, tokenizer):
    ids = tokenizer.encode(PROMPTS[2])
    params = dataclasses.replace(GREEDY, max_tokens=21, ignore_eos=True)
    expected = write(LLM(precise, tokenizer), [(ids, params)])
    llm = LLM(precise, tokenizer, speculative_config={"method": "ngram", "num_speculative_tokens": 4})
    guessed(llm, Oracle(texts_of(expected)))
    llm.engine.add_request("0", ids, params)
    sizes = []
    while llm.engine.has_unfinished_requests():
        sizes.append(len(llm.engine.step()))
    assert sizes == [1, 5, 5, 5, 5]
    counted = llm.engine.speculator
    assert (counted.num_drafts, counted.num_draft_tokens, counted.num_accepted_tokens) == (4, 16, 16)


def test_drafts_count_among_the_tokens_of_a_pass_and_stop_in_large_batches(precise, tokenizer):
    params = dataclasses.replace(GREEDY, ignore_eos=True, logprobs=None)
    requests = [(tokenizer.encode(PROMPTS[5]), params)] * 6
    texts = texts_of(write(LLM(precise, tokenizer), requests))
    for most, seqs in ((8, 6), (64, 3)):
        config = {"method": "ngram", "disable_by_batch_size": 6 if most == 8 else 2}
        llm = LLM(
            precise, tokenizer, max_num_batched_tokens=most, max_num_seqs=seqs, speculative_config=config
        )  # the third of three texts turns drafts off
        guessed(llm, Oracle(texts))
        sizes, run = [], llm.engine._runner.run

        def observed(parts, sizes=sizes, run=run):
            sizes.append((len(parts), sum(part.num_tokens for part in parts)))
            return run(parts)

        llm.engine._runner.run = observed
        write(llm, requests, late=9)
        assert max(tokens for _, tokens in sizes) <= most
        assert most == 64 or max(tokens for parts, tokens in sizes if parts == 6) == 8
        assert most == 8 or all(tokens == parts for parts, tokens in sizes if parts == 3 and tokens < 9)


@torch.no_grad()
def drafted_by_hand(model, tokenizer, ids, count):
    """Greedy drafts by the whole text through the network and its module, without a cache."""
    states, drafted = model.hidden(torch.tensor([ids[:-1]])).states_BTH, []
    for _ in range(count):
        following = torch.tensor([[*ids, *drafted][1:]])
        hidden = model.hidden(torch.tensor([ids[:-1]]))
        hidden = dataclasses.replace(hidden, states_BTH=states)
        positions = torch.arange(states.shape[1])[None]
        second = model.predict_second(hidden, following, positions)
        drafted.append(int((second[0, -1] @ model.output_weight.T)[: tokenizer.vocab_size].argmax()))
        states = torch.cat((states, second[:, -1:]), dim=1)
    return drafted


@pytest.mark.parametrize("options", [{}, {"block_size": 3, "max_num_batched_tokens": 6, "max_num_seqs": 6}])
def test_the_module_drafts_what_it_predicts_without_a_cache(tokenizer, options):
    model = with_module(tokenizer)
    config = {"method": "mtp", "num_speculative_tokens": 3}
    llm = LLM(model, tokenizer, speculative_config=config, **options)
    drafter, seen = llm.engine.speculator._drafter, []
    propose = drafter.propose

    def observed(wanted):
        drafts = propose(wanted)
        seen.extend(
            (list(sequence.token_ids), count, draft) for (sequence, count), draft in zip(wanted, drafts, strict=True)
        )
        return drafts

    drafter.propose = observed
    ids = tokenizer.encode(PROMPTS[1])
    requests = [(ids, GREEDY), (ids, SamplingParams(temperature=0, max_tokens=9)), (tokenizer.encode("d"), GREEDY)]
    write(llm, requests)
    assert len(seen) > 10 and max(count for _, count, _ in seen) == 3
    for token_ids, count, draft in seen:
        assert draft == drafted_by_hand(model, tokenizer, token_ids, count)


def test_a_draft_model_shares_beginnings_and_makes_room(precise, tokenizer, drafts):
    llm = LLM(precise, tokenizer, block_size=2, speculative_config=drafts)
    requests = [(tokenizer.encode(PROMPTS[1]), GREEDY)]
    first, again = write(llm, requests), write(llm, requests)
    assert_same(again, first)
    drafter = llm.engine.speculator._drafter
    assert drafter._blocks.hit_tokens >= len(requests[0][0]) // 2 * 2 - 2
    assert drafter._blocks.num_free_blocks == drafter._blocks.num_blocks, "texts that have ended hold nothing"


def test_what_cannot_draft_is_refused(precise, tokenizer, drafts, tmp_path):
    learn(iter(["another text altogether\n"] * 9), vocab_size=300, reserved_tokens=7).save(tmp_path)
    with pytest.raises(TokenizerMismatch, match="another tokenizer"):
        LLM(precise, tokenizer, speculative_config=drafts)
    with pytest.raises(ConfigError, match=r"method = 'mtp'.*no such module"):
        LLM(precise, tokenizer, speculative_config={"method": "mtp"})
    for wrong in (
        {"method": "draft_model"},
        {"method": "ngram", "model": "x"},
        {"num_speculative_tokens": 0},
        {"num_speculative_tokens": 64},
        {"prompt_lookup_max": 1},
        {"method": "lookahead"},
        {"disable_by_batch_size": 0},
    ):
        with pytest.raises(ConfigError):
            LLM(precise, tokenizer, speculative_config=wrong)


def test_an_interrupted_pass_leaves_nothing_wrong_behind(precise, tokenizer, drafts):
    requests = [(tokenizer.encode(prompt), GREEDY) for prompt in PROMPTS]
    expected = write(LLM(precise, tokenizer), requests)
    llm = LLM(precise, tokenizer, speculative_config=drafts)
    draft = llm.engine.speculator._drafter._runner._model

    def interrupt(*_):
        raise KeyboardInterrupt

    hook = draft.layers[1].register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(llm, requests)
    hook.remove()
    assert not llm.engine.has_unfinished_requests()
    assert_same(write(llm, requests), expected)


@given(
    tokens=st.lists(st.integers(0, 3), max_size=30).map(lambda ids: [id_ * 257 for id_ in ids]),
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    count=st.integers(1, 9),
)
def test_a_look_up_finds_what_stood_behind_the_same_tokens_last(tokens, sizes, count):
    config = SpeculativeConfig(prompt_lookup_min=min(sizes), prompt_lookup_max=max(sizes))
    expected = []
    for size in range(max(sizes), min(sizes) - 1, -1):
        places = [at for at in range(len(tokens) - size) if tokens[at : at + size] == tokens[len(tokens) - size :]]
        if places:
            text = list(tokens)
            for _ in range(count):
                text.append(text[places[-1] + size + len(text) - len(tokens)])
            expected = text[len(tokens) :]
            break
    assert NgramDrafter(config).continuation(tokens, count) == expected


def test_drafts_shrink_when_they_are_wrong_and_grow_when_they_are_right():
    pace, lengths = Pace(8), []
    for _ in range(60):
        lengths.append(pace.next())
        if lengths[-1]:
            pace.learn(lengths[-1], 0)
    assert lengths[:3] == [8, 4, 2]
    pauses = [len(list(run)) for drafts, run in itertools.groupby(lengths, bool) if not drafts]
    assert pauses[:4] == [2, 4, 8, 16]
    while (length := pace.next()) < 8:
        if length:
            pace.learn(length, length)
    pace.learn(8, 4)
    assert pace.next() == 8
    pace.learn(8, 3)
    assert pace.next() == 4
