"""Embeddings equal transformers' hidden states, pooled alike, whatever else the engine does beside."""

import base64
import threading

import httpx
import numpy as np
import openai
import pytest
import torch
import transformers
from running_server import start

from axk1.model.checkpoint import save_model

TEXTS = ["예산은 14일에 놓인다.", "The committee met on day 9. " * 12, "a", "제3조 예산은 21일에 놓인다."]


@pytest.fixture(scope="module")
def expected(network, tokenizer, tmp_path_factory):
    """transformers' answer: text or ids -> the states of its tokens."""
    folder = tmp_path_factory.mktemp("checkpoint")
    save_model(network, folder)
    eager = {"attn_implementation": "eager", "experts_implementation": "eager"}
    transformers.logging.set_verbosity_error()
    reference = transformers.AutoModel.from_pretrained(folder, dtype=torch.float64, **eager).eval()

    def states(given):
        ids = tokenizer.encode(given) if isinstance(given, str) else given
        with torch.no_grad():
            return reference(torch.tensor([ids])).last_hidden_state[0].numpy()

    return states


def unit(vector):
    return vector / np.linalg.norm(vector)


def test_vectors_equal_those_of_transformers(server, expected):
    answer = server.client.embeddings.create(model="tiny", input=TEXTS)
    assert [each.index for each in answer.data] == [0, 1, 2, 3]
    for text, each in zip(TEXTS, answer.data, strict=True):
        np.testing.assert_allclose(each.embedding, unit(expected(text).mean(0)), atol=1e-6)
    tokens = sum(len(server.llm.tokenizer.encode(text)) for text in TEXTS)
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (tokens, tokens)
    last = server.client.embeddings.create(model="tiny", input=TEXTS, extra_body={"pooling": "last"})
    for text, each in zip(TEXTS, last.data, strict=True):
        np.testing.assert_allclose(each.embedding, unit(expected(text)[-1]), atol=1e-6)


def test_token_ids_dimensions_and_forms(server, expected):
    ids = [[5, 6, 7], [9] * 40]
    answer = server.client.embeddings.create(model="tiny", input=ids, dimensions=8, encoding_format="float")
    for each, given in zip(answer.data, ids, strict=True):
        np.testing.assert_allclose(each.embedding, unit(expected(given).mean(0)[:8]), atol=1e-6)
    body = {"model": "tiny", "input": ids[0], "encoding_format": "base64"}
    raw = httpx.post(f"{server.url}/v1/embeddings", json=body).json()["data"][0]["embedding"]
    vector = np.frombuffer(base64.b64decode(raw), "<f4")
    np.testing.assert_allclose(vector, unit(expected(ids[0]).mean(0)), atol=1e-6)


def test_nothing_changes_them(network, tokenizer, expected):
    """Chunks smaller than a text, a cache so small that texts must wait and be computed again, texts being written."""
    sizes = {"max_num_batched_tokens": 16, "max_num_seqs": 4, "kv_cache_memory": 1.5e-4, "block_size": 4}
    goes_on = {"extra_body": {"ignore_eos": True}}
    for running in start(network, tokenizer, **sizes):
        stop = threading.Event()

        def write(running=running, stop=stop):
            while not stop.is_set():
                running.client.completions.create(model="tiny", prompt="a", n=3, max_tokens=200, seed=1, **goes_on)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for _ in range(2):  # the second time, the cache knows the texts
                answer = running.client.embeddings.create(model="tiny", input=[*TEXTS, TEXTS[1]])
                for text, each in zip([*TEXTS, TEXTS[1]], answer.data, strict=True):
                    np.testing.assert_allclose(each.embedding, unit(expected(text).mean(0)), atol=1e-6)
        finally:
            stop.set()
            thread.join()
        assert running.service.engine.engine.scheduler.num_preemptions > 0


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": [10**6]}, None),
        ({"input": [5] * 600}, None),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "dimensions": 33}, "dimensions"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "pooling": "max"}, "pooling"),
        ({"input": "a", "late": True}, "late"),
        ({}, "input"),
    ],
)
def test_what_is_wrong_is_refused(server, fields, param):
    answer = httpx.post(f"{server.url}/v1/embeddings", json={"model": "tiny", **fields}, timeout=100)
    assert answer.status_code == 400, answer.text
    assert param is None or param in answer.json()["error"]["param"]
    with pytest.raises(openai.NotFoundError):
        server.client.embeddings.create(model="big", input="a")
