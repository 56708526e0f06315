"""The sides of ``trainers.py``, each in a process of its own: our commands, and TRL's trainers on the same folders.

Every side returns ``rate`` (tokens a second by the median step but the first), its ``spread``, and ``memory`` (the peak
of the process in MB); off-policy also ``divergence``, the mean over all positions of the run.
"""

import functools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from trainers import rate_of
from trainers_world import CACHES, PROMPT, TOKENIZER

from axk1.cli import dispatch
from axk1.core.artifact import read_manifest
from axk1.data.shards import Shards

LEARNING_RATE = 1e-12
"""So small that the weights stay, and the divergence does not depend on the order of the steps."""


def peak_memory() -> float:
    """The largest resident set of this process so far, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))


def capture(kind: str, world: Path, sizes: Any, threads: int) -> dict[str, Any]:
    """``axk1 distill cache``."""
    output = world / f"cache-{kind}"
    words = ["--teacher", str(world / "teacher"), "--output", str(output), "--precision", "fp32", "--threads"]
    recipe = world / f"cache-{kind}.toml"
    recipe.write_text(f'teacher = ""\noutput = ""\n[[shards]]\nfolder = "{world / "text"}"\n', encoding="utf-8")
    dispatch(["distill", "cache", str(recipe), *words, str(threads), *CACHES[kind]])
    counts = read_manifest(output).counts
    once = sum(path.stat().st_size for path in output.glob("output_matrix*"))
    size = (counts["bytes"] - once) / counts["rows"]
    return {"rate": counts["rows"] / counts["seconds"], "bytes": size, "memory": peak_memory()}


def train(kind: str, world: Path, sizes: Any, threads: int) -> dict[str, Any]:
    """``axk1 distill train`` from a cache."""
    output = world / f"student-{kind}"
    recipe = _recipe(world, sizes, "text", f"train-{kind}", "kl_weight = 1.0\nce_weight = 0.0\nteach_prompts = false\n")
    words = ["--cache", str(world / f"cache-{kind}"), "--output", str(output), "--threads", str(threads)]
    dispatch(["distill", "train", str(recipe), *words])
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    seconds = np.diff([line["seconds"] for line in lines]).tolist()
    divergence = statistics.mean(line["kl_to_teacher"] for line in lines)
    return {**rate_of(sizes.rows * sizes.length, seconds), "divergence": divergence, "memory": peak_memory()}


def on_policy(world: Path, sizes: Any, threads: int) -> dict[str, Any]:
    """``axk1 distill on-policy``: all steps learn from the student's own answers, written a round ahead.

    The rate is that of all steps, the first answers included; those of a round are written beside the steps of the
    round before.
    """
    output, steps = world / "student-on-policy", 2 * sizes.steps
    length = sizes.rows * (PROMPT + sizes.answers)
    fields = f"on_policy_share = 1.0\nround_steps = {sizes.steps}\nrollouts = {sizes.rows * sizes.steps}\n"
    fields += f"max_new_tokens = {sizes.answers}\nkl_weight = 1.0\nce_weight = 0.0\n"
    recipe = _recipe(world, sizes, "prompts", "on-policy", fields, rows=1, length=length, steps=steps)
    dispatch(["distill", "on-policy", str(recipe), "--output", str(output), "--threads", str(threads)])
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    answers = statistics.mean(line["rollout_tokens"] for line in lines)
    tokens = answers * sizes.rows * steps
    return {"rate": tokens / lines[-1]["seconds"], "spread": "whole run", "memory": peak_memory(), "tokens": answers}


def _recipe(
    world: Path, sizes: Any, shards: str, name: str, fields: str, *, rows: int = 0, length: int = 0, steps: int = 0
) -> Path:
    """A recipe with what all our trainings share."""
    path = world / f"{name}.toml"
    path.write_text(
        f'model = "{world / "student"}"\ntokenizer = "{world / TOKENIZER}"\nteacher = "{world / "teacher"}"\n'
        f'output = "{world / name}"\nsequence_length = {length or sizes.length}\nrows = {rows or sizes.rows}\n'
        f'steps = {steps or sizes.steps}\nprecision = "fp32"\nlog_steps = 1\n{fields}'
        + ('cache = ""\n' if shards == "text" else "")
        + f'[[shards]]\nfolder = "{world / shards}"\n[optim]\nname = "adamw"\nlr = {LEARNING_RATE}\n',
        encoding="utf-8",
    )
    return path


def gkd(world: Path, sizes: Any, threads: int) -> dict[str, Any]:
    """TRL's GKDTrainer on the given text, forward KL, at its lightest: no checkpointing, no generation."""
    torch.set_num_threads(threads)
    try:
        from trl.experimental.gkd import GKDConfig, GKDTrainer
    except ImportError as error:
        return {"skipped": f"it cannot be imported here ({error})"}
    from datasets import Dataset

    shards = Shards.open(world / "text")
    rows = [{"input_ids": shards.sample(index).tolist()} for index in range(len(shards))]
    timer = _timer()
    arguments = GKDConfig(
        **_common(world, sizes), lmbda=0.0, seq_kd=False, beta=0.0, temperature=1.0, max_length=sizes.length
    )
    student, teacher, tokenizer = _opened(world)
    trainer = GKDTrainer(
        model=student, teacher_model=teacher, args=arguments, processing_class=tokenizer, callbacks=[timer],
        train_dataset=Dataset.from_list(rows), data_collator=_collate,
    )  # fmt: skip
    trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    rate = rate_of(sizes.rows * sizes.length, timer.seconds[1:])
    return {**rate, "divergence": statistics.mean(losses), "memory": peak_memory()}


def distillation(world: Path, sizes: Any, threads: int) -> dict[str, Any]:
    """TRL's DistillationTrainer: the student writes, the teacher scores, reverse KL, both in the step."""
    torch.set_num_threads(threads)
    try:
        from trl import DistillationConfig, DistillationTrainer
    except ImportError as error:
        return {"skipped": f"it cannot be imported here ({error})"}
    from datasets import Dataset

    student, teacher, tokenizer = _opened(world)
    shards = Shards.open(world / "prompts")
    prompts = [tokenizer.decode(shards.sample(index)[:PROMPT]) for index in range(len(shards))]
    timer = _timer()
    arguments = DistillationConfig(**_common(world, sizes), beta=1.0, max_completion_length=sizes.answers)
    trainer = DistillationTrainer(
        model=student, teacher_model=teacher, args=arguments, processing_class=tokenizer, callbacks=[timer],
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in prompts]),
    )  # fmt: skip
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start
    lengths = [
        line["completions/mean_length"] for line in trainer.state.log_history if "completions/mean_length" in line
    ]
    tokens = statistics.mean(lengths) * sizes.rows * sizes.steps
    spread = f"whole run; steps alone {rate_of(sizes.rows * sizes.answers, timer.seconds[1:])['rate']:,.0f}"
    return {"rate": tokens / seconds, "spread": spread, "memory": peak_memory()}


def _common(world: Path, sizes: Any) -> dict[str, Any]:
    return {
        "output_dir": str(world / "trl"), "per_device_train_batch_size": sizes.rows, "max_steps": sizes.steps,
        "learning_rate": LEARNING_RATE, "lr_scheduler_type": "constant", "use_cpu": True, "bf16": False,
        "gradient_checkpointing": False, "report_to": "none", "save_strategy": "no", "logging_steps": 1,
        "disable_tqdm": True, "dataloader_pin_memory": False,
    }  # fmt: skip


def _opened(world: Path) -> tuple[Any, Any, Any]:
    """Student, teacher and tokenizer by transformers, in fp32."""
    import transformers

    models = [
        transformers.AutoModelForCausalLM.from_pretrained(world / name, dtype=torch.float32)
        for name in ("student", "teacher")
    ]
    return *models, transformers.AutoTokenizer.from_pretrained(world / "teacher", padding_side="left")


def _collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Whole sequences, all of which count: what GKD's own collator makes of conversations, without a prompt."""
    ids = torch.tensor([row["input_ids"] for row in rows])
    mask = torch.ones_like(ids)
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.clone(),
            "prompts": ids[:, :1], "prompt_attention_mask": mask[:, :1]}  # fmt: skip


def _timer() -> Any:
    """A callback that notes the seconds of every step, its batch included."""
    import transformers

    class Timer(transformers.TrainerCallback):
        def __init__(self) -> None:
            self.seconds: list[float] = []
            self._last = 0.0

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self._last = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            now = time.perf_counter()
            self.seconds.append(now - self._last)
            self._last = now

    return Timer()


SIDES: dict[str, Callable[[Path, Any, int], dict[str, Any]]] = {
    **{f"capture {kind}": functools.partial(capture, kind) for kind in CACHES},
    **{f"train {kind}": functools.partial(train, kind) for kind in CACHES},
    "on-policy": on_policy,
    "gkd": gkd,
    "distillation": distillation,
}
