"""Text completions: echo and log-probabilities as lm-eval reads them, token ids, several prompts at once."""

import pytest
import torch

from axk1.engine.sampling_params import SamplingParams

PROMPT = "제3조 예산은 14일에"


def ask(server, prompt=PROMPT, **options):
    options = {"max_tokens": 12, "seed": 3, **options}
    return server.client.completions.create(model="tiny", prompt=prompt, **options)


def test_continuations_are_the_engine_s(server):
    prompts = [PROMPT, "d", "The committee"]
    params = SamplingParams(seed=3, n=2, max_tokens=12, skip_special_tokens=True)
    expected = [r.text for r in server.llm.generate(prompts, params)]
    assert [c.text for c in ask(server, prompts, n=2).choices] == expected
    ids = [server.llm.tokenizer.encode(prompt) for prompt in prompts]
    assert [c.text for c in ask(server, ids, n=2).choices] == expected
    assert ask(server, ids[0]).choices[0].text == expected[0]
    pieces = dict.fromkeys(range(6), "")
    for chunk in ask(server, prompts, n=2, stream=True):
        for choice in chunk.choices:
            pieces[choice.index] += choice.text
    assert list(pieces.values()) == expected


@pytest.mark.parametrize("max_tokens", [0, 1, 5])
def test_an_echo_scores_the_prompt_as_lm_eval_asks_for_it(server, network, max_tokens):
    ids = server.llm.tokenizer.encode(PROMPT)
    answer = ask(server, [ids], max_tokens=max_tokens, echo=True, logprobs=1, temperature=0)
    choice, found = answer.choices[0], answer.choices[0].logprobs
    assert choice.text.startswith(PROMPT)
    assert len(found.tokens) == len(ids) + answer.usage.completion_tokens
    with torch.no_grad():
        logprobs_TV = network(torch.tensor([ids]))[0].log_softmax(-1)
    assert found.token_logprobs[0] is None and found.top_logprobs[0] is None
    own = logprobs_TV[:-1].gather(1, torch.tensor(ids[1:])[:, None]).squeeze(1).tolist()
    assert found.token_logprobs[1 : len(ids)] == pytest.approx(own)
    for place in range(1, len(ids)):
        is_greedy = int(logprobs_TV[place - 1].argmax()) == ids[place]
        top = found.top_logprobs[place]
        assert (max(top, key=top.get) == found.tokens[place]) == is_greedy
    assert found.text_offset == sorted(found.text_offset)
    if max_tokens == 0:
        assert choice.text == PROMPT and answer.usage.completion_tokens == 0


def test_prompt_logprobs_come_in_vllm_s_form(server):
    choice = ask(server, extra_body={"prompt_logprobs": 1}).choices[0]
    ids = server.llm.tokenizer.encode(PROMPT)
    assert choice.prompt_logprobs[0] is None
    for token, entry in zip(ids[1:], choice.prompt_logprobs[1:], strict=True):
        assert str(token) in entry and 1 in [each["rank"] for each in entry.values()]


def test_special_tokens_in_a_rendered_prompt_count(server):
    answer = ask(server, "a<|im_end|>", max_tokens=1)
    assert answer.usage.prompt_tokens == len(server.llm.tokenizer.encode("a")) + 1


def test_stop_tokens_and_ignored_ends(server):
    free = ask(server, temperature=0, extra_body={"ignore_eos": True}, max_tokens=9, logprobs=0)
    assert free.usage.completion_tokens == 9
    token = server.llm.generate([PROMPT], SamplingParams(temperature=0, ignore_eos=True, max_tokens=4))[0].token_ids[3]
    stopped = ask(server, temperature=0, extra_body={"ignore_eos": True, "stop_token_ids": [token]}, max_tokens=9)
    assert stopped.choices[0].finish_reason == "stop" and stopped.choices[0].stop_reason == token
    assert free.choices[0].text.startswith(stopped.choices[0].text)
