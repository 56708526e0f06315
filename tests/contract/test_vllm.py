"""A real vLLM as upstream: it opens what we write, and finds the same texts as probable as our engine does.

Runs where AXK1_VLLM_PYTHON names the python of an environment that has vLLM, of its own since it pins its own torch.
Its CPU build takes latent attention only at the full model's head sizes (a latent of 512 and 64 rotated entries).
"""

import json
import os
import re
import subprocess
import time
from pathlib import Path

import httpx
import pytest
import torch
from programs import free_port, until
from running_server import listening

from axk1.engine.llm import LLM
from axk1.engine.sampling_params import SamplingParams
from axk1.model.checkpoint import save_model
from axk1.model.config import ModelConfig
from axk1.model.transformer import Transformer
from axk1.serve.upstream.server import Upstream
from axk1.serve.upstream.service import UpstreamService

PYTHON = os.environ.get("AXK1_VLLM_PYTHON")
CPU = {"VLLM_TARGET_DEVICE": "cpu", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
OFFLINE = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "OMP_NUM_THREADS": "1"}
EXACT = ["--enforce-eager", "--dtype", "float32", "--compilation-config", '{"custom_ops": ["none"]}']
"""Without custom operations: the CPU kernel of the rotary embedding errs on latent attention."""
LATENT = {"q_lora_rank": 64, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128}
EXPERTS = {"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "intermediate_size": 128}
PROMPTS = ["제3조 예산은 21일에 놓인다.", "The committee met on day 9.", "가"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PYTHON is None, reason="AXK1_VLLM_PYTHON does not name the python of an environment with vLLM"),
]


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory) -> Path:
    torch.manual_seed(0)
    sizes = {"vocab_size": 400, "hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4}
    network = Transformer(ModelConfig(max_position_embeddings=1024, **sizes, **LATENT, **EXPERTS))
    for parameter in network.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(std=0.15)
    folder = tmp_path_factory.mktemp("vllm") / "random"
    folder.mkdir()
    save_model(network, folder)
    tokenizer.save(folder)
    return folder


@pytest.fixture(scope="module")
def vllm(folder):
    """The address of vLLM with the model."""
    port = free_port()
    words = ["serve", str(folder), "--port", str(port), "--max-model-len", "512", "--served-model-name", "random"]
    command = [PYTHON, "-m", "vllm.entrypoints.cli.main", *words, *EXACT]
    log = (folder / "vllm.log").open("w")
    path = f"{Path(PYTHON).parent}:{os.environ['PATH']}"
    process = subprocess.Popen(command, env={**os.environ, **CPU, **OFFLINE, "PATH": path}, stdout=log, stderr=log)
    while True:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200:
                break
        except httpx.TransportError:
            assert process.poll() is None, (folder / "vllm.log").read_text()[-3000:]
            time.sleep(0.5)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(60)


@pytest.fixture(scope="module")
def front(vllm):
    with listening(UpstreamService([Upstream(f"{vllm}/v1")])) as url:
        yield url


def test_log_probabilities_are_those_of_our_engine(front, folder, tokenizer):
    prompts = [tokenizer.encode(prompt) for prompt in PROMPTS]
    body = {"prompt": prompts, "max_tokens": 16, "temperature": 0, "ignore_eos": True, "logprobs": 1}
    answer = httpx.post(f"{front}/v1/completions", json={**body, "prompt_logprobs": 0}, timeout=300).json()
    params = SamplingParams(temperature=0, max_tokens=16, ignore_eos=True, logprobs=0, prompt_logprobs=0)
    furthest = 0.0
    for choice, prompt, ours in zip(
        answer["choices"], prompts, LLM.load(folder).generate(prompts, params), strict=True
    ):
        theirs = [
            each[str(token)]["logprob"] for each, token in zip(choice["prompt_logprobs"][1:], prompt[1:], strict=True)
        ]
        theirs += choice["logprobs"]["token_logprobs"]
        found = [each.logprob for each in (*ours.prompt_logprobs, *ours.logprobs)]
        furthest = max(furthest, *(abs(a - b) for a, b in zip(theirs, found, strict=True)))
    print(f"largest difference of a log-probability: {furthest:.2e}")
    assert furthest < 1e-4


def test_a_stream_of_vllm_adds_up_and_its_usage_is_its_own(front):
    body = {
        "messages": [{"role": "user", "content": "예산은?"}],
        "max_tokens": 12,
        "temperature": 0,
        "ignore_eos": True,
    }
    whole = httpx.post(f"{front}/v1/chat/completions", json=body, timeout=300).json()
    fields = {"stream": True, "stream_options": {"include_usage": True}}
    lines = httpx.post(f"{front}/v1/chat/completions", json={**body, **fields}, timeout=300).text.split("\n\n")
    chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    assert text == whole["choices"][0]["message"]["content"] and whole["usage"]["completion_tokens"] == 12
    assert {name: chunks[-1]["usage"][name] for name in ("prompt_tokens", "completion_tokens")} == {
        name: whole["usage"][name] for name in ("prompt_tokens", "completion_tokens")
    }
    refused = httpx.post(f"{front}/v1/chat/completions", json={**body, "max_tokens": -1}, timeout=300)
    assert refused.status_code == 400 and "max_tokens" in refused.json()["error"]["message"]


def test_a_client_that_leaves_frees_its_place_at_vllm(front, vllm):
    def count(pattern: str) -> float:
        page = httpx.get(f"{vllm}/metrics", timeout=100).text
        return sum(float(n) for n in re.findall(rf"^vllm:{pattern}.*\}} (.*)$", page, re.M))

    ended = count('request_success_total.*finished_reason="length"')
    body = {"prompt": "a", "max_tokens": 480, "ignore_eos": True, "stream": True, "n": 4}
    with httpx.stream("POST", f"{front}/v1/completions", json=body, timeout=300) as answer:
        lines = answer.iter_lines()  # kept: a forgotten iterator closes the connection
        next(lines)
        until(lambda: count("num_requests_running") > 0)
    until(lambda: count("num_requests_running") == 0)
    assert count('request_success_total.*finished_reason="length"') == ended
