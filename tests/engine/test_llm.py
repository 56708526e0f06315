"""The embedded engine against the plain network: same tokens, same log-likelihoods, whatever shares the batch."""

import math

import pytest
import torch

from axk1.core.errors import ConfigError, TokenizerMismatch
from axk1.engine.llm import LLM
from axk1.model.transformer import Transformer

PROMPTS = ["제3조", "The committee met on day", "예산은 14일에 놓인다. The", "d"]


def greedy_by_hand(model, tokenizer, prompt, max_tokens):
    """The whole text through the network again for every token: no cache, no batch, no padding."""
    ids = tokenizer.encode(prompt)
    written = []
    with torch.no_grad():
        while len(written) < max_tokens:
            token = int(model(torch.tensor([ids]))[0, -1].argmax())
            ids, written = [*ids, token], [*written, token]
            if token in tokenizer.stop_ids:
                return tokenizer.decode(written[:-1]), "stop", len(written)
    return tokenizer.decode(written), "length", len(written)


def test_batched_generation_equals_one_text_at_a_time_without_a_cache(model, tokenizer):
    results = LLM(model, tokenizer, max_num_seqs=3).generate(PROMPTS, max_tokens=24)
    expected = [greedy_by_hand(model, tokenizer, prompt, 24) for prompt in PROMPTS]
    assert [(r.text, r.finish_reason, r.completion_tokens) for r in results] == expected
    assert [r.prompt_tokens for r in results] == [len(tokenizer.encode(p)) for p in PROMPTS]


def test_a_text_that_ends_early_leaves_its_neighbours_alone(model, tokenizer):
    """The bias towards one stop token makes some texts end before others."""
    biased = _with_bias(model, tokenizer.im_end_id)
    results = LLM(biased, tokenizer).generate(PROMPTS * 3, max_tokens=30)
    expected = [greedy_by_hand(biased, tokenizer, prompt, 30) for prompt in PROMPTS] * 3
    assert [(r.text, r.finish_reason, r.completion_tokens) for r in results] == expected
    lengths = {r.completion_tokens for r in results}
    assert len(lengths) > 1, "the test needs texts of different lengths"


def _with_bias(model: Transformer, token: int) -> Transformer:
    """Moves the output row of a token towards states that occur, until it wins now and then."""
    with torch.no_grad():
        states = model.hidden(torch.arange(300).view(10, 30)).states_BTH.flatten(0, 1)
        model.lm_head.weight[token] = states[::29].mean(0) * 0.9
    return model


def test_sampling_repeats_with_its_seed_and_does_not_depend_on_the_batch(model, tokenizer):
    llm = LLM(model, tokenizer)
    options = {"max_tokens": 20, "temperature": 1.0}
    together = [r.text for r in llm.generate(PROMPTS, seed=3, **options)]
    assert together == [r.text for r in LLM(model, tokenizer, max_num_seqs=1).generate(PROMPTS, seed=3, **options)]
    assert together != [r.text for r in llm.generate(PROMPTS, seed=4, **options)]


def test_stream_writes_the_same_text_in_whole_characters(model, tokenizer):
    llm = LLM(model, tokenizer)
    for prompt, whole in zip(PROMPTS, llm.generate(PROMPTS, max_tokens=40), strict=True):
        pieces = list(llm.stream(prompt, max_tokens=40))
        assert "".join(pieces) == whole.text
        assert len(pieces) > 1 or len(whole.text) <= 1


def test_stop_strings_end_the_text_before_them(model, tokenizer):
    llm = LLM(model, tokenizer)
    text = llm.generate([PROMPTS[1]], max_tokens=30)[0].text
    stop = text[8:11]
    cut = text[: text.index(stop)]
    stopped = llm.generate([PROMPTS[1]], max_tokens=30, stop=[stop])[0]
    assert (stopped.text, stopped.finish_reason) == (cut, "stop")
    assert "".join(llm.stream(PROMPTS[1], max_tokens=30, stop=[stop])) == cut


def test_scores_equal_the_network_s_log_likelihoods(model, tokenizer):
    texts = ["제5조 예산은 35일에 놓인다.", "x", "The committee met. " * 30, ""]
    scores = LLM(model, tokenizer).score(texts)
    window = model.config.max_position_embeddings - 1
    for text, score in zip(texts, scores, strict=True):
        ids = tokenizer.encode(text, special=False)
        expected = 0.0
        for start in range(0, len(ids), window):
            piece = [tokenizer.bos_id, *ids[start : start + window]]
            with torch.no_grad():
                logp = model(torch.tensor([piece]))[0].log_softmax(-1)
            expected += sum(float(logp[i, token]) for i, token in enumerate(piece[1:]))
        assert math.isclose(score.log_likelihood, expected, rel_tol=1e-5, abs_tol=1e-6)
        assert (score.tokens, score.bytes) == (len(ids), len(text.encode()))


def test_what_does_not_fit_is_refused(model, tokenizer):
    llm = LLM(model, tokenizer)
    with pytest.raises(ConfigError, match="context"):
        llm.generate(["1" * 200], max_tokens=4)
    with pytest.raises(ConfigError, match="prompt"):
        llm.generate([""], max_tokens=4)
    small = Transformer(type(model.config)(**{**model.config.__dict__, "vocab_size": 300}))
    with pytest.raises(TokenizerMismatch, match="320 entries"):
        LLM(small, tokenizer)


def test_generation_stops_at_the_end_of_the_context(model, tokenizer):
    prompt = "1" * 90
    result = LLM(model, tokenizer).generate([prompt], max_tokens=50)[0]
    assert result.prompt_tokens + result.completion_tokens <= model.config.max_position_embeddings
