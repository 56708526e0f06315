"""True layers of A.X K1 streamed on this machine: full width, 192 experts, the whole vocabulary of 163,840.

    python benchmarks/stream_true_layers.py [--layers 2] [--memory 8GiB] [--tokens 4096] [--work FOLDER]

Random weights in bfloat16, 23 GB for the first two layers (one dense, one sparse), embedding and output matrix. They
are written, stream by once in float32 within ``--memory`` for the whole process, and are deleted. They would take 46 GB
in float32, so nothing here is compared with the model in memory; that is done at small size, by the tests and
``stream.py``. What is measured is beside what the planner predicts for this machine, by the same code that predicts an
H200 in ``docs/one-machine-teacher.md``.
"""

import tempfile
from pathlib import Path

import torch
from harness import Row, arguments, publish, refuse_busy_machine
from stream import PREDICTION, TEXT, measure
from stream_models import true_axk1, write

from axk1.distill.stream.byte_size import parse_bytes
from axk1.model.inspect import inspect_model
from axk1.train.precision import matmul_rate


def main() -> None:
    """Writes the layers, streams them, deletes them."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--memory", default="8GiB", help="most memory of the stream's process")
    parser.add_argument("--tokens", type=int, default=4096, help="tokens of the pass")
    parser.add_argument("--work", type=Path, help="where the layers are written (default: a temporary folder)")
    options = parser.parse_args()
    options.memory = parse_bytes(options.memory, "memory")
    torch.set_num_threads(options.threads)
    refuse_busy_machine(options.force)
    config = true_axk1(options.layers)
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        folder = Path(name)
        nbytes = write(config, folder / "model")
        print(f"written: {options.layers} layers of A.X K1, {nbytes / 1e9:.1f} GB", flush=True)
        disk = measure("disk", folder, 0, options)
        ours = measure("stream", folder, options.tokens, options)
    rate = matmul_rate(torch.float32, torch.device("cpu"))
    work = inspect_model(config, context=TEXT).flops_forward * options.tokens
    case = f"{options.layers} true layers, {nbytes / 1e9:.1f} GB, {options.tokens:,} tokens"
    share, used = work / ours["seconds"] / rate, ours["bytes"] / ours["seconds"] / 1e9
    alone = disk["bytes"] / disk["seconds"] / 1e9
    note = f"{ours['waited'] / ours['seconds']:.0%} of the time waiting for weights"
    rows = [
        Row(case, "scoring", "tokens/s", ours["rate"], None, "", None, "one run"),
        Row(case, "products", "GFLOP/s", work / ours["seconds"] / 1e9, rate / 1e9, "a large product", share, "one run"),
        Row(case, "reading", "GB/s", used, alone, "reading alone", used / alone, note),
        Row(case, "peak memory", "MB", ours["peak"] / 1e6, options.memory / 1e6, "--memory",
            options.memory / ours["peak"], "", 1.0),
        Row(case, "time", "s", ours["seconds"], ours["predicted"], PREDICTION, ours["predicted"] / ours["seconds"], ""),
    ]  # fmt: skip
    publish("stream_true_layers", rows, ("torch",))


if __name__ == "__main__":
    main()
