"""Two hundred streams whose clients leave at any moment, clients that do not read, and a signal while streams run."""

import asyncio
import json
import random
import signal
import socket
import time
from pathlib import Path

import httpx
import pytest
from programs import until
from serving import serve

STREAMS = 200
LONG = {"model": "m", "prompt": "제3조 예산은", "max_tokens": 200, "ignore_eos": True, "temperature": 0, "stream": True}


@pytest.fixture(scope="module")
def tiny_server(tiny):
    with serve(tiny, "--max-num-seqs", "64", "--kv-cache-memory", "0.05") as running:
        yield running


def http(body: dict) -> bytes:
    """A request for text."""
    payload = json.dumps(body).encode()
    head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(payload)}\r\n\r\n".encode() + payload


async def leave_or_stay(url: str, place: int, seed: int) -> str | None:
    """One stream that is left before, at or after its first pieces, or read to its end, whose text is returned."""
    numbers = random.Random(f"{seed} {place}")
    pieces = numbers.choice([0, 0, 1, 2, 5, 20, None])
    lengths = {"max_tokens": numbers.randint(10, 60), "n": numbers.choice([1, 1, 2])}
    reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
    writer.write(http({**LONG, **lengths, "prompt": f"제{place}조 예산은"}))
    try:
        text, read = "", 0
        while pieces is None or read < pieces:
            line = await reader.readline()
            if line.startswith(b"data: {"):
                read += 1
                text += "".join(choice["text"] for choice in json.loads(line[6:])["choices"] if choice["index"] == 0)
            elif line.startswith(b"data: [DONE]"):
                return text
            assert line, "the server ended the connection"
        if numbers.random() < 0.3:
            await asyncio.sleep(numbers.random() * 0.2)
        return None
    finally:
        if numbers.random() < 0.5:
            writer.transport.abort()  # a reset instead of an orderly end
        writer.close()


def storm(url: str, seed: int) -> list[str | None]:
    async def main() -> list[str | None]:
        return await asyncio.gather(*(leave_or_stay(url, place, seed) for place in range(STREAMS)))

    return asyncio.run(main())


def test_nothing_is_left_of_two_hundred_streams_and_those_that_stay_are_right(tiny_server):
    storm(tiny_server.url, 0)  # memory is what it is after the first
    until(tiny_server.idle)
    before, files = tiny_server.resident_mb(), open_files(tiny_server)
    texts = storm(tiny_server.url, 1)
    until(tiny_server.idle)
    assert tiny_server.resident_mb() < before + 60
    until(lambda: open_files(tiny_server) <= files)
    assert tiny_server.metric("request_aborted_total") > 50
    stayed = [(place, text) for place, text in enumerate(texts) if text is not None][:8]
    for place, text in stayed:
        body = {**LONG, "prompt": f"제{place}조 예산은", "stream": False, "max_tokens": 60}
        alone = httpx.post(f"{tiny_server.url}/v1/completions", json=body, timeout=100).json()["choices"][0]["text"]
        assert text and alone.startswith(text)
    assert stayed and "Traceback" not in tiny_server.log.read_text()


def open_files(server) -> int:
    """Connections and files that a server's process holds."""
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def test_a_client_that_does_not_read_holds_up_nobody(tiny_server):
    """Its texts end all the same, and what it has not taken does not fill the memory without bound."""
    url = tiny_server.url
    slow = []
    try:
        for _ in range(3):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            host, port = url.removeprefix("http://").split(":")
            connection.connect((host, int(port)))
            connection.sendall(http({**LONG, "max_tokens": 400, "n": 8, "logprobs": 20}))
            slow.append(connection)
        until(lambda: tiny_server.metric("num_requests_running") >= 8)
        before = tiny_server.resident_mb()
        for place in range(3):
            quick = {**LONG, "stream": False, "max_tokens": 5, "prompt": f"{place}"}
            assert httpx.post(f"{url}/v1/completions", json=quick, timeout=100).status_code == 200
        until(lambda: tiny_server.metric("num_requests_running") == 0)
        assert tiny_server.resident_mb() < before + 300
    finally:
        for connection in slow:
            connection.close()
    until(tiny_server.idle)


def test_a_signal_lets_all_running_streams_end(tiny):
    with serve(tiny, "--max-num-seqs", "64") as server:

        async def read(client: httpx.AsyncClient, place: int, begun: list[int]) -> int:
            body = {**LONG, "max_tokens": 150, "prompt": f"제{place}조", "stream_options": {"include_usage": True}}
            tokens = 0
            async with client.stream("POST", f"{server.url}/v1/completions", json=body) as answer:
                async for line in answer.aiter_lines():
                    if line.startswith("data: {"):
                        begun.append(place)
                        tokens = (json.loads(line[6:])["usage"] or {}).get("completion_tokens", 0)
            return tokens

        async def main() -> list[int]:
            begun: list[int] = []
            async with httpx.AsyncClient(timeout=100) as client:
                reading = [asyncio.ensure_future(read(client, place, begun)) for place in range(32)]
                while len(set(begun)) < 32:
                    await asyncio.sleep(0.01)
                server.process.send_signal(signal.SIGTERM)
                return await asyncio.gather(*reading)

        assert asyncio.run(main()) == [150] * 32
        end = time.monotonic() + 60
        while server.process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        assert server.process.returncode in (0, -signal.SIGTERM)
