"""Speculative decoding: tokens per second of the nano teacher with drafts, against the same engine without them.

    python benchmarks/speculation.py [--quick] [--threads 2]

The teacher and the student are those of ``axk1 quickstart``, in out/nano. Three tasks: held-out documents are continued
at temperature 0, where a small model soon repeats itself, and at 0.7, where it does not; and a listing is written once
more after it stood in the prompt, which is mostly copying. Both sides write the same texts, which is checked. Drafts
are not turned off for large batches here, so that the table shows where they lose.
"""

import gzip
import json
import time
from pathlib import Path

import torch
from harness import Row, arguments, median_and_spread, publish, refuse_busy_machine

from axk1.engine.llm import LLM
from axk1.engine.sampling_params import SamplingParams

NANO = Path(__file__).parents[1] / "out/nano"
BATCHES = (1, 4, 16)
METHODS = {
    "look-up": {"method": "ngram"},
    "student drafts": {"method": "draft_model", "model": str(NANO / "student")},
}
TASKS = {"continue, t = 0": 0.0, "continue, t = 0.7": 0.7, "copy, t = 0": 0.0}
TOKENS = 64


def main() -> None:
    """Runs all cases."""
    options = arguments(__doc__.splitlines()[0]).parse_args()
    refuse_busy_machine(options.force)
    torch.set_num_threads(options.threads)
    rounds = 2 if options.quick else 7
    plain = LLM.load(NANO / "teacher")
    sides = {
        name: LLM.load(NANO / "teacher", speculative_config={**config, "disable_by_batch_size": 64})
        for name, config in METHODS.items()
    }
    rows = [
        row
        for batch in BATCHES
        for task in TASKS
        for row in compare(plain, sides, f"{task}, batch {batch}", prompts(plain, task)[:batch], TASKS[task], rounds)
    ]
    publish("speculation", rows, ("torch",))


def prompts(llm: LLM, task: str) -> list[list[int]]:
    """Sixteen prompts of a task, as ids."""
    with gzip.open(NANO / "documents/heldout.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    documents = [ids for ids in map(llm.tokenizer.encode, texts) if len(ids) > 400][:16]
    if task.startswith("copy"):
        return [[*ids[:120], *ids[:40]] for ids in documents]
    return [ids[:48] for ids in documents]


def compare(
    plain: LLM, sides: dict[str, LLM], case: str, batch: list[list[int]], temperature: float, rounds: int
) -> list[Row]:
    """One task and batch: all sides in turn."""
    params = SamplingParams(temperature=temperature, seed=0, max_tokens=TOKENS, ignore_eos=True)
    before = {name: counted(llm) for name, llm in sides.items()}
    written = {name: [] for name in ("none", *sides)}
    for _ in range(rounds + 1):
        for name, llm in {"none": plain, **sides}.items():
            written[name].append(write(llm, batch, params))
    rows = []
    peer = median_and_spread([speed for _, speed, _ in written["none"][1:]])  # the first one warms up
    for name, llm in sides.items():
        # Passes of other sizes round otherwise, and a tie may then fall to the other side.
        pairs = zip(written[name][0][0], written["none"][0][0], strict=True)
        same = sum(one == other for one, other in pairs)
        assert same >= 0.9 * len(batch), f"{case}, {name}: only {same} of {len(batch)} texts are equal"
        ours = median_and_spread([speed for _, speed, _ in written[name][1:]])
        drafted, accepted = (now - then for now, then in zip(counted(llm), before[name], strict=True))
        kept = f"{accepted:,} of {drafted:,} drafted tokens kept ({accepted / max(1, drafted):.0%})"
        passes = [len(batch) * TOKENS / written[side][-1][2] for side in (name, "none")]
        spread = f"{ours[1]} / {peer[1]}"
        rows += [
            Row(f"{case}, {name}", "speed", "tokens/s", ours[0], peer[0], "no drafts", ours[0] / peer[0], spread),
            Row(f"{case}, {name}", "tokens a pass", "tokens", *passes, "no drafts", passes[0] / passes[1], kept),
        ]
    return rows


def counted(llm: LLM) -> tuple[int, int]:
    """Tokens drafted so far, and those that were kept."""
    speculator = llm.engine.speculator
    return speculator.num_draft_tokens, speculator.num_accepted_tokens


def write(llm: LLM, batch: list[list[int]], params: SamplingParams) -> tuple[list[list[int]], float, int]:
    """The texts of a batch, tokens per second after the prompts, and the passes of that time."""
    llm.engine.blocks.reset()
    sequences = [each for n, ids in enumerate(batch) for each in llm.engine.add_request(str(n), ids, params)]
    while any(each.num_output_tokens == 0 for each in sequences):
        llm.engine.step()
    done, steps, start = sum(each.num_output_tokens for each in sequences), 0, time.perf_counter()
    while llm.engine.has_unfinished_requests():
        llm.engine.step()
        steps += 1
    seconds = time.perf_counter() - start
    texts = [each.output_token_ids for each in sequences]
    return texts, (sum(map(len, texts)) - done) / seconds, steps


if __name__ == "__main__":
    main()
