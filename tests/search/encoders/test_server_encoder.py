"""Embeddings of a real server: rows in order and of length 1, batches, and what goes wrong in words."""

# ruff: noqa: F811 - fixtures are taken by their names

import numpy as np
import pytest
from programs import free_port
from running_server import start
from tiny_model import network, tokenizer  # noqa: F401 - fixtures

from axk1.core.errors import AXK1Error, ConfigError
from axk1.search.encoders import server as server_encoder
from axk1.search.encoders.open import open_encoder
from axk1.search.encoders.server import ServerEncoder


@pytest.fixture(scope="module")
def address(network, tokenizer):
    for running in start(network, tokenizer):
        yield f"{running.url}/v1"


def test_texts_become_rows_of_length_one_in_their_order(address):
    encoder = open_encoder(address)
    texts = [f"text {i}" for i in range(7)] + ["", "한국어"]
    found = encoder.encode(texts, kind="passage")
    assert found.shape == (len(texts), encoder.dimensions) and found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    small = ServerEncoder(address, batch=2).encode(texts)
    np.testing.assert_allclose(small, found, atol=1e-5)
    np.testing.assert_allclose(encoder.encode([texts[3]], kind="query")[0], found[3], atol=1e-5)


def test_the_name_is_that_of_the_model_and_can_be_given(address):
    assert open_encoder(address).name == open_encoder(f"{address}#tiny").name == "server:tiny"
    assert open_encoder(address).encode([], kind="query").shape == (0, open_encoder(address).dimensions)


def test_a_model_that_the_server_lacks_is_its_own_words(address):
    with pytest.raises(AXK1Error, match="absent"):
        open_encoder(f"{address}#absent")


def test_a_server_that_is_away_is_asked_again_and_then_an_error(monkeypatch):
    waits = []
    monkeypatch.setattr(server_encoder.time, "sleep", waits.append)
    with pytest.raises(AXK1Error, match="did not answer in 5 attempts"):
        open_encoder(f"http://127.0.0.1:{free_port()}/v1#model")
    assert waits == [0.0, 0.5, 1.0, 2.0, 4.0]


def test_a_name_that_nobody_has_is_refused_with_those_that_exist():
    with pytest.raises(ConfigError, match="use-multilingual"):
        open_encoder("use-multilingul")
