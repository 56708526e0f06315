"""``axk1 eval``: a language model -> scores with error bars.

Two kinds of tasks. ``heldout_<language>``: bits per byte of held-out documents. ``reasoning_<dataset>``: exact match on
fresh problems of reasoning-gym, in Korean and English, with and without thinking. How errors are computed stands in
``axk1.eval.estimates``.
"""

import importlib.metadata
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from axk1.core import artifact
from axk1.core.config import require, to_dict
from axk1.core.language_model import LanguageModel
from axk1.core.progress import Meter, console, duration, print_next, print_plan, progress
from axk1.core.texts import MADE_BY
from axk1.eval.examination import Question, all_tasks, examine, refuse_taught, set_questions
from axk1.eval.heldout import HeldoutText, heldout_texts, score_heldout
from axk1.eval.scores import HELDOUT, KIND, REASONING, RESULTS, Sample, measures, samples_path
from axk1.eval.tasks import TASKS
from axk1.eval.tasks.task import HELD_OUT_RULE, LANGUAGES, MODES, Language, Mode, fingerprint

_VERSION = 1
"""Version of the tasks; it rises when the same model would get other scores."""


@dataclass(frozen=True)
class EvalConfig:
    """What to measure a model by."""

    model: Path
    """The checkpoint to measure."""
    output: Path
    """Folder to write the scores to."""
    documents: Path
    """The documents artifact whose held-out part is scored."""
    conversations: Path | None = None
    """The conversations that the model was taught; the examination is checked against them."""
    seed: int = 0
    """Other seeds give other problems; models that are compared need the same seed."""
    languages: tuple[Language, ...] = LANGUAGES
    """Languages of the held-out text and the questions."""
    modes: tuple[Mode, ...] = MODES
    """Ways to ask each question: with thinking, without, or both."""
    tasks: tuple[str, ...] = ()
    """Datasets of reasoning-gym to examine; empty for all of ours."""
    problems_per_task: int = 48
    """Most questions of each dataset, each asked in every mode."""
    think_tokens: int = 80
    """Longest answer with thinking, in tokens; an answer that is cut off is wrong."""
    no_think_tokens: int = 16
    """Longest answer without thinking, in tokens."""
    heldout_bytes: int = 200_000
    """Bytes of held-out text to score in each language."""
    document_bytes: int = 4096
    """Bytes of a document that are scored; the rest of a long one is left out, so that more documents count."""
    window_bytes: int = 768
    """Texts are scored in pieces of at most this many bytes, so that all models see the same context."""

    def __post_init__(self) -> None:
        require(0 <= self.seed < 1000, "seed", self.seed, "a number from 0 to 999")
        require(len(self.languages) > 0, "languages", self.languages, "at least one of ko, en")
        require(len(self.modes) > 0, "modes", self.modes, "at least one of think, no_think")
        for name in self.tasks:
            require(name in TASKS, "tasks", name, ", ".join(TASKS))
        for name in ("problems_per_task", "think_tokens", "no_think_tokens", "heldout_bytes", "document_bytes"):
            require(getattr(self, name) > 0, name, getattr(self, name), "a number above 0")
        require(self.window_bytes >= 8, "window_bytes", self.window_bytes, "a number from 8 on")


def evaluate(model: LanguageModel, config: EvalConfig, *, name: str | None = None, dry_run: bool = False) -> Path:
    """Measures a model and writes the scores artifact.

    Args:
        model: who answers.
        config: what to measure by.
        name: how to call the model in the results; by default the name of its folder.
        dry_run: print the plan and stop.

    Returns:
        The output folder: ``results.json`` in the form of lm-evaluation-harness, ``samples_<task>.jsonl``.

    Raises:
        ArtifactError: the documents are missing, or a problem of the examination was taught.
    """
    name = name or config.model.name
    inputs = _inputs(config)
    texts = {language: _texts(config, language) for language in config.languages}
    questions = [
        question
        for task in all_tasks(config.tasks)
        for question in set_questions(task, config.problems_per_task, config.languages, config.seed)
    ]
    _print_plan(config, name, texts, questions)
    if dry_run:
        return config.output
    if artifact.is_current(config.output, kind=KIND, config=config, inputs=inputs):
        console.print(f"{config.output} is up to date")
        return config.output
    if config.conversations is not None:
        refuse_taught(questions, config.conversations)
    start = time.monotonic()
    samples = _measure(model, config, texts, questions)
    results = _results(config, name, samples, time.monotonic() - start)
    _write(config, inputs, results, samples)
    _print_results(name, results)
    print_next("axk1 compare recipes/nano/compare.toml")
    return config.output


def _texts(config: EvalConfig, language: Language) -> list[HeldoutText]:
    return heldout_texts(
        config.documents,
        language,
        total_bytes=config.heldout_bytes,
        document_bytes=config.document_bytes,
        window_bytes=config.window_bytes,
    )


def _inputs(config: EvalConfig) -> dict[str, str]:
    documents = artifact.read_manifest(config.documents, kind="documents", made_by=MADE_BY["documents"])
    inputs = {"documents": documents.content_hash, "tasks": fingerprint(all_tasks(config.tasks))}
    if config.conversations is not None:
        made_by = MADE_BY["conversations"]
        manifest = artifact.read_manifest(config.conversations, kind="conversations", made_by=made_by)
        inputs["conversations"] = manifest.content_hash
    if (config.model / artifact.MANIFEST).exists():
        inputs["model"] = artifact.read_manifest(config.model).content_hash
    elif config.model.is_dir():  # a checkpoint from elsewhere
        inputs["model"] = artifact.content_hash(config.model)
    return inputs


def _measure(
    model: LanguageModel,
    config: EvalConfig,
    texts: Mapping[Language, Sequence[HeldoutText]],
    questions: Sequence[Question],
) -> dict[str, list[Sample]]:
    """The samples of each task."""
    samples: dict[str, list[Sample]] = {}
    steps = sum(map(len, texts.values())) + len(questions) * len(config.modes)
    limits = {"think": config.think_tokens, "no_think": config.no_think_tokens}
    with progress("eval", total=steps, unit="samples") as meter:
        for language, documents in texts.items():
            samples[f"{HELDOUT}{language}"] = score_heldout(model, documents)
            meter.advance(len(documents), note=f"held-out {language}")
        for mode in config.modes:
            examined = examine(model, questions, mode, max_tokens=limits[mode], seed=config.seed)
            _collect(samples, examined, meter, mode)
    return samples


def _collect(samples: dict[str, list[Sample]], examined: Mapping[str, list[Sample]], meter: Meter, mode: Mode) -> None:
    for task, lines in examined.items():
        samples.setdefault(f"{REASONING}{task}", []).extend(lines)
        meter.advance(len(lines), note=f"reasoning, {mode}")


def _results(config: EvalConfig, name: str, samples: Mapping[str, list[Sample]], seconds: float) -> dict[str, Any]:
    """The scores in the form of lm-evaluation-harness's ``results.json``."""
    found = measures(samples)
    rows = {}
    for task, measure in found.items():
        estimate = measure.estimate
        rows[task] = {
            "alias": task,
            f"{measure.metric},none": estimate.value,
            f"{measure.metric}_stderr,none": "N/A" if estimate.stderr is None else estimate.stderr,
        }
    groups = {task: row for task, row in rows.items() if task not in samples}
    reasoning = [task for task in samples if task.startswith(REASONING)]
    return {
        "results": rows,
        "groups": groups,
        "group_subtasks": dict.fromkeys(groups, reasoning),
        "configs": {task: _task_config(config, task) for task in samples},
        "versions": dict.fromkeys(samples, _VERSION),
        "n-shot": dict.fromkeys(samples, 0),
        "higher_is_better": {task: {m.metric: m.higher_is_better} for task, m in found.items()},
        "n-samples": {task: {"original": len(lines), "effective": len(lines)} for task, lines in samples.items()},
        "config": {"model": name, "model_args": str(config.model), "random_seed": config.seed, **to_dict(config)},
        "model_name": name,
        "date": time.time(),
        "reasoning_gym": importlib.metadata.version("reasoning-gym"),
        "total_evaluation_time_seconds": f"{seconds:.1f}",
    }


def _task_config(config: EvalConfig, task: str) -> dict[str, Any]:
    if task.startswith(HELDOUT):
        return {
            "task": task,
            "output_type": "loglikelihood_rolling",
            "dataset_path": str(config.documents),
            "num_fewshot": 0,
            "metric_list": [{"metric": "bits_per_byte", "aggregation": "sum of bits / sum of bytes"}],
            "stderr": "jackknife over documents",
        }
    dataset = task.removeprefix(REASONING)
    return {
        "task": task,
        "output_type": "generate_until",
        "dataset_path": f"reasoning-gym: {dataset}",
        "dataset_kwargs": to_dict(TASKS[dataset].options),
        "num_fewshot": 0,
        "metric_list": [{"metric": "exact_match", "aggregation": "share of answers that the scorer gives 1.0"}],
        "stderr": "jackknife over problems",
        "problems": HELD_OUT_RULE,
    }


def _write(
    config: EvalConfig, inputs: Mapping[str, str], results: Mapping[str, Any], samples: Mapping[str, list[Sample]]
) -> None:
    with artifact.building(config.output) as folder:
        text = json.dumps(results, ensure_ascii=False, indent=2)
        (folder / RESULTS).write_text(text + "\n", encoding="utf-8")
        for task, lines in samples.items():
            with open(samples_path(folder, task), "w", encoding="utf-8") as file:
                file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        counts = {
            "samples": sum(map(len, samples.values())),
            "seconds": float(results["total_evaluation_time_seconds"]),
        }
        artifact.write_manifest(folder, kind=KIND, config=to_dict(config), inputs=inputs, counts=counts)


def _print_plan(
    config: EvalConfig,
    name: str,
    texts: Mapping[Language, Sequence[HeldoutText]],
    questions: Sequence[Question],
) -> None:
    documents = ", ".join(f"{len(found)} documents in {language}" for language, found in texts.items())
    print_plan(
        f"eval: {name}",
        {
            "held out": f"{documents}, at most {config.heldout_bytes} bytes each language",
            "reasoning": f"{len(questions)} questions, {' and '.join(config.modes)}",
            "longest answer": f"{config.think_tokens} tokens with thinking, {config.no_think_tokens} without",
            "output": config.output,
        },
    )


def _print_results(name: str, results: Mapping[str, Any]) -> None:
    heads = [task for task in results["results"] if task.startswith(HELDOUT) or task in results["groups"]]
    for task in heads:
        row = results["results"][task]
        metric = next(iter(results["higher_is_better"][task]))
        value, stderr = row[f"{metric},none"], row[f"{metric}_stderr,none"]
        error = f" ± {stderr:.3f}" if isinstance(stderr, float) else ""
        console.print(f"{name}  {task}  {metric} {value:.3f}{error}")
    console.print(f"measured in {duration(float(results['total_evaluation_time_seconds']))}")
