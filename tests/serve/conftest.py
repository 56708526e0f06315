"""A tiny random model of latent attention behind a real server."""

# ruff: noqa: F811 - fixtures are taken by their names

from collections.abc import Iterator

import pytest
from running_server import Running, start
from tiny_model import network, tokenizer  # noqa: F401 - fixtures

from axk1.model.transformer import Transformer
from axk1.tokenizer.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def server(network: Transformer, tokenizer: Tokenizer) -> Iterator[Running]:
    yield from start(network, tokenizer)


@pytest.fixture
def narrow(network: Transformer, tokenizer: Tokenizer) -> Iterator[Running]:
    """A server that writes one text and lets one wait."""
    yield from start(network, tokenizer, max_num_seqs=1, max_waiting=1)
