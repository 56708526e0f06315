"""A small server with vLLM's wire format for ``prompt_logprobs``, over a real model: honest, failing, or lying.

    python prompt_logprobs_server.py TEACHER VOCAB_SIZE      prints its port

The name of the model that a request asks for says how the server behaves.
"""

import http.server
import json
import sys
from pathlib import Path

import torch

from axk1.distill.teachers import OwnTeacher


def prompt_logprobs(teacher, prompt, k):
    """The wire's list: nothing for the first token, then the best k and the token that was sent."""
    states = teacher.states(torch.tensor([prompt]))[0].float()
    rows = torch.log_softmax(states @ teacher.weight_VH.T, -1)
    entries = [None]
    for token, row in zip(prompt[1:], rows, strict=False):
        ids = row.topk(k).indices.tolist()
        ids += [] if token in ids else [token]
        ranks = (row.unsqueeze(0) > row[ids].unsqueeze(1)).sum(1) + 1
        entry = {
            str(i): {"logprob": float(row[i]), "rank": int(r), "decoded_token": ""}
            for i, r in zip(ids, ranks, strict=True)
        }
        entries.append(entry)
    return entries


def spoilt(behaviour, entries, prompt, batch):
    """What a server says that lies."""
    if behaviour == "batch" and batch > 1:
        return [e and {i: {**v, "logprob": v["logprob"] * 1.3} for i, v in e.items()} for e in entries]
    if behaviour == "mass":
        return [e and {i: {**v, "logprob": v["logprob"] / 3} for i, v in e.items()} for e in entries]
    if behaviour == "shift":
        return [None, *entries[2:], entries[1]]
    if behaviour == "future":  # what follows changes what was said before
        return [e and {i: {**v, "logprob": v["logprob"] - 0.02 * len(prompt)} for i, v in e.items()} for e in entries]
    return entries


def main():
    teacher = OwnTeacher(Path(sys.argv[1]), vocab_size=int(sys.argv[2]), device=torch.device("cpu"), precision="fp32")
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append(body)
            behaviour = body["model"]
            if behaviour == "flaky" and len(requests) % 3 != 0:
                return self.answer(503, {"error": "busy"})
            if behaviour == "refuse":
                return self.answer(400, {"error": "prompt_logprobs must be at most 2"})
            prompts = body["prompt"]
            choices = [
                {
                    "index": i, "text": "", "finish_reason": "length", "prompt_token_ids": prompt,
                    "prompt_logprobs": spoilt(
                        behaviour, prompt_logprobs(teacher, prompt, body["prompt_logprobs"]), prompt, len(prompts)
                    ),
                }
                for i, prompt in enumerate(prompts)
            ]  # fmt: skip
            if behaviour == "other":
                choices[0]["prompt_token_ids"] = [1, *choices[0]["prompt_token_ids"]]
            return self.answer(200, {"object": "text_completion", "choices": choices[::-1]})

        def answer(self, status, values):
            content = json.dumps(values).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
