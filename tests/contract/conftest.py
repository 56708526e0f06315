"""Fronts: what ``axk1 serve --upstream`` runs, before an engine behind a server of its own."""

# ruff: noqa: F811 - fixtures are taken by their names

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from running_server import Running, listening, start
from tiny_model import network, tokenizer  # noqa: F401 - fixtures

from axk1.model.checkpoint import save_model
from axk1.model.transformer import Transformer
from axk1.serve.upstream.server import Upstream
from axk1.serve.upstream.service import UpstreamService
from axk1.tokenizer.tokenizer import Tokenizer


def fronted(engines: Iterator[Running]) -> Iterator[Running]:
    """The same as running servers, but asked through a front."""
    for engine in engines:
        with listening(UpstreamService([Upstream(f"{engine.url}/v1")])) as url:
            yield replace(engine, url=url)


@pytest.fixture(scope="session")
def server(network: Transformer, tokenizer: Tokenizer) -> Iterator[Running]:
    yield from fronted(start(network, tokenizer))


@pytest.fixture
def narrow(network: Transformer, tokenizer: Tokenizer) -> Iterator[Running]:
    """An engine that writes one text and lets one wait, through a front."""
    yield from fronted(start(network, tokenizer, max_num_seqs=1, max_waiting=1))


@pytest.fixture(scope="session")
def checkpoint(network: Transformer, tokenizer: Tokenizer, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    folder.mkdir()
    save_model(network, folder)
    tokenizer.save(folder)
    return folder


@pytest.fixture(scope="module")
def serve(tmp_path_factory) -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts ``axk1 serve`` with some words and waits until it answers at a port; all are killed at the end."""
    running: list[subprocess.Popen] = []

    def start_process(*words: str, port: int, **environment: str) -> subprocess.Popen:
        state = f"sqlite:///{tmp_path_factory.mktemp('state')}/axk1.db"
        command = [sys.executable, "-m", "axk1", "serve", *words, "--port", str(port), "--database", state]
        process = subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True)
        running.append(process)
        while process.poll() is None:
            try:
                httpx.get(f"http://127.0.0.1:{port}/health")
                return process
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError(process.stderr.read())

    yield start_process
    for process in running:
        process.kill()
        process.wait()
