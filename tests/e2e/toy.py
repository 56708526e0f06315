"""A project of toy size: recipes for every stage of the chain, small enough for seconds, and its documents."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

TEACHER = {
    "architectures": ["AXK1ForCausalLM"], "model_type": "axk1", "vocab_size": 512, "hidden_size": 32,
    "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "q_lora_rank": 16, "kv_lora_rank": 16,
    "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 16, "n_routed_experts": 4, "num_experts_per_tok": 2,
    "moe_intermediate_size": 32, "n_shared_experts": 1, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1,
    "rms_norm_eps": 1e-6, "max_position_embeddings": 256, "rope_theta": 10000.0,
}  # fmt: skip
STUDENT = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": 512, "hidden_size": 32,
    "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
    "intermediate_size": 64, "tie_word_embeddings": True, "rms_norm_eps": 1e-6, "max_position_embeddings": 256,
    "rope_theta": 10000.0,
}  # fmt: skip
TEXT = '[[shards]]\nfolder = "out/shards/text"\n'
SHARDS = TEXT + '[[shards]]\nfolder = "out/shards/chat"\n'
SOURCE = """
[[source]]
kind = "jsonl"
name = "toy"
path = "texts"
include = ["{language}.jsonl"]
language = "{language}"
licence = "CC0"
attribution = "nobody"
heldout_fraction = 0.1
"""
KOREAN = "위원회 예산 의안 법률 정부 심사 개정 국회 제안 이유 주요 내용 시행 규정 신설 벌칙 조항 공포"
ENGLISH = "the board reviews budget item section act bill committee report member state law year public fund"
WORDS = {"ko": KOREAN.split(), "en": ENGLISH.split()}
TRAIN = (
    'tokenizer = "out/tokenizer"\nsequence_length = 128\nrows = 2\nlog_steps = 2\ncheckpoint_steps = 3\nthreads = 1\n'
)
RECIPES = {
    "documents": 'output = "out/documents"\ntitle = "Toy"\ndescription = "Made by the tests."\n'
    + SOURCE.format(language="ko") + SOURCE.format(language="en"),
    "conversations": 'output = "out/conversations"\ncount = 200\n',
    "tokenizer": 'output = "out/tokenizer"\ninputs = ["out/documents", "out/conversations"]\nvocab_size = 512\n',
    "text": 'output = "out/shards/text"\ntokenizer = "out/tokenizer"\ninputs = ["out/documents"]\nmax_length = 128\n',
    "chat": 'output = "out/shards/chat"\ntokenizer = "out/tokenizer"\ninputs = ["out/conversations"]\n',
    "pretrain": 'model = "teacher.json"\noutput = "out/base"\nsteps = 10\n' + TRAIN + TEXT,
    "sft": 'model = "out/base"\noutput = "out/teacher"\nsteps = 8\n' + TRAIN.replace("128", "256") + SHARDS,
    "cache": 'teacher = "out/teacher"\noutput = "out/knowledge"\nmax_tokens = 6000\ntop_k = 8\nthreads = 1\n' + SHARDS,
    "student": 'model = "student.json"\nteacher = "out/teacher"\ncache = "out/knowledge"\noutput = "out/student"\n'
    "steps = 8\n" + TRAIN.replace("128", "256") + SHARDS,
    "eval": 'model = "out/student"\noutput = "out/scores/student"\ndocuments = "out/documents"\n'
    'conversations = "out/conversations"\nproblems_per_task = 2\nthink_tokens = 8\nno_think_tokens = 6\n'
    "heldout_bytes = 3000\n",
    "compare": 'run = "out"\noutput = "out/comparison"\n',
}  # fmt: skip
RECIPES["control"] = "kl_weight = 0.0\nce_weight = 1.0\n" + RECIPES["student"]
LAST = ("compare compare.toml", "report {root}")
STAGES = [
    "data build documents.toml", "data conversations conversations.toml", "tokenizer train tokenizer.toml",
    "data tokenize text.toml\ndata tokenize chat.toml", "pretrain pretrain.toml --output {run}/base --seed {seed}",
    "sft sft.toml --model {run}/base --output {run}/teacher --seed {seed}",
    "distill cache cache.toml --teacher {run}/teacher --output {run}/knowledge",
    "\n".join(f"distill train {who}.toml --cache {{run}}/knowledge --teacher {{run}}/teacher --output {{run}}/{who} "
              "--seed {seed}" for who in ("control", "student")),
    *(f"eval eval.toml --model {{run}}/{who} --output {{run}}/scores/{who} --seed {{seed}}"
      for who in ("teacher", "control", "student")),
    *LAST,
]  # fmt: skip


def write_project(root: Path) -> Path:
    """Documents and recipes in ``root``; ``axk1 quickstart chain.toml`` runs there."""
    texts = root / "texts"
    texts.mkdir(parents=True)
    for language, words in WORDS.items():
        chance = random.Random(language)
        with open(texts / f"{language}.jsonl", "w", encoding="utf-8") as file:
            for i in range(150):
                text = ". ".join(" ".join(chance.choices(words, k=9)) for _ in range(6))
                file.write(json.dumps({"id": f"{language}{i}", "text": text}, ensure_ascii=False) + "\n")
    for name, text in RECIPES.items():
        (root / f"{name}.toml").write_text(text, encoding="utf-8")
    (root / "teacher.json").write_text(json.dumps(TEACHER))
    (root / "student.json").write_text(json.dumps(STUDENT))
    (root / "chain.toml").write_text("\n".join(['output = "out"', *map(_stage, STAGES)]), encoding="utf-8")
    return root


def _stage(command: str) -> str:
    once, last = "{seed}" not in command and "{run}" not in command, command in LAST
    flags = f"once = {str(once and not last).lower()}\nlast = {str(last).lower()}"
    return f"[[stages]]\ntitle = {json.dumps(command)}\ncommand = {json.dumps(command)}\n{flags}\n"


def start(root: Path, *words: str) -> subprocess.Popen[str]:
    """Starts ``axk1 words`` in the project, with one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, "-m", "axk1", *words], cwd=root, env=environment, **pipes)


def run(root: Path, *words: str) -> str:
    """Runs ``axk1 words`` in the project and returns what it printed; a failure is an error with the output."""
    process = start(root, *words)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return output
