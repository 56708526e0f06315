"""The loop: batches through an objective to updates, with metrics, saved state and clean stops. It knows no stage."""

import contextlib
import signal
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from axk1.core.errors import Interrupted, TrainingDiverged
from axk1.core.progress import Meter, human, progress
from axk1.model.transformer import Transformer
from axk1.train.batches import Batches, StepBatch, batches_from
from axk1.train.checkpointing import TrainingState
from axk1.train.config import TrainConfig
from axk1.train.objective import Objective
from axk1.train.optimizers import build_optimizers, set_learning_rate
from axk1.train.parallel.processes import Processes
from axk1.train.parallel.tensors import clip_gradients
from axk1.train.parts import Parts
from axk1.train.schedule import learning_rate_factor
from axk1.train.stopping import StopRequest, stop_on_signals


@dataclass
class Totals:
    """How far a run is, over all its starts."""

    step: int = 0
    """Steps taken."""
    tokens: int = 0
    """Tokens seen, padding not counted."""
    seconds: float = 0.0
    """Time spent in the loop, saving included."""


class Trainer:
    """Trains a model to the end of its run, from where its state on disk says.

    Args:
        config: steps, optimizer, how often to save and log.
        model: the network on its device, already sharded when there are many processes; trained in place.
        batches: the packed batches.
        objective: the loss.
        state: where the run saves itself; it must be claimed for this run.
        processes: the processes of the run.
        device: where the model is.
        precision: ``bf16`` computes matrix products in bf16 by autocast; the weights stay as they are.
        label: what the progress bar is called.
        resume_command: the command that goes on after a stop.
    """

    def __init__(
        self,
        config: TrainConfig,
        model: Transformer,
        batches: Batches,
        objective: Objective,
        *,
        state: TrainingState,
        processes: Processes | None = None,
        device: torch.device | None = None,
        precision: str = "fp32",
        label: str = "train",
        resume_command: str = "the same command",
    ) -> None:
        self.config, self.model, self.batches, self.objective, self.state = config, model, batches, objective, state
        self.processes, self.device = processes or Processes(), device or torch.device("cpu")
        self.precision, self.label, self.resume_command = precision, label, resume_command
        self.totals = Totals()
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._parts = Parts(model, objective, precision=precision, alone=self.processes.world_size == 1)
        self._optimizers = build_optimizers(model, config.optim, precision=precision)
        self._unchecked: list[tuple[int, Tensor]] = []  # norms not yet looked at, so as not to wait for a GPU
        self._saved_at = 0.0

    def run(self) -> Totals:
        """Takes all steps that are left.

        Raises:
            Interrupted: SIGTERM or SIGINT came; the state after the last whole step is on disk.
            TrainingDiverged: a gradient was not finite; names the step and the last good state.
        """
        self.totals = Totals(**self.state.load(self.model, self._optimizers))
        self.model.train()
        start = self._saved_at = time.perf_counter()
        before = self.totals.seconds
        window = _Window(self.totals.tokens, start)
        with stop_on_signals() as stop, self._meter() as meter, contextlib.closing(self._batches()) as batches:
            for batch in batches:
                norm, metrics = self._optimise(batch)
                self.totals.step += 1
                self.totals.tokens += batch.tokens
                self._check_later(norm)
                note = ""
                self.totals.seconds = before + time.perf_counter() - start
                if self.config.is_logged(self.totals.step):
                    note = self._log(norm, metrics, window.rate(self.totals.tokens))
                if meter is not None:
                    meter.advance(note=note)
                window.pause(self._save_or_stop(stop))
        return self.totals

    def _optimise(self, batch: StepBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """One step: the gradient of all parts, then one update. Returns the gradient's norm and the batch's figures."""
        step = self.totals.step
        set_learning_rate(self._optimizers, learning_rate_factor(step, self.config.total_steps, self.config.optim))
        # Chance depends on nothing but the step and the process, so a resumed run repeats it.
        torch.manual_seed((self.config.seed * 1_000_003 + step) * 4_096 + self.processes.rank)
        metrics = self._parts.gradients(batch.parts)
        norm = clip_gradients(self._parameters, self.config.optim.grad_clip, self.processes)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return norm, metrics

    def _log(self, norm: Tensor, metrics: dict[str, Tensor], tokens_per_second: float) -> str:
        """Writes the line of this step to the metrics and returns a note for the progress bar."""
        self._check_finite()
        values = {name: _plain(self.processes.sum_tensor(value)) for name, value in metrics.items()}
        line = {
            "step": self.totals.step,
            "tokens": self.totals.tokens,
            "seconds": round(self.totals.seconds, 3),
            "tokens_per_second": round(tokens_per_second, 1),
            "lr": self._optimizers[0].param_groups[0]["lr"],
            "grad_norm": _plain(norm),
            **values,
        }
        if self.processes.is_first:
            self.state.metrics.append(line)
        return f"loss {values['loss']:.3f}  {human(tokens_per_second)} tokens/s"

    def _check_later(self, norm: Tensor) -> None:
        self._unchecked.append((self.totals.step, norm))
        if self.device.type == "cpu":
            self._check_finite()

    def _check_finite(self) -> None:
        norms, self._unchecked = self._unchecked, []
        for step, norm in norms:
            if not torch.isfinite(norm):
                saved = self.state.latest_step()
                good = f"the last good state is that after step {saved}" if saved else "no state has been saved yet"
                folder = self.state.folder
                raise TrainingDiverged(
                    f"the gradient of step {step} is not finite (norm {float(norm)}); {good}, in {str(folder)!r}",
                    repair=f"rm -r {folder}   (and start again with a lower optim.lr or optim.grad_clip)",
                )

    def _save_or_stop(self, stop: StopRequest) -> float:
        """Saves the state when it is time, and stops when a signal asked for it. Returns the seconds that it took."""
        begin = time.perf_counter()
        waited = begin - self._saved_at
        due = self.config.checkpoint_seconds is not None and waited >= self.config.checkpoint_seconds
        due |= self.config.checkpoint_steps is not None and self.totals.step % self.config.checkpoint_steps == 0
        asked, due_anywhere = self.processes.sum([stop.signal or 0, int(due)])
        if self.totals.step == self.config.total_steps or not (asked or due_anywhere):
            return 0.0
        self._check_finite()
        self.state.save(self.totals.step, self.model, self._optimizers, vars(self.totals))
        if asked:
            where = f"after step {self.totals.step} of {self.config.total_steps}"
            message = f"stopped {where}; the training state is saved in {str(self.state.folder)!r} and will be taken up"
            raise Interrupted(message, signal=stop.signal or signal.SIGTERM, repair=self.resume_command)
        self._saved_at = time.perf_counter()
        return self._saved_at - begin

    def _batches(self) -> Generator[StepBatch, None, None]:
        return batches_from(
            self.totals.step,
            self.config.total_steps,
            self.batches,
            micro_batches=self.config.micro_batches,
            processes=self.processes,
            device=self.device,
        )

    @contextlib.contextmanager
    def _meter(self) -> Iterator[Meter | None]:
        if not self.processes.is_first:
            yield None
            return
        with progress(self.label, total=self.config.total_steps, unit="steps") as meter:
            meter.skip(self.totals.step)
            yield meter


class _Window:
    """Measures tokens per second between two logged steps; time spent saving does not count."""

    def __init__(self, tokens: int, start: float) -> None:
        self._tokens, self._start = tokens, start

    def pause(self, seconds: float) -> None:
        self._start += seconds

    def rate(self, tokens: int) -> float:
        now = time.perf_counter()
        rate = (tokens - self._tokens) / max(now - self._start, 1e-9)
        self._tokens, self._start = tokens, now
        return rate


def _plain(tensor: Tensor) -> Any:
    """Plain numbers with as many digits as mean something."""

    def rounded(value: Any) -> Any:
        return [rounded(v) for v in value] if isinstance(value, list) else float(f"{value:.7g}")

    return rounded(tensor.tolist())
