"""Texts of models with random weights by grammars: whatever the weights say, what is written fits."""

import json
import re

import jsonschema_rs
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from axk1.core.errors import ConfigError
from axk1.engine.grammar import Grammars
from axk1.engine.guide import thought_is_open
from axk1.engine.llm import LLM
from axk1.engine.sampling_params import SamplingParams
from axk1.engine.structured_outputs import GrammarError, StructuredOutputsParams
from axk1.model.config import ModelConfig
from axk1.model.transformer import Transformer

SCHEMA = {
    "type": "object",
    "properties": {"이름": {"type": "string", "maxLength": 4}, "n": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["이름", "n"],
    "additionalProperties": False,
}
NESTED = 'start: item\nitem: "(" item* ")"'


@pytest.fixture(scope="session")
def llm(tokenizer):
    """A model with room for longer texts."""
    torch.manual_seed(0)
    config = ModelConfig(
        architecture="Qwen2ForCausalLM",
        vocab_size=tokenizer.vocab_size,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=16,
        max_position_embeddings=1024,
    )
    network = Transformer(config)
    for parameter in network.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(std=0.3)
    return LLM(network.double().eval(), tokenizer)


def write(llm, prompt="제3조", **options):
    form = {key: options.pop(key) for key in ("json", "regex", "choice", "grammar", "json_object") if key in options}
    params = SamplingParams(structured_outputs=StructuredOutputsParams(**form), **{"max_tokens": 200, **options})
    return llm.generate([prompt], params)


@pytest.mark.parametrize("temperature", [0, 1.5])
def test_every_kind_of_form_holds_for_every_architecture(model, tokenizer, temperature):
    llm = LLM(model, tokenizer)
    options = {"temperature": temperature, "seed": 1, "n": 3, "max_tokens": 60}
    for result in write(llm, regex=r"[0-9]{4}년 (1[0-2]|[1-9])월", **options):
        assert result.finish_reason == "stop" and re.fullmatch(r"[0-9]{4}년 (1[0-2]|[1-9])월", result.text)
    for result in write(llm, choice=["예", "아니오", "The committee"], **options):
        assert result.finish_reason == "stop" and result.text in ("예", "아니오", "The committee")
    for result in write(llm, json=SCHEMA, **options):
        assert result.finish_reason == "length" or jsonschema_rs.is_valid(SCHEMA, json.loads(result.text))
    for result in write(llm, json=json.dumps(SCHEMA), **options):
        assert result.finish_reason == "length" or jsonschema_rs.is_valid(SCHEMA, json.loads(result.text))
    for result in write(llm, json_object=True, **options):
        assert result.text.startswith("{")
        assert result.finish_reason == "length" or isinstance(json.loads(result.text), dict)
    for grammar in (NESTED, 'root ::= "(" root* ")"'):  # Lark, GBNF
        for result in write(llm, grammar=grammar, **options):
            depths = [
                result.text[: place + 1].count("(") - result.text[: place + 1].count(")")
                for place in range(len(result.text))
            ]
            assert set(result.text) <= set("()") and min(depths[:-1], default=1) > 0
            assert result.finish_reason == "length" or depths[-1] == 0


def test_among_what_fits_the_model_decides(llm):
    """Choices of one byte each come as often as the network's probabilities of them say."""
    choices = ["d", "m", "T"]  # of one byte, so that nothing else can be the beginning of one
    ids = [llm.tokenizer.encode(choice) for choice in choices]
    assert all(len(each) == 1 for each in ids)
    prompt = llm.tokenizer.encode("제3조")
    with torch.no_grad():
        logits = llm.model(torch.tensor([prompt]))[0, -1, [each[0] for each in ids]]
    results = [write(llm, choice=choices, n=128, seed=seed) for seed in range(8)]
    texts = [result.text for batch in results for result in batch]
    shares = [texts.count(choice) / len(texts) for choice in choices]
    assert shares == pytest.approx(logits.softmax(0).tolist(), abs=0.05)


@pytest.mark.parametrize(
    "options",
    [
        {"logit_bias": {token: 100.0 for token in range(60)}},
        {"presence_penalty": 2, "frequency_penalty": 2, "repetition_penalty": 3},
        {"top_k": 1, "min_p": 0.9, "top_p": 0.1},
        {"ignore_eos": True},
    ],
)
def test_no_other_wish_breaks_a_form(llm, options):
    for result in write(llm, regex="(ab|[가-힣]{3}){2,9}!", n=4, seed=2, **options):
        assert result.finish_reason == "stop" and re.fullmatch("(ab|[가-힣]{3}){2,9}!", result.text)


def test_stop_strings_and_log_probabilities_are_as_without_a_form(llm):
    result = write(llm, regex="[a-z]{5}m[a-z]*", stop=("m",), seed=4)[0]
    assert result.finish_reason == "stop" and result.stop_reason == "m" and "m" not in result.text
    first = write(llm, choice=["d"], logprobs=2)[0].logprobs[0]
    with torch.no_grad():
        logprobs = llm.model(torch.tensor([llm.tokenizer.encode("제3조")]))[0, -1].log_softmax(-1)
    assert first.logprob == pytest.approx(logprobs[first.token_id].item())
    assert first.top[0][1] == pytest.approx(logprobs.max().item())


def test_a_sequence_that_waits_again_goes_on_in_its_grammar(llm):
    """Preempted for want of memory and recomputed in chunks: the same texts as with room for all."""
    options = {"json": SCHEMA, "n": 6, "seed": 3, "max_tokens": 60}
    expected = [result.token_ids for result in write(llm, **options)]
    width = llm.model.config.cache_width * llm.model.config.num_hidden_layers * 8
    narrow = LLM(
        llm.model,
        llm.tokenizer,
        kv_cache_memory=10 * 8 * width / 2**30,
        block_size=8,
        max_num_batched_tokens=6,
        max_num_seqs=6,
    )
    assert [result.token_ids for result in write(narrow, **options)] == expected
    assert narrow.engine.scheduler.num_preemptions > 0


def chat(llm, **options):
    return llm.tokenizer.encode_chat([{"role": "user", "content": "a"}], add_generation_prompt=True, **options).ids


def test_a_grammar_waits_until_the_thought_is_over(llm):
    thinking, direct = chat(llm), chat(llm, enable_thinking=False)
    assert thought_is_open(llm.tokenizer, thinking) and not thought_is_open(llm.tokenizer, direct)
    end = llm.tokenizer.special_tokens["</think>"]
    for result in write(llm, thinking, json=SCHEMA, n=4, seed=1, thinking_token_budget=9, max_tokens=300):
        _, mark, answer = result.text.partition("</think>")
        assert mark and result.token_ids.index(end) <= 9
        assert result.finish_reason == "length" or jsonschema_rs.is_valid(SCHEMA, json.loads(answer))
    for result in write(llm, direct, choice=["예"], seed=1):
        assert result.text == "예"
    # Biased towards the end of the turn, a thought can neither end the text nor keep the form from coming.
    bias = {llm.tokenizer.im_end_id: 100.0}
    result = write(llm, thinking, choice=["예"], logit_bias=bias, thinking_token_budget=20, seed=1)[0]
    assert result.text.endswith("</think>예") and result.token_ids.index(end) == 20


@pytest.mark.parametrize("budget", [0, 1, 7])
def test_a_budget_ends_a_thought_exactly(llm, budget):
    end = llm.tokenizer.special_tokens["</think>"]
    params = SamplingParams(
        seed=1, n=3, max_tokens=40, ignore_eos=True, thinking_token_budget=budget, logit_bias={end: -100.0}
    )
    for result in llm.generate([chat(llm)], params):
        assert result.token_ids.index(end) == budget and result.token_ids.count(end) == 1
        assert result.completion_tokens == 40
    free = SamplingParams(seed=1, max_tokens=40, thinking_token_budget=500)
    plain = SamplingParams(seed=1, max_tokens=40)
    assert llm.generate([chat(llm)], free) == llm.generate([chat(llm)], plain)
    unopened = [SamplingParams(seed=1, max_tokens=40, thinking_token_budget=b) for b in (0, None)]
    assert llm.generate(["제3조"], unopened[0]) == llm.generate(["제3조"], unopened[1])


def test_a_thought_that_the_model_opens_has_the_budget_too(llm):
    start, end = (llm.tokenizer.special_tokens[mark] for mark in ("<think>", "</think>"))
    params = SamplingParams(max_tokens=30, thinking_token_budget=4, logit_bias={start: 100.0, end: -100.0})
    tokens = llm.generate(["제3조"], params)[0].token_ids
    assert tokens[0] == start and tokens[5] == end  # and so on, since the bias opens the next


EXACT = st.integers(-(2**53), 2**53)  # llguidance reads larger ones as floating-point numbers


def scalars():
    integers = st.tuples(st.integers(-50, 50), st.integers(0, 60))
    return st.one_of(
        st.just({"type": "boolean"}),
        st.just({"type": "null"}),
        st.builds(lambda b: {"type": "integer", "minimum": b[0], "maximum": b[0] + b[1]}, integers),
        st.builds(
            lambda n, m: {"type": "string", "minLength": n, "maxLength": n + m}, st.integers(0, 4), st.integers(0, 5)
        ),
        st.builds(lambda v: {"enum": v}, st.lists(st.text(max_size=4) | EXACT | st.none(), min_size=1, max_size=4)),
        st.builds(lambda v: {"const": v}, st.text(max_size=5)),
        st.sampled_from([{"type": "string", "pattern": p} for p in ("^[0-9]{3}$", "^(a|bc)+$", "^제[0-9]조$")]),
        st.sampled_from([{"type": "string", "format": form} for form in ("date", "uuid", "ipv4")]),
    )


def compound(inner):
    names = st.text(min_size=1, max_size=4)
    objects = st.builds(
        lambda properties, some, more: {
            "type": "object",
            "properties": properties,
            "required": sorted(properties)[: some + 1],
            "additionalProperties": more,
        },
        st.dictionaries(names, inner, min_size=1, max_size=3),
        st.integers(0, 3),
        st.sampled_from([False, {"type": "boolean"}]),
    )
    arrays = st.builds(
        lambda items, least, more: {"type": "array", "items": items, "minItems": least, "maxItems": least + more},
        inner,
        st.integers(0, 2),
        st.integers(0, 2),
    )
    return objects | arrays | st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=3))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schema=st.recursive(scalars(), compound, max_leaves=5), seed=st.integers(0, 99))
def test_whatever_the_schema_what_is_written_is_json_that_fits_it(llm, schema, seed):
    for result in write(llm, json=schema, seed=seed, max_tokens=80, temperature=1.2):
        assert result.finish_reason in ("stop", "length")
        if result.finish_reason == "stop":
            jsonschema_rs.validate(schema, json.loads(result.text), validate_formats=True)


def deep(levels):
    schema = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def wide(properties):
    return {"type": "object", "properties": {f"k{i}": {"type": "string"} for i in range(properties)}}


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ({"json": "{"}, "EOF"),
        ({"json": {"type": "objct"}}, "objct"),
        ({"json": {"type": "array", "uniqueItems": True}}, "uniqueItems"),
        ({"json": {"$ref": "https://example.org/schema.json"}}, "does not fetch"),
        ({"json": {"$ref": "#"}}, "no text fits"),
        ({"json": {"type": "string", "pattern": "(?=a)b"}}, "pattern|regex|look"),
        ({"json": deep(700)}, "recursion"),
        ({"json": wide(3000)}, "items"),
        ({"json": wide(9000)}, "at most 131072"),
        ({"json": {"type": "integer", "multipleOf": 982451653}}, "fuel"),
        ({"regex": "(a"}, "unclosed"),
        ({"regex": "(a{1000}){1000}"}, "too many"),
        ({"regex": "(" * 5000 + "a" + ")" * 5000}, "regex"),
        ({"grammar": "start: nothing"}, "nothing"),
        ({"grammar": 'start: a{100}\na: b{100}\nb: c{100}\nc: d{100}\nd: "x"'}, "too many items"),
        ({"grammar": "root ::= " + "(" * 5000 + '"a"' + ")" * 5000}, "recursion"),
        ({"grammar": "start: start start | start"}, "no text fits"),
    ],
    ids=range(17),
)
def test_forms_that_cannot_be_used_are_refused_by_name(llm, form, why):
    with pytest.raises(GrammarError, match=f"(?is)structured_outputs.{next(iter(form))} cannot be used: .*{why}"):
        write(llm, **form)


@pytest.mark.parametrize("form", [{}, {"json": {}, "regex": "a"}, {"choice": []}, {"choice": [1]}])
def test_exactly_one_form_is_asked_for(form):
    with pytest.raises(ConfigError, match="structured_outputs"):
        StructuredOutputsParams(**form)


@pytest.mark.parametrize(
    "form",
    [
        {"regex": "((.|\n)*a(.|\n){500}b){100}"},
        {"regex": r"(\p{L}{1,500}\s){1,500}"},
        {"json": {"type": "string", "minLength": 10**6, "maxLength": 10**7}},
        {"json": {"type": "object", "properties": {"x": {"$ref": "#"}}}},
        {"json": {"enum": [f"value {i}" for i in range(5000)]}},
        {"choice": [f"value {i}" for i in range(5000)]},
        {"grammar": 'start: a\na: a a | "x" | a a a |'},
    ],
    ids=range(7),
)
def test_large_and_recursive_forms_that_are_bounded_work(llm, form):
    result = write(llm, **form, max_tokens=40, seed=1)[0]
    assert result.finish_reason in ("stop", "length") and result.completion_tokens > 0


def test_a_grammar_that_explodes_later_ends_its_text_and_no_other(llm):
    exploding = StructuredOutputsParams(regex="x[a-z]{9}(a{1000}){1000}")
    expected = write(llm, json=SCHEMA, seed=1)[0]
    bad = llm.engine.add_request("bad", [5], SamplingParams(structured_outputs=exploding, max_tokens=300, seed=1))[0]
    assert write(llm, json=SCHEMA, seed=1)[0].text == expected.text
    while bad.finish_reason is None:
        llm.engine.step()
    assert bad.finish_reason == "error" and "too many expressions" in bad.stop_reason
    assert not llm.engine.has_unfinished_requests()


def test_grammars_are_compiled_once_and_forgotten_in_order(tokenizer):
    grammars = Grammars(tokenizer)
    first = grammars.compile(StructuredOutputsParams(regex="a0"))
    assert grammars.compile(StructuredOutputsParams(regex="a0")) is first
    for number in range(1, 64):
        grammars.compile(StructuredOutputsParams(regex=f"a{number}"))
    assert grammars.compile(StructuredOutputsParams(regex="a0")) is first
    for number in range(64, 128):
        grammars.compile(StructuredOutputsParams(regex=f"a{number}"))
    assert grammars.compile(StructuredOutputsParams(regex="a0")) is not first
