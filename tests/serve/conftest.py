"""A tiny random model of latent attention behind a real server."""

# ruff: noqa: F811 - fixtures are taken by their names

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chromium import PROGRAM, Browser
from postgres import postgres  # noqa: F401 - a fixture
from running_server import Running, start
from tiny_model import network, tokenizer  # noqa: F401 - fixtures

from axk1.model.checkpoint import save_model
from axk1.model.transformer import Transformer
from axk1.serve.database import open_database
from axk1.tokenizer.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def server(network: Transformer, tokenizer: Tokenizer) -> Iterator[Running]:
    yield from start(network, tokenizer)


@pytest.fixture(scope="session")
def roomy(network: Transformer, tokenizer: Tokenizer) -> Iterator[Running]:
    """The same model with a longer context: room to describe tools, and for a form to be written to its end."""
    model = Transformer(dataclasses.replace(network.config, max_position_embeddings=1280)).double().eval()
    model.load_state_dict(network.state_dict())
    yield from start(model, tokenizer)


@pytest.fixture
def narrow(network: Transformer, tokenizer: Tokenizer) -> Iterator[Running]:
    """A server that writes one text and lets one wait."""
    yield from start(network, tokenizer, max_num_seqs=1, max_waiting=1)


@pytest.fixture
def checkpoint(network: Transformer, tokenizer: Tokenizer, tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    save_model(network, folder)
    tokenizer.save(folder)
    return folder


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path) -> str:
    """The address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/axk1.db"
    return request.getfixturevalue("postgres").new_database()


@pytest.fixture
def database(database_url):
    opened = open_database(database_url)
    yield opened
    opened.dispose()


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
