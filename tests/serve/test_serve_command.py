"""``axk1 serve`` as a process of its own: it says what it does, answers, and lets running texts end when it must go."""

import json
import signal
import subprocess
import sys

import httpx
import pytest
from programs import free_port, listening_program

from axk1 import cli
from axk1.core.errors import ConfigError
from axk1.engine.llm import LLM
from axk1.engine.sampling_params import SamplingParams


@pytest.fixture
def process(checkpoint):
    port = free_port()
    words = ["serve", str(checkpoint), "--port", str(port), "--served-model-name", "mine", "--max-num-seqs", "4"]
    words += ["--database", f"sqlite:///{checkpoint.parent}/axk1.db"]
    command = [sys.executable, "-m", "axk1", *words]
    with listening_program(command, port, stderr=subprocess.PIPE, text=True) as running:
        yield running, f"http://127.0.0.1:{port}"


def test_a_signal_lets_running_texts_end(process, checkpoint):
    running, url = process
    body = {"model": "mine", "prompt": "제3조", "max_tokens": 300, "ignore_eos": True, "stream": True, "temperature": 0}
    text, done = "", False
    with httpx.stream("POST", f"{url}/v1/completions", json=body, timeout=100) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                if not text:
                    running.send_signal(signal.SIGTERM)
                text += "".join(choice["text"] for choice in json.loads(line[6:])["choices"])
            done = done or line == "data: [DONE]"
    assert done
    params = SamplingParams(temperature=0, max_tokens=300, ignore_eos=True, skip_special_tokens=True)
    assert text == LLM.load(checkpoint).generate(["제3조"], params)[0].text
    assert running.wait(60) in (0, -signal.SIGTERM)
    assert "Traceback" not in running.stderr.read()
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{url}/health")


def test_the_plan_says_what_will_be_served(checkpoint, capsys):
    cli.dispatch(["serve", str(checkpoint), "--dry-run", "--port", "9", "--kv-cache-memory", "0.001"])
    plan = capsys.readouterr().err
    assert "'tiny'" in plan and "512 tokens of context" in plan and "http://127.0.0.1:9/v1" in plan


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--port", "0"], "port"), (["--max-num-seqs", "0"], "max_num_seqs"), (["--max-model-len", "9999"], "context")],
)
def test_limits_that_make_no_sense_are_refused(checkpoint, words, message):
    with pytest.raises(ConfigError, match=message):
        cli.dispatch(["serve", str(checkpoint), "--dry-run", *words])
