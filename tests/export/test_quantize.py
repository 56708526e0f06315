"""``axk1 export quantize``: folders that the engine opens, measured, atomic, and made once."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from axk1.cli import dispatch
from axk1.core import artifact
from axk1.core.errors import AXK1Error, CheckpointError, SourceError
from axk1.engine.llm import LLM
from axk1.engine.quantised.applying import quantise
from axk1.model.checkpoint import load_model, save_model
from axk1.model.config import ModelConfig
from axk1.model.tensor_files import TensorFiles
from axk1.model.transformer import Transformer
from axk1.tokenizer.training import learn

LINES = [f"제{i}조 예산은 {i * 7}일에 놓인다. The committee met on day {i * 3}.\n" for i in range(60)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small network that knows the lines, so that a rounding has something to spoil."""
    tokenizer = learn(iter(LINES), vocab_size=320, reserved_tokens=7)
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=320, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=96,
        q_lora_rank=24, kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=16, v_head_dim=16, n_routed_experts=4,
        num_experts_per_tok=2, moe_intermediate_size=32, max_position_embeddings=256,
    )  # fmt: skip
    model = Transformer(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    ids = torch.tensor(tokenizer.encode("".join(LINES), special=False))
    batch = ids[: len(ids) // 65 * 65].view(-1, 65)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    folder = tmp_path_factory.mktemp("trained") / "model"
    folder.mkdir()
    save_model(model, folder)
    tokenizer.save(folder)
    (folder.parent / "text.txt").write_text("".join(LINES[::2]), encoding="utf-8")
    return folder


def export(trained, output, *words):
    text = str(trained.parent / "text.txt")
    return dispatch(["export", "quantize", str(trained), "--output", str(output), "--text", text, *words])


@pytest.mark.parametrize(("weights", "bound"), [("bf16", 0.005), ("int8", 0.005), ("int4", 0.15)])
def test_the_folder_writes_what_the_rounded_network_writes(trained, tmp_path, weights, bound):
    folder = export(trained, tmp_path / "out", "--weights", weights)
    counts = artifact.verify(folder, kind="quantised checkpoint").counts
    assert abs(counts["perplexity_after"] / counts["perplexity_before"] - 1) < bound
    assert counts["perplexity_before"] < 20, "the network has learnt too little to test with"
    assert counts["bytes_after"] < counts["bytes_before"] / {"bf16": 1.5, "int8": 2.5, "int4": 3.0}[weights]
    opened = LLM.load(folder)
    direct = LLM(quantise(load_model(trained), weights), opened.tokenizer)
    prompts = ["제3조", "The committee"]
    texts = [each.generate(prompts, max_tokens=30) for each in (opened, direct, LLM.load(trained, weights=weights))]
    assert texts[0] == texts[1] == texts[2]


def test_fp8_is_a_checkpoint_that_opens_as_any_other(trained, tmp_path):
    folder = export(trained, tmp_path / "out", "--weights", "fp8")
    counts = artifact.verify(folder, kind="quantised checkpoint").counts
    assert abs(counts["perplexity_after"] / counts["perplexity_before"] - 1) < 0.02
    stored = TensorFiles(folder)
    assert counts["bytes_after"] == sum(tensor.nbytes for tensor in stored.values()) < counts["bytes_before"] / 1.5
    assert stored["model.layers.1.mlp.experts.3.up_proj.weight"].dtype == torch.float8_e4m3fn
    assert LLM.load(folder).generate(["The committee"], max_tokens=5) == LLM.load(trained).generate(
        ["The committee"], max_tokens=5
    )


def test_int8_nearly_always_takes_the_token_of_the_checkpoint(trained, tmp_path):
    rounded, plain = LLM.load(export(trained, tmp_path / "out")), LLM.load(trained)
    ids = torch.tensor(plain.tokenizer.encode("".join(LINES), special=False))
    batch = ids[: len(ids) // 64 * 64].view(-1, 64)
    with torch.inference_mode():
        expected, found = (llm.model(batch).argmax(-1) for llm in (plain, rounded))
    assert (expected == found).float().mean() > 0.98


def test_it_is_made_once_and_made_anew_for_another_format(trained, tmp_path, capsys):
    output = tmp_path / "out"
    export(trained, output, "--dry-run")
    assert not output.exists()
    export(trained, output)
    made = os.stat(output / "manifest.json").st_mtime_ns
    export(trained, output)
    assert "up to date" in capsys.readouterr().err
    assert os.stat(output / "manifest.json").st_mtime_ns == made
    export(trained, output, "--weights", "int4")
    assert json.loads((output / "config.json").read_text())["quantization_config"]["weights"] == "int4"


def test_what_cannot_be_done_is_said(trained, tmp_path):
    output = export(trained, tmp_path / "out")
    with pytest.raises(CheckpointError, match="already"):
        export(output, tmp_path / "again")
    with pytest.raises(SourceError, match="does not exist"):
        dispatch(["export", "quantize", str(trained), "--output", str(tmp_path / "x"), "--text", "no-such-file"])
    with pytest.raises(AXK1Error, match="int8"):
        LLM.load(output, weights="int4")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("x")
    with pytest.raises(AXK1Error, match="no command of ours"):
        export(trained, tmp_path / "mine")


def test_a_killed_run_leaves_nothing_that_looks_whole(trained, tmp_path):
    output = tmp_path / "out"
    command = [sys.executable, "-m", "axk1", "export", "quantize", str(trained), "--output", str(output)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    building = tmp_path / ".out.building"
    while process.poll() is None and not building.exists():
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if process.returncode != 0:
        assert not output.exists()
    export(trained, output)
    artifact.verify(output, kind="quantised checkpoint")
    assert not building.exists()
