"""The training state beside the checkpoint: saved while the run goes on, read when it starts again.

``<output>.state/`` holds ``run.json`` (which run this is), ``metrics.jsonl`` and one ``step-NNNNNNNN`` folder, a
distributed checkpoint (``torch.distributed.checkpoint``) that any number of processes can read. A new step folder is
written under another name and renamed when it is whole; only then does the one before go. So a run that is killed at
any moment finds the last whole state, and goes on from it bit for bit.
"""

import contextlib
import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from axk1.core.artifact import publish, write_text_atomic
from axk1.core.errors import ArtifactError
from axk1.core.lock import locked
from axk1.train.metrics import METRICS, MetricsFile
from axk1.train.parallel.processes import Processes

_RUN, _PROGRESS = "run.json", "progress.json"


class TrainingState:
    """A run's state on disk.

    Args:
        folder: where it lies, ``<output>.state``.
        processes: the processes of the run; the first one makes, renames and deletes.
    """

    def __init__(self, folder: Path, processes: Processes) -> None:
        self.folder = folder
        self.metrics = MetricsFile(folder / METRICS)
        self._processes = processes

    @classmethod
    def beside(cls, output: Path, processes: Processes) -> "TrainingState":
        """The state that belongs to an output folder."""
        return cls(output.with_name(f"{output.name}.state"), processes)

    def identity(self) -> dict[str, Any] | None:
        """What the run here was started with; None when there is none.

        Raises:
            ArtifactError: the file is corrupt.
        """
        try:
            return json.loads((self.folder / _RUN).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise self._unusable(f"its {_RUN} is corrupt: {error}") from None

    @contextlib.contextmanager
    def claimed(
        self, identity: dict[str, Any], *, as_of_today: Callable[[dict[str, Any]], dict[str, Any]] = dict
    ) -> Iterator[None]:
        """Holds the state for this run: nobody else may write it during the block.

        Args:
            identity: plain values that say which run this is; a state that was started with others is refused.
            as_of_today: the identity that an earlier version wrote -> what this version would have written.

        Raises:
            ArtifactError: another run's state lies here (says what differs), or another process writes it now.
        """
        with self._locked() if self._processes.is_first else contextlib.nullcontext():
            found = self.identity()
            if found is not None:
                differing = _differences(as_of_today(found), json.loads(json.dumps(identity)))
                if differing:
                    raise self._unusable(f"it belongs to a run with other settings or inputs: {'; '.join(differing)}")
            elif self._processes.is_first:
                write_text_atomic(self.folder / _RUN, json.dumps(identity, ensure_ascii=False, indent=2) + "\n")
            self._processes.barrier()
            yield

    def latest_step(self) -> int | None:
        """The step after which the newest whole state was saved; None when there is none."""
        steps = [int(path.name.removeprefix("step-")) for path in self.folder.glob("step-*")]
        return max(steps, default=None)

    def save(
        self, step: int, model: nn.Module, optimizers: list[torch.optim.Optimizer], progress: dict[str, float]
    ) -> None:
        """Writes the state after ``step`` steps; what was saved before stays until this one is whole."""
        temporary, final = self.folder / f".step-{step:08d}.building", self._step_folder(step)
        if self._processes.is_first:
            self.metrics.sync()
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
        self._processes.barrier()
        with self._alone_without_warning() as alone:
            dcp.save(_tensors(model, optimizers), checkpoint_id=temporary, no_dist=alone)
        if self._processes.is_first:
            write_text_atomic(temporary / _PROGRESS, json.dumps(progress))
            publish(temporary, final)
            self._tidy(step)
        self._processes.barrier()

    def load(self, model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> dict[str, float]:
        """Reads the newest state into model and optimizers, and takes later lines from the metrics.

        Returns:
            What ``save`` was given as progress; empty when nothing has been saved yet.

        Raises:
            ArtifactError: the state is corrupt.
        """
        step = self.latest_step()
        progress: dict[str, float] = {}
        if step is not None:
            progress = self._read(self._step_folder(step), model, optimizers)
        if self._processes.is_first:
            self._tidy(step)
            self.metrics.rewind(step or 0)
        self._processes.barrier()
        return progress

    def discard(self) -> None:
        """Deletes the state, once the checkpoint is in its place."""
        if self._processes.is_first:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self, folder: Path, model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> dict[str, float]:
        state = _tensors(model, optimizers)
        try:
            progress = json.loads((folder / _PROGRESS).read_text(encoding="utf-8"))
            with self._alone_without_warning() as alone:
                dcp.load(state, checkpoint_id=folder, no_dist=alone)
        except (Exception, dcp.CheckpointException) as error:  # whatever the reader meets, the file is to blame
            raise self._unusable(f"{folder.name} is corrupt ({_reason(error)})") from error
        set_model_state_dict(model, state["model"])
        set_optimizer_state_dict(model, optimizers, optim_state_dict=state["optimizers"])
        return progress

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        return locked(self.folder / "lock", f"training with the state in {str(self.folder)!r}")

    @contextlib.contextmanager
    def _alone_without_warning(self) -> Iterator[bool]:
        """Whether there is one process only, which torch would remark on each time."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            yield self._processes.world_size == 1

    def _step_folder(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"

    def _tidy(self, step: int | None) -> None:
        """Deletes older states and what a killed run left half-written."""
        keep = self._step_folder(step).name if step is not None else None
        for path in [*self.folder.glob("step-*"), *self.folder.glob(".step-*")]:
            if path.name != keep:
                shutil.rmtree(path, ignore_errors=True)

    def _unusable(self, why: str) -> ArtifactError:
        repair = f"rm -r {self.folder}   (to start again; or undo the change)"
        return ArtifactError(f"the training state in {str(self.folder)!r} cannot be used: {why}", repair=repair)


def _tensors(model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> dict[str, Any]:
    return {"model": get_model_state_dict(model), "optimizers": get_optimizer_state_dict(model, optimizers)}


def _reason(error: BaseException) -> str:
    """What a reader said, in one line; the distributed reader wraps the errors of its processes."""
    if isinstance(error, dcp.CheckpointException):
        error = next(iter(error.failures.values()))[0]
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _differences(found: dict[str, Any], wanted: dict[str, Any], prefix: str = "") -> list[str]:
    """What differs between two nested tables, as ``optim.lr was 0.001, is 0.0003``."""
    lines = []
    for key in sorted({*found, *wanted}):
        old, new, name = found.get(key), wanted.get(key), f"{prefix}{key}"
        if isinstance(old, dict) and isinstance(new, dict):
            lines += _differences(old, new, f"{name}.")
        elif old != new:
            lines.append(f"{name} was {old!r}, is {new!r}")
    return lines
