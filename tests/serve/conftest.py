"""A tiny random model of latent attention behind a real server."""

# ruff: noqa: F811 - fixtures are taken by their names

from collections.abc import Callable, Iterator

import pytest
from chromium import PROGRAM, Browser
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


@pytest.fixture(scope="session")
def chromium(tmp_path_factory) -> Iterator[Browser]:
    if PROGRAM is None:
        pytest.skip("the chat page is tested in Chromium, and there is none on this machine: apt-get install chromium")
    opened = Browser(str(tmp_path_factory.mktemp("profile")), "--lang=en-US")
    yield opened
    opened.close()


@pytest.fixture
def visit(chromium: Browser) -> Callable[[str], Browser]:
    """Opens the page of a server as a new visitor sees it."""

    def open_as_new(url: str) -> Browser:
        chromium.open(url)
        chromium.run("localStorage.clear(), sessionStorage.clear()")
        chromium.open(url)
        return chromium

    return open_as_new


@pytest.fixture
def browser(visit, server: Running) -> Browser:
    return visit(server.url)
