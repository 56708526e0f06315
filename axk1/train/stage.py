"""What every training stage does: check the inputs, print the plan, train or resume, publish a checkpoint.

``pretrain``, ``sft`` and the distillation of a student differ in the objective and in what they print; the rest is
``run_stage``.
"""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from axk1.core.artifact import building, is_current, write_manifest, write_text_atomic
from axk1.core.config import brought_up_to_date, require, to_dict
from axk1.core.progress import console, print_next, print_plan
from axk1.data.packing import PackedBatches
from axk1.model.checkpoint import save_model
from axk1.model.transformer import Transformer
from axk1.train.batches import Batches
from axk1.train.checkpointing import TrainingState
from axk1.train.config import TrainConfig
from axk1.train.foreign import ForeignConfig, ForeignNetwork
from axk1.train.lora import FOLDER, add_adapters, merged, save_adapter
from axk1.train.material import Material, build_model, open_material, verify_files
from axk1.train.metrics import METRICS
from axk1.train.objective import Objective
from axk1.train.parallel.processes import Processes, joined
from axk1.train.parallel.sharding import parallelize, whole_model
from axk1.train.planning import plan
from axk1.train.precision import choose_device, choose_precision
from axk1.train.trainer import Totals, Trainer

# A run that is resumed with another value of these computes the same, so they do not make it another run.
_FREE_TO_CHANGE = {
    "output",
    "micro_batches",
    "precision",
    "device",
    "threads",
    "checkpoint_seconds",
    "checkpoint_steps",
}
_FREE_TO_CHANGE |= {"log_steps"}


def run_stage(
    config: TrainConfig,
    objective: Callable[[Material], Objective],
    *,
    title: str,
    next_command: str,
    model: Callable[[Material], Transformer] | None = None,
    narrow: Callable[[Material], Material] | None = None,
    batches: Callable[[PackedBatches], Batches] | None = None,
    extra_inputs: Mapping[str, str] | None = None,
    dry_run: bool = False,
) -> Path:
    """Trains a model and publishes it as a checkpoint artifact.

    Args:
        config: the run.
        objective: makes the loss, given the opened inputs.
        title: the name of the stage, for plan and progress.
        next_command: printed at the end.
        model: makes the starting network; by default what ``config.model`` says.
        narrow: leaves out samples that cannot be trained on.
        batches: makes the batches of the run from those packed from the shards; by default they are these.
        extra_inputs: content hashes of further inputs, by role.
        dry_run: stop after the plan.

    Returns:
        The checkpoint folder.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    material = open_material(config, extra_inputs=extra_inputs)
    material = narrow(material) if narrow else material
    loss = objective(material)
    device = choose_device(config.device)
    with joined(device.type) as processes:
        run = _Run(config, material, processes, device, title)
        run.show_plan()
        if dry_run:
            return config.output
        if run.is_current():
            run.state.discard()
            run.say(f"{config.output} is up to date")
        else:
            starting = model(material) if model else build_model(config, material)
            run.train(starting, loss, batches(run.batches) if batches else run.batches)
        if processes.is_first:
            print_next(next_command)
    return config.output


class _Run:
    """One stage on its way from opened inputs to a published checkpoint."""

    def __init__(
        self, config: TrainConfig, material: Material, processes: Processes, device: torch.device, title: str
    ) -> None:
        self.config, self.material, self.processes = config, material, processes
        self.device, self.title = device, title
        parts = processes.world_size * config.micro_batches
        self._check_foreign()
        require(config.rows % parts == 0, "rows", config.rows, f"a multiple of {parts} (processes x micro_batches)")
        if processes.is_first:
            verify_files(config)
        self.batches = PackedBatches(
            material.shards,
            [source.weight for source in config.shards],
            sequence_length=config.sequence_length,
            rows=config.rows,
            seed=config.seed,
            rank=processes.rank,
            world_size=processes.world_size,
        )
        self.state = TrainingState.beside(config.output, processes)
        started_with = (self.state.identity() or {}).get("precision")
        self.precision = started_with or self._agreed(choose_precision(config.precision, self.device))

    def _check_foreign(self) -> None:
        """Raises ConfigError for what is not done with a network of transformers."""
        if isinstance(self.material.model_config, ForeignConfig):
            where = "with an architecture that only transformers knows"
            alone = self.processes.world_size == 1
            require(alone, "processes", self.processes.world_size, f"1 {where}; micro_batches save memory")
            require(not self.config.lora_rank, "lora_rank", self.config.lora_rank, f"0 {where}")

    def is_current(self) -> bool:
        """Whether the output has been made from this config and these inputs already."""
        inputs = self.material.inputs
        return is_current(self.config.output, kind="checkpoint", config=self.config, inputs=inputs)

    def show_plan(self) -> None:
        """Prints what will be done."""
        if self.processes.is_first:
            rows = plan(self.config, self.material, self.batches, self.processes, self.device, self.precision)
            print_plan(self.title, {**rows, "output": self._output_note()})

    def train(self, model: Transformer, objective: Objective, batches: Batches) -> None:
        """Trains, publishes, and deletes the training state."""
        with self.state.claimed(self._identity(), as_of_today=self._as_of_today):
            model = add_adapters(model, self.config).to(self.device)
            self._train(parallelize(model, self.processes, self.device), objective, batches)

    def _train(self, model: Transformer, objective: Objective, batches: Batches) -> None:
        trainer = Trainer(
            self.config,
            model,
            batches,
            objective,
            state=self.state,
            processes=self.processes,
            device=self.device,
            precision=self.precision,
            label=self.title,
            resume_command=" ".join(["axk1", *sys.argv[1:]]),
        )
        totals = trainer.run()
        self._publish(model, totals)
        self.state.discard()

    def say(self, text: str) -> None:
        """Prints a line, once."""
        if self.processes.is_first:
            console.print(text)

    def _identity(self) -> dict[str, Any]:
        config = _decisive(to_dict(self.config))
        return {"config": config, "inputs": dict(self.material.inputs), "precision": self.precision}

    def _as_of_today(self, identity: dict[str, Any]) -> dict[str, Any]:
        config = brought_up_to_date(identity.get("config"), self.config)
        return {**identity, "config": _decisive(config)} if isinstance(config, dict) else identity

    def _agreed(self, precision: str) -> str:
        """One precision for all processes: bf16 only where all of them want it."""
        wishes = self.processes.sum([int(precision == "bf16")])[0]
        return "bf16" if wishes == self.processes.world_size else "fp32"

    def _output_note(self) -> str:
        output, step = self.config.output, self.state.latest_step()
        if self.is_current():
            return f"{output} (up to date)"
        if step is not None:
            return f"{output} (resumes after step {step:,})"
        return f"{output} (replaces what is there)" if output.exists() else str(output)

    def _publish(self, model: Transformer, totals: Totals) -> None:
        whole = whole_model(model, self.processes, lambda shell: add_adapters(shell, self.config))
        if self.processes.is_first:
            with building(self.config.output) as folder:
                if self.config.lora_rank:
                    save_adapter(whole, folder / FOLDER, self.config)
                if isinstance(whole, ForeignNetwork):
                    whole.save(folder)
                else:
                    save_model(merged(whole), folder)
                self._save_tokenizer(folder)
                (folder / METRICS).write_bytes(self.state.metrics.path.read_bytes())
                write_manifest(
                    folder,
                    kind="checkpoint",
                    config=to_dict(self.config),
                    inputs=self.material.inputs,
                    counts=self._counts(totals),
                    licences=self.material.licences,
                )
        self.processes.barrier()

    def _save_tokenizer(self, folder: Path) -> None:
        """The tokenizer's files, and at which tokens generation stops: the end of a text or of a turn."""
        tokenizer = self.material.tokenizer
        tokenizer.save(folder)
        ids = {"bos_token_id": tokenizer.bos_id, "eos_token_id": list(tokenizer.stop_ids)}
        write_text_atomic(folder / "generation_config.json", json.dumps(ids, indent=2) + "\n")

    def _counts(self, totals: Totals) -> dict[str, Any]:
        counts = {"steps": totals.step, "tokens": totals.tokens, "seconds": round(totals.seconds, 1)}
        return counts | {
            "precision": self.precision,
            "device": self.device.type,
            "threads": torch.get_num_threads(),
            "processes": self.processes.world_size,
        }


def _decisive(config: dict[str, Any]) -> dict[str, Any]:
    """The settings on which it depends what is computed."""
    return {key: value for key, value in config.items() if key not in _FREE_TO_CHANGE}
