"""``axk1 distill init RECIPE``: a teacher and some text -> a student's starting weights, and how far they are from it.

The teacher is held in memory. What is made is a checkpoint folder that transformers opens, and that
``axk1 distill train RECIPE --model FOLDER`` goes on from.
"""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from axk1.core.artifact import building, is_current, read_manifest, write_manifest
from axk1.core.config import to_dict
from axk1.core.lock import locked
from axk1.core.progress import human, print_next, print_plan, progress
from axk1.data.shards import Shards, require_same_tokenizer
from axk1.distill.initialise.config import InitConfig
from axk1.distill.initialise.distance import Distance, distance
from axk1.distill.initialise.methods import Start, start
from axk1.distill.initialise.target import student_config
from axk1.distill.initialise.text import Sample, choose_text
from axk1.distill.material import check_teacher
from axk1.distill.teachers import checkpoint_hash
from axk1.model.checkpoint import load_model, save_model
from axk1.model.config import ModelConfig
from axk1.model.inspect import inspect_model
from axk1.model.transformer import Transformer
from axk1.tokenizer.tokenizer import Tokenizer
from axk1.train.precision import choose_device

_GENERATION = "generation_config.json"


def init_student(config: InitConfig, *, dry_run: bool = False) -> Path:
    """Makes a student's starting weights and prints how far they are from the teacher.

    Returns:
        The checkpoint folder.

    Raises:
        ConfigError: the method cannot make such a student of this teacher, or there is too little text.
        ArtifactError: the teacher or the shards are missing or corrupt.
        TokenizerMismatch: they were made with different tokenizers.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    shards = [Shards.open(source.folder) for source in config.shards]
    require_same_tokenizer(shards)
    check_teacher(config.teacher, shards[0])
    teacher_config = ModelConfig.load(config.teacher)
    target = student_config(teacher_config, config)
    inputs = {"teacher": checkpoint_hash(config.teacher)}
    inputs |= {f"shards[{i}]": opened.manifest.content_hash for i, opened in enumerate(shards)}
    current = is_current(config.output, kind="checkpoint", config=config, inputs=inputs)
    print_plan("distill init", {**_plan(config, teacher_config, target), "output": _output_note(config, current)})
    if dry_run:
        return config.output
    if not current:
        with locked(config.output.with_name(f".{config.output.name}.lock"), f"writing {str(config.output)!r}"):
            _make(config, target, shards, inputs)
    _print_table(read_manifest(config.output).counts)
    # The recipe's learning rates are for weights by chance, and would undo what was taken over.
    rates = "" if config.method == "random" else " --optim.lr 3e-3 --optim.muon-lr 1e-3"
    trained = f"--model {config.output} --output {config.output}-trained{rates}"
    print_next(f"axk1 distill train recipes/nano/student.toml {trained}")
    return config.output


def _make(config: InitConfig, target: ModelConfig, shards: list[Shards], inputs: dict[str, str]) -> None:
    """Makes and measures the student, and writes its checkpoint."""
    calibration, measured = choose_text(
        shards, [source.weight for source in config.shards], calibration_tokens=config.calibration_tokens,
        measured_tokens=config.measured_tokens, longest=target.max_position_embeddings,
    )  # fmt: skip
    with progress("distill init", total=4, unit="parts") as meter:
        teacher = load_model(config.teacher, dtype=torch.float32, device=choose_device(config.device))
        meter.advance(note="teacher in memory")
        made = start(teacher, target, calibration, config)
        meter.advance(note="student made")
        counts: dict[str, Any] = {"kept": made.kept}
        counts |= {"teacher": _figures(teacher, teacher, measured, config)}
        counts |= {"student": _figures(teacher, made.model, measured, config)}
        meter.advance(note="student measured")
        if config.method != "random":
            twin = start(teacher, made.model.config, [], dataclasses.replace(config, method="random"))
            counts |= {"random": _figures(teacher, twin.model, measured, config)}
        meter.advance()
    counts["calibration_tokens"] = sum(len(sample.ids_T) for sample in calibration)
    _publish(config, made, shards, inputs, counts)


def _figures(teacher: Transformer, model: Transformer, measured: list[Sample], config: InitConfig) -> dict[str, float]:
    size = inspect_model(model.config)
    found: Distance = distance(teacher, model, measured, config.batch_tokens)
    return {"parameters": size.total, "active": size.active, **dataclasses.asdict(found)}


def _publish(
    config: InitConfig, made: Start, shards: list[Shards], inputs: dict[str, str], counts: dict[str, Any]
) -> None:
    licences = {name: text for opened in shards for name, text in opened.manifest.licences.items()}
    with building(config.output) as folder:
        save_model(made.model, folder)
        Tokenizer.load(config.teacher).save(folder)
        if (config.teacher / _GENERATION).is_file():  # where generation stops is the teacher's to say
            shutil.copyfile(config.teacher / _GENERATION, folder / _GENERATION)
        write_manifest(
            folder, kind="checkpoint", config=to_dict(config), inputs=inputs, counts=counts, licences=licences
        )


def _plan(config: InitConfig, teacher: ModelConfig, target: ModelConfig) -> dict[str, str]:
    """The plan for people."""
    changed = [f"{name} {value}" for name, value in config.size.given.items()]
    text = f"{human(config.calibration_tokens)} tokens to calibrate on, {human(config.measured_tokens)} to measure on"
    note = ""
    if config.method == "depth" and teacher.is_sparse and len({_total(one) for one in _extremes(teacher, target)}) > 1:
        note = " (more, the more of the dense layers go)"
    return {
        "teacher": f"{config.teacher}, {_size(teacher)}",
        "method": f"{config.method}, {', '.join(changed) or 'all sizes as the teacher has them'}",
        "student": f"{_size(target)}{note}",
        "text": f"{text}, from {len(config.shards)} folders",
    }


def _output_note(config: InitConfig, current: bool) -> str:
    note = " (up to date)" if current else " (replaces what is there)"
    return f"{config.output}{note if config.output.exists() else ''}"


def _extremes(teacher: ModelConfig, target: ModelConfig) -> list[ModelConfig]:
    """A shallower student that keeps as many and as few dense layers as can be."""
    layers = target.num_hidden_layers
    fewest = max(layers - (teacher.num_hidden_layers - teacher.first_k_dense_replace), 1)
    return [dataclasses.replace(target, first_k_dense_replace=k) for k in (target.first_k_dense_replace, fewest)]


def _total(config: ModelConfig) -> int:
    return inspect_model(config).total


def _size(config: ModelConfig) -> str:
    size = inspect_model(config)
    return f"{config.architecture}, {human(size.total)} parameters, {human(size.active)} active"


def _print_table(counts: dict[str, Any]) -> None:
    """Teacher, student and a student of the same sizes by chance, side by side."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in ("parameters", "active", "KL to the teacher", "cross-entropy"):
        table.add_column(name, justify="right")
    for name in ("teacher", "student", "random"):
        if name in counts:
            row = counts[name]
            figures = (f"{row['kl_to_teacher']:.4f}", f"{row['cross_entropy']:.4f}")
            table.add_row(name, f"{row['parameters']:,}", f"{row['active']:,}", *figures)
    Console(highlight=False).print(table)
