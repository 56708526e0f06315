"""How soon a text ends whose client has left: with the step that runs then, in a prompt as in an answer."""

import json
import socket
import time

import pytest
from programs import until
from running_server import start

STEP = 0.2
"""Seconds of a step here: long beside what it takes to see that a client has left, even on a busy machine."""
CHUNK, PROMPT = 16, 480


@pytest.fixture(scope="module")
def slow(network, tokenizer):
    """A server whose steps take long, and the moments when they began."""
    running = start(network, tokenizer, max_num_seqs=4, max_num_batched_tokens=CHUNK)
    server = next(running)
    engine, begun = server.service.engine.engine, []
    step = engine.step

    def slow_step():
        begun.append(time.monotonic())
        time.sleep(STEP)
        return step()

    engine.step = slow_step
    yield server, begun
    running.close()


def connect(url: str, **fields) -> socket.socket:
    """A connection on which a completion has been asked for."""
    host, port = url.removeprefix("http://").split(":")
    body = json.dumps({"model": "tiny", "max_tokens": 200, "ignore_eos": True, **fields}).encode()
    connection = socket.create_connection((host, int(port)))
    head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return connection


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_ends_with_the_step_in_which_its_client_leaves(slow, stream):
    server, begun = slow
    aborted = server.service.engine.aborted
    with connect(server.url, prompt="a", stream=stream):
        first = len(begun)
        until(lambda: len(begun) >= first + 3)
    left = time.monotonic()
    until(server.idle)
    assert server.service.engine.aborted == aborted + 1
    # One step ran when the client left; a second may have begun before that was seen.
    assert sum(moment > left for moment in begun) <= 1


def test_a_prompt_ends_between_two_of_its_chunks(slow):
    server, begun = slow
    engine = server.service.engine.engine
    aborted, tokens = server.service.engine.aborted, engine.prompt_tokens
    with connect(server.url, prompt=[5] * PROMPT, stream=True):
        first = len(begun)
        until(lambda: len(begun) >= first + 3)
    left = time.monotonic()
    until(server.idle)
    assert server.service.engine.aborted == aborted + 1
    assert sum(moment > left for moment in begun) <= 1
    assert 0 < engine.prompt_tokens - tokens <= 5 * CHUNK < PROMPT
