"""A server of the protocol of 2025-06-18, in plain JSON lines and without a library: it asks in the middle of a call.

Its one tool asks two things, one after the other, and writes what it did to the file that it is started with.
"""

import json
import sys
from pathlib import Path

DONE = Path(sys.argv[1])
TOOL = {"name": "order", "description": "Orders food.", "inputSchema": {"type": "object", "properties": {"dish": {}}}}
numbers = iter(range(1000, 2000))


def send(message: dict) -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def receive() -> dict:
    return json.loads(sys.stdin.readline())


def ask(message: str, schema: dict) -> dict | None:
    number = next(numbers)
    form = {"type": "object", "properties": {"value": schema}, "required": ["value"]}
    params = {"message": message, "requestedSchema": form}
    send({"id": number, "method": "elicitation/create", "params": params})
    while (answer := receive()).get("id") != number:
        pass
    return answer["result"].get("content") if answer["result"]["action"] == "accept" else None


def order(dish: str) -> dict:
    street = ask("Which street?", {"type": "string"})
    number = street and ask("Which number?", {"type": "integer", "minimum": 1})
    if not number:
        return {"content": [{"type": "text", "text": "no address"}], "isError": True}
    with DONE.open("a") as file:
        file.write(f"{dish}\n")
    return {"content": [{"type": "text", "text": f"{dish} to {street['value']} {number['value']}"}]}


def answer(message: dict) -> dict | None:
    match message["method"]:
        case "initialize":
            info = {"name": "old", "version": "1"}
            return {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}
        case "tools/list":
            return {"tools": [TOOL]}
        case "tools/call":
            return order(**message["params"]["arguments"])
    return None


for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message or "method" not in message:
        continue
    result = answer(message)
    if result is None:
        send({"id": message["id"], "error": {"code": -32601, "message": "no such method"}})
    else:
        send({"id": message["id"], "result": result})
