"""The clients of ``throughput.py``, in a process of their own: as many streams at once as they are told.

Standard input holds one job as JSON: ``url``, ``model``, ``concurrency``, ``requests`` (each with ``prompt`` and
``max_tokens``) and ``options``, further fields of each request. Standard output gets one JSON list: of each request
when it was sent, when each piece of text came (seconds), the tokens that the server counted, and the error, if any.
"""

import asyncio
import json
import sys
import time
from typing import Any

import aiohttp


async def main(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Keeps ``concurrency`` streams busy until all requests are answered."""
    waiting = list(enumerate(job["requests"]))[::-1]
    results: list[dict[str, Any]] = [{}] * len(waiting)
    timeout = aiohttp.ClientTimeout(total=None, sock_read=600)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True), timeout=timeout
    ) as session:

        async def client() -> None:
            while waiting:
                place, request = waiting.pop()
                results[place] = await stream(session, job, request)

        await asyncio.gather(*(client() for _ in range(job["concurrency"])))
    return results


async def stream(session: aiohttp.ClientSession, job: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    """Sends one request and notes when each piece of its answer comes."""
    body = {"model": job["model"], "stream": True, "stream_options": {"include_usage": True}, **job["options"]}
    found = {"sent": time.monotonic(), "pieces": [], "prompt_tokens": 0, "tokens": 0, "error": None}
    try:
        async with session.post(f"{job['url']}/v1/completions", json={**body, **request}) as answer:
            if answer.status != 200:
                return found | {"error": await answer.text()}
            async for line in answer.content:
                if line.startswith(b"data: {"):
                    note(found, json.loads(line[6:]))
    except aiohttp.ClientError as error:
        found["error"] = str(error)
    return found


def note(found: dict[str, Any], event: dict[str, Any]) -> None:
    """Adds one server-sent event to what is known of a request."""
    if "error" in event:
        found["error"] = str(event["error"])
    if event.get("choices") and event["choices"][0].get("text"):
        found["pieces"].append(time.monotonic())
    usage = event.get("usage") or {}
    found["tokens"] = usage.get("completion_tokens", found["tokens"])
    found["prompt_tokens"] = usage.get("prompt_tokens", found["prompt_tokens"])


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.load(sys.stdin)))))
