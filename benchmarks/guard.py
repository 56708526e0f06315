"""What the guard catches and what it flags for nothing, and how fast; personal data beside Presidio.

    python benchmarks/guard.py --evalpack FOLDER [--presidio PYTHON] [--quick] [--seed N]

Personal data are made by a generator that knows nothing of the guard's patterns, from a seed of the system's choice,
and put into real texts (KorQuAD, bills) at random places. PYTHON is an interpreter of another environment that has
``presidio-analyzer``; it runs there with a blank spaCy pipeline, so that its names and places, which need a trained
one, are left out. Attacks and requests are those in ``tests/guard``: *seen* ones were looked at when the rules were
set.
"""

import csv
import json
import secrets
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from guard_data import Labelled, labelled
from harness import Row, arguments, publish, refuse_busy_machine

from axk1.guard import find_personal, hidden_instructions, unsafe_request

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "guard"))
from texts import attacks, benign, requests  # noqa: E402 - it lies among the tests

Spans = list[list[tuple[str, int, int]]]


def main() -> None:
    """Measures everything and publishes the table."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--evalpack", type=Path, required=True, help="folder with korquad, lm, safety and kobbq")
    parser.add_argument("--presidio", help="a Python that has presidio-analyzer")
    parser.add_argument("--seed", type=int, default=None, help="of the generated data; random where not given")
    options = parser.parse_args()
    refuse_busy_machine(options.force)
    seed = secrets.randbits(32) if options.seed is None else options.seed
    carriers = read_carriers(options.evalpack)
    print(f"seed {seed}, {len(carriers)} texts to carry the data")
    cases = labelled(carriers, seed, 400 if options.quick else 3000)
    rows = personal_rows(cases, options.presidio)
    rows += attack_rows() + request_rows(options.evalpack) + plain_rows(carriers, options.quick)
    publish("guard", rows, ())


def read_carriers(folder: Path) -> list[str]:
    """Paragraphs of real texts."""
    korquad = json.loads((folder / "korquad/KorQuAD_v1.0_dev.json").read_text(encoding="utf-8"))
    found = [paragraph["context"] for article in korquad["data"] for paragraph in article["paragraphs"]]
    for name in ("ko_bills", "ko_reviews"):
        lines = (folder / f"lm/{name}.jsonl").read_text(encoding="utf-8").splitlines()[:600]
        found += [json.loads(line)["text"] for line in lines]
    pairs = (folder / "mt/tldr_en_ko.jsonl").read_text(encoding="utf-8").splitlines()
    return found + [json.loads(line)["en"] for line in pairs]


def personal_rows(cases: list[Labelled], python: str | None) -> list[Row]:
    """Recall by kind, and how much of what was found is none, of both sides."""
    texts = [case.text for case in cases]
    size = sum(len(text.encode()) for text in texts) / 1e6
    begun = time.process_time()
    ours: Spans = [[(one.kind, one.start, one.end) for one in find_personal(text)] for text in texts]
    speed = size / (time.process_time() - begun)
    peer, peer_speed, name = presidio(texts, python)
    rows = []
    for kind in sorted({case.kind for case in cases}):
        chosen = [number for number, case in enumerate(cases) if case.kind == kind]
        own, other = (share_found(cases, found, chosen) for found in (ours, peer))
        ratio = None if own is None or not other else own / other
        rows.append(
            Row(f"personal data: {kind}", "found whole", "share", own, other, name, ratio, f"{len(chosen)} texts")
        )
    own, other = (wrong_per_text(cases, found) for found in (ours, peer))
    rows.append(
        Row("personal data: carriers", "found besides, per text", "", own, other, name, None, f"{len(cases)} texts")
    )
    ratio = None if peer_speed is None else speed / peer_speed
    return [*rows, Row("personal data", "speed", "MB/s", speed, peer_speed, name, ratio, "one thread each")]


def share_found(cases: list[Labelled], found: Spans | None, chosen: list[int]) -> float | None:
    """How many of the data are covered whole by one finding of any kind: what redaction would take out."""
    if found is None:
        return None
    hits = (any(a <= cases[n].start and cases[n].end <= b for _, a, b in found[n]) for n in chosen)
    return sum(hits) / len(chosen)


def wrong_per_text(cases: list[Labelled], found: Spans | None) -> float | None:
    """Findings that do not touch the datum. (The real texts name some people and places, which count here too.)"""
    if found is None:
        return None
    pairs = zip(cases, found, strict=True)
    return sum(b <= case.start or a >= case.end for case, each in pairs for _, a, b in each) / len(cases)


def presidio(texts: list[str], python: str | None) -> tuple[Spans | None, float | None, str]:
    """The peer's findings, its speed, and its name or why there are none."""
    if python is None:
        return None, None, "presidio-analyzer: no --presidio PYTHON given"
    command = [python, str(HERE / "guard_peer.py")]
    run = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True)
    if run.returncode:
        return None, None, f"presidio-analyzer: {(run.stderr.strip().splitlines() or ['it failed'])[-1][:120]}"
    answer = json.loads(run.stdout)
    size = sum(len(text.encode()) for text in texts) / 1e6
    found = [[(kind, start, end) for kind, start, end in each] for each in answer["found"]]
    return found, size / answer["seconds"], f"presidio-analyzer {answer['version']}, patterns only"


def attack_rows() -> list[Row]:
    """Hidden instructions: caught by technique, and benign texts that were flagged."""
    rows = []
    for part in ("seen", "unseen"):
        by_technique: dict[str, list[bool]] = defaultdict(list)
        for attack in attacks(part):
            by_technique[attack.technique].append(bool(hidden_instructions(attack.text, "page")))
        for technique, caught in sorted(by_technique.items()):
            rows.append(alone(f"hidden instructions, {part}: {technique}", "caught", caught))
        rows.append(
            alone(f"hidden instructions, {part}: all", "caught", [c for each in by_technique.values() for c in each])
        )
        flagged = [bool(hidden_instructions(text, "page")) for _, text in benign(part)]
        rows.append(alone(f"benign texts, {part}", "flagged", flagged))
    return rows


def request_rows(folder: Path) -> list[Row]:
    """Unsafe requests: found, and harmless ones that were flagged."""
    rows = []
    for part in ("seen", "unseen"):
        judged = [(category, unsafe_request(text)) for category, text in requests(part)]
        unsafe = [(category, verdict) for category, verdict in judged if category != "benign"]
        rows.append(alone(f"unsafe requests, {part}", "found", [verdict.unsafe for _, verdict in unsafe]))
        right = [verdict.unsafe and verdict.category == category for category, verdict in unsafe]
        rows.append(alone(f"unsafe requests, {part}", "found, right category", right))
        harmless = [verdict.unsafe for category, verdict in judged if category == "benign"]
        rows.append(alone(f"harmless requests, {part}", "flagged", harmless))
    square = json.loads((folder / "safety/square_question_valid.json").read_text(encoding="utf-8"))
    for key, language in (("question", "Korean"), ("question_en", "English")):
        flagged = [unsafe_request(one[key]).unsafe for one in square]
        rows.append(alone(f"SQuARe questions, {language}", "flagged", flagged))
    with (folder / "kobbq/KoBBQ_test_samples.tsv").open(encoding="utf-8") as file:
        asked = [f"{row['context']} {row['question']}" for row in csv.DictReader(file, delimiter="\t")]
    return [*rows, alone("KoBBQ", "flagged", [unsafe_request(text).unsafe for text in asked])]


def plain_rows(carriers: list[str], quick: bool) -> list[Row]:
    """Real texts flagged as attacks, and the speed of looking."""
    texts = carriers[:: 10 if quick else 1]
    rows = []
    size = sum(len(text.encode()) for text in texts) / 1e6
    begun = time.process_time()
    flagged = [bool(hidden_instructions(text)) for text in texts]
    speed = size / (time.process_time() - begun)
    rows.append(alone("KorQuAD, bills, reviews, manuals", "flagged as attacks", flagged))
    rows.append(Row("hidden instructions", "speed", "MB/s", speed, None, "no peer", None, "one thread"))
    begun = time.process_time()
    for text in texts:
        unsafe_request(text)
    speed = size / (time.process_time() - begun)
    return [*rows, Row("unsafe requests", "speed", "MB/s", speed, None, "no peer", None, "one thread")]


def alone(case: str, metric: str, hits: list[bool]) -> Row:
    """A share that no peer was measured for."""
    return Row(case, metric, "share", sum(hits) / len(hits), None, "no peer", None, f"{sum(hits)} of {len(hits)}")


if __name__ == "__main__":
    main()
