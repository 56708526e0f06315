"""``StreamPlan``: how a teacher is streamed, how long it should take, and what sets the limit."""

import functools
import resource
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from axk1.core.errors import CheckpointError, ConfigError
from axk1.core.progress import duration, human, si
from axk1.distill.records import Records
from axk1.distill.stream.byte_size import format_bytes, parse_bytes
from axk1.distill.stream.layers import Layers
from axk1.distill.stream.memory import Demand, Room, matrix_pieces, plan_room
from axk1.distill.stream.pieces import EMBEDDING, Piece, block_pieces, output_name
from axk1.distill.stream.rates import HARDWARE, UTILISATION, Rates, measured
from axk1.distill.stream.states import FILES
from axk1.model.checkpoint import as_loaded, check_weights, named_views
from axk1.model.config import ModelConfig
from axk1.model.inspect import inspect_model
from axk1.model.tensor_files import TensorFiles
from axk1.model.transformer import Transformer

STAGES = ("read", "attention", "experts", "output", "states")
"""Kinds of work; ``experts`` are all feed-forward layers, ``states`` reading and writing those of the tokens."""
_DISK_SHARE = 0.8
"""Share of the disk's free space that the states of a pass may take."""


@dataclass(frozen=True)
class StreamOptions:
    """What a person says of streaming."""

    memory: int
    device_memory: int | None
    batch_tokens: int
    pass_tokens: int | None
    hardware: str | None
    threads: int = 4


class StreamPlan:
    """How a teacher is streamed over some samples.

    Args:
        folder: the checkpoint; its weights need not be there for a plan.
        records: what is stored.
        lengths: rows of each sample.
        state: the folder that will hold the states of a pass.
        options: the budgets.
        chunk: rows of a chunk of the cache.
        device: where it computes.
        precision: ``fp32`` or ``bf16``.
        processes: how many share the samples.

    Raises:
        CheckpointError: the weights are corrupt, or do not fit the config.
        ConfigError: a budget is too small.
    """

    def __init__(
        self, folder: Path, records: Records, lengths: np.ndarray, state: Path, options: StreamOptions, *, chunk: int,
        device: torch.device, precision: str, processes: int = 1,
    ) -> None:  # fmt: skip
        self.config, self.files = open_streamed(folder)
        self.folder, self.records, self.options, self.device = folder, records, options, device
        self.precision, self.rows, self.processes = precision, int(lengths.sum()), processes
        self.base = _base()
        # What a killed run left is taken up or replaced, so that its passes are cut as before.
        held = sum(file.stat().st_size for file in state.glob("pass-*/*"))
        disk = (
            (shutil.disk_usage(_existing(state)).free + held) * _DISK_SHARE / (len(FILES) * 4 * self.config.hidden_size)
        )
        share = -(-self.rows // processes)
        most = min(options.pass_tokens or share, int(disk) // processes + 1, share)
        self.demand = Demand(
            self.config, records, int(lengths.max()), records.vocab_size, 2 if precision == "bf16" else 4, self._stored,
            device.type,
        )  # fmt: skip
        memory, chunk = options.device_memory if device.type == "cuda" else None, min(chunk, self.rows)
        self.room: Room = plan_room(
            self.demand, options.memory, memory, batch_tokens=options.batch_tokens, chunk=chunk,
            most_tokens=max(most, chunk),
        )  # fmt: skip
        self.matrix = matrix_pieces(self.demand, self.room)
        self._context = int((lengths.astype(np.float64) ** 2).sum() / max(self.rows, 1))
        self.passes = max(1, -(-share // max(self.room.pass_tokens, 1)))
        named = HARDWARE.get(options.hardware or "")
        self.rates: Rates = named or measured(self.files, _existing(state), device, self._dtype)

    @property
    def _dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def layers(self) -> Layers:
        """The executor of the layers."""
        return Layers(
            self.config, device=self.device, precision=self.precision, batch_tokens=self.room.batch_tokens,
            experts_at_once=max(self.room.experts, 1), expert_tokens=self.room.expert_tokens,
            assignments=self.room.assignments, whole=self.room.whole_layers,
        )  # fmt: skip

    @functools.cached_property
    def bytes_per_pass(self) -> int:
        """Bytes of the checkpoint that a pass reads."""
        blocks = [block_pieces(self.config, layer) for layer in range(self.config.num_hidden_layers)]
        whole = sum(self._stored(p) for b in blocks for p in (b.attention, b.feed_forward, *b.experts))
        return whole + (1 if self.room.whole_matrix else 2) * sum(self._stored(piece) for piece in self.matrix)

    def predicted(self, rows: int, passes: int) -> dict[str, float]:
        """Seconds of each kind of work; reading goes on beside the others."""
        summary, rates = inspect_model(self.config, context=max(self._context, 1)), self.rates
        parts = {part.name: part.active for part in summary.parts}
        attention = 2 * parts["attention"] + summary.flops_attention_share * summary.flops_forward
        output = 2 * self.config.vocab_size * self.config.hidden_size
        rest = summary.flops_forward - attention - output
        flops = rates.flops * UTILISATION
        kept = 2 * self.demand.vocabulary * self.config.hidden_size if self.matrix else 0
        kept *= 1 if self.room.whole_matrix else 2
        return {
            "read": passes * self.bytes_per_pass / min(rates.disk, rates.link or rates.disk),
            "attention": attention * rows / flops,
            "experts": rest * rows / flops,
            "output": kept * rows / flops,
            "states": rows * self._state_bytes() / rates.states,
        }

    def describe(self) -> dict[str, str]:
        """The plan for people."""
        room, times = self.room, self.predicted(self.rows, self.passes * self.processes)
        work = sum(seconds for name, seconds in times.items() if name != "read")
        limit = self.limit(times)
        pass_rows = min(room.pass_tokens, self.rows)
        used = ", ".join(f"{name} {format_bytes(size)}" for name, size in room.bytes.items())
        flops = (times["attention"] + times["experts"] + times["output"]) * self.rates.flops * UTILISATION
        experts = "through whole layers, " if room.whole_layers else ""
        if room.experts and not room.whole_layers:
            experts = f"{room.expert_tokens:,} by {room.experts} of {self.config.n_routed_experts} experts, "
        matrix = "" if not self.matrix else "the whole output matrix" if room.whole_matrix else (
            f"{room.matrix_rows:,} of {self.demand.vocabulary:,} rows of the output matrix"
        )  # fmt: skip
        return {
            "streamed": f"{self.passes} passes of up to {human(pass_rows)} tokens, "
            f"{si(self.bytes_per_pass, 'B')} read in each"
            + ("" if self.files is not None else "; the weights are not there yet"),
            "at once": f"{room.batch_tokens:,} tokens; {experts}{matrix}".rstrip(" ,;"),
            "memory": f"{format_bytes(self.options.memory)} on top of the {format_bytes(self.base)} that the program "
            f"itself takes: {used}",
            "disk": f"{format_bytes(pass_rows * len(FILES) * 4 * self.config.hidden_size)} for the states of a pass",
            "work": f"{si(flops, 'FLOP')}; {self.rates}"
            + (f" ({self.options.hardware})" if self.options.hardware else ""),
            "time": f"about {duration(max(times['read'], work))}, limited by {limit}: "
            + ", ".join(f"{name} {duration(seconds)}" for name, seconds in times.items())
            + f"; {human(max(times['read'], work) / 3600 / max(self.rows, 1) * 1e9)} hours for a billion tokens",
        }

    def limit(self, times: dict[str, float]) -> str:
        """What sets the time, in words, by the seconds of ``predicted``."""
        arithmetic = times["attention"] + times["experts"] + times["output"]
        if times["read"] > arithmetic + times["states"]:
            link = self.rates.link
            return "the link" if link is not None and link < self.rates.disk else "the disk"
        return "arithmetic" if arithmetic > times["states"] else "the states of tokens"

    def _state_bytes(self) -> int:
        """Bytes of states that are read and written for a token."""
        rows, blocks = 4 * self.config.hidden_size, self.config.num_hidden_layers
        if self.room.whole_layers:
            return rows * (2 * blocks + 2)
        sparse = max(0, blocks - self.config.first_k_dense_replace) if self.config.is_sparse else 0
        sweeps = -(-self.config.n_routed_experts // max(self.room.experts, 1)) if sparse else 1
        return rows * (4 * blocks + sparse * 3 * (sweeps - 1) + 2)

    def _stored(self, piece: Piece) -> int:
        if self.files is None or any(name not in self.files.weights for name in piece.shapes):
            return 2 * piece.numbers
        if set(piece.shapes) == {output_name(self.config)}:  # a part of its rows
            weight = self.files.weights[output_name(self.config)]
            return weight.nbytes * next(iter(piece.shapes.values()))[0] // weight.shape[0]
        return sum(self.files.weights[name].nbytes for name in piece.shapes)


def open_streamed(folder: Path) -> tuple[ModelConfig, TensorFiles | None]:
    """The config of a checkpoint and its files, all of them checked; None where there are no weights at all.

    Raises:
        CheckpointError: a shard is missing or corrupt, or the weights do not fit the config.
    """
    config = ModelConfig.load(folder)
    if not list(folder.glob("*.safetensors")) and not (folder / "model.safetensors.index.json").exists():
        return config, None
    files = TensorFiles(folder)
    config = as_loaded(config, files)
    with torch.device("meta"):
        model = Transformer(config)
    check_weights(files, {name: tuple(view.shape) for name, view in named_views(model)}, config)
    if len(files.weights[EMBEDDING].parts) != 1 or len(files.weights[output_name(config)].parts) != 1:
        raise CheckpointError(
            f"embedding or output matrix of {str(folder)!r} is quantised, which streaming cannot read"
        )
    return config, files


def options_of(memory: str, device_memory: str | None, **others: object) -> StreamOptions:
    """Options from sizes as people write them. Raises ConfigError."""
    device = parse_bytes(device_memory, "device_memory") if device_memory else None
    hardware = others.get("hardware")
    if hardware is not None and hardware not in HARDWARE:
        raise ConfigError(f"hardware = {hardware!r} is not allowed; allowed: {', '.join(HARDWARE)}")
    return StreamOptions(memory=parse_bytes(memory, "memory"), device_memory=device, **others)


def _base() -> int:
    """Bytes of memory that this process has taken so far, at most."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
