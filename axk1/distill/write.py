"""``axk1 distill write``: a teacher's own answers, verified, as conversations (sequence-level distillation).

    axk1 distill write recipes/nano/write.toml [--dry-run]

The teacher answers each question several times; of the answers that the grader finds right, one is kept. The output
has the form of ``axk1 data conversations``, so ``axk1 data tokenize`` takes it. Beside it lies ``rejected.jsonl.gz``:
every other answer, with its reason.

While the work goes on, what is done lies in ``<output>.state``, so a killed run goes on where it was. With a checkpoint
as the teacher, equal recipes give equal files, killed or not.
"""

import gzip
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from axk1.core import artifact
from axk1.core.config import to_dict
from axk1.core.errors import AXK1Error
from axk1.core.language_model import Generation
from axk1.core.lock import locked
from axk1.core.progress import Meter, console, duration, human, print_next, print_plan, progress
from axk1.data.conversations import KIND, TRAIN
from axk1.distill.journal import Journal
from axk1.distill.questions import Question, file_questions, fingerprint, ordered, task_questions
from axk1.distill.teachers import checkpoint_hash
from axk1.distill.write_config import WriteConfig
from axk1.distill.writers import AnswerWriter, Ask, EngineWriter, ServerWriter
from axk1.engine.llm import LLM
from axk1.eval.examination import examined_questions, refuse_taught, set_questions
from axk1.eval.graders import THINK_END
from axk1.eval.sandbox import Sandbox
from axk1.eval.tasks import TASKS
from axk1.eval.tasks.task import HELD_OUT_RULE, LANGUAGES, MODES
from axk1.tokenizer import special_tokens
from axk1.train.precision import choose_device

REJECTED = "rejected.jsonl.gz"
_AT_ONCE = 32
"""Questions given to the teacher together, and written to the disk together."""


def write_answers(config: WriteConfig, *, dry_run: bool = False) -> Path:
    """Makes conversations of a teacher's verified answers, or goes on where a killed run of the same config stood.

    Returns:
        The output folder: ``train.jsonl.gz`` as of ``axk1 data conversations``, each line with ``provenance``, and
        ``rejected.jsonl.gz``.

    Raises:
        AXK1Error: the teacher cannot be had, a program could only be graded without a sandbox, or no answer was right.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    teacher = _teacher_identity(config)
    programs = any(file.grader == "code" for file in config.files)
    sandbox = Sandbox.open(seconds=config.sandbox_seconds) if programs else None
    chosen = _questions(config)
    inputs = {"teacher": teacher, "questions": fingerprint(chosen)}
    journal = Journal(config.output.with_name(f"{config.output.name}.state"), {"inputs": inputs, **config.decisive()})
    current = artifact.is_current(config.output, kind=KIND, config=config, inputs=inputs)
    _print_plan(config, chosen, journal, current)
    if dry_run:
        return config.output
    if current:
        console.print(f"{config.output} is up to date")
    else:
        with locked(journal.folder.with_suffix(".lock"), f"writing answers for {str(config.output)!r}"):
            _Work(config, chosen, journal, inputs, sandbox).run()
    folders = f"--inputs {config.output} --output {config.output}-shards"
    print_next(f"axk1 data tokenize recipes/nano/shards-chat.toml {folders}")
    return config.output


class _Work:
    """The work on its way from questions to an artifact."""

    def __init__(
        self, config: WriteConfig, chosen: list[Question], journal: Journal, inputs: dict[str, str],
        sandbox: Sandbox | None,
    ) -> None:  # fmt: skip
        self.config, self.chosen, self.journal, self.inputs, self.sandbox = config, chosen, journal, inputs, sandbox
        self._started, self._tokens = time.monotonic(), 0

    def run(self) -> None:
        """Asks what is left, and publishes."""
        lines = self.journal.open()
        kept, asked = sum(line["kept"] is not None for line in lines), len(lines)
        if asked < len(self.chosen):
            writer = _open_writer(self.config)
            with progress("write", total=len(self.chosen), unit="questions") as meter:
                meter.skip(asked)
                self._started = time.monotonic()
                for first in range(asked, len(self.chosen), _AT_ONCE):
                    new = self._ask(writer, first)
                    self.journal.append(new)
                    lines += new
                    kept += sum(line["kept"] is not None for line in new)
                    self._show(meter, len(new), kept / len(lines))
        self._publish(lines)
        self.journal.discard()

    def _ask(self, writer: AnswerWriter, first: int) -> list[dict[str, Any]]:
        """One line of the journal for each question of a group."""
        numbers = range(first, min(first + _AT_ONCE, len(self.chosen)))
        asks = [self._asking(number) for number in numbers]
        return [
            self._judged(number, ask, answers)
            for number, ask, answers in zip(numbers, asks, writer.write(asks), strict=True)
        ]

    def _asking(self, number: int) -> Ask:
        config, question = self.config, self.chosen[number]
        base = (config.seed * 1_000_003 + number) * 128
        limit = config.think_tokens if question.thinking else config.no_think_tokens
        seeds = tuple(base + place for place in range(config.samples))
        return Ask(question, seeds, config.temperature, config.top_p, limit)

    def _judged(self, number: int, ask: Ask, answers: Sequence[Generation]) -> dict[str, Any]:
        reasons = [_fault(ask.question, answer, self.sandbox) for answer in answers]
        right = [place for place, reason in enumerate(reasons) if not reason]
        by_length = self.config.choose == "shortest"
        best = min(right, key=lambda place: (answers[place].completion_tokens if by_length else 0, place), default=None)
        provenance = {
            "teacher": self.inputs["teacher"], "grader": ask.question.grader, "tried": len(answers),
            "right": len(right), "temperature": ask.temperature, "top_p": ask.top_p, "max_tokens": ask.max_tokens,
        }  # fmt: skip
        kept = None
        if best is not None:
            said = {"verdict": "right", "sample": best, "seed": ask.seeds[best]}
            tokens = {"completion_tokens": answers[best].completion_tokens}
            kept = _conversation(ask.question, answers[best].text, {**provenance, **said, **tokens})
        others = [place for place in range(len(answers)) if place != best]
        rejected = [
            {"id": ask.question.id, "sample": place, "seed": ask.seeds[place], "text": answers[place].text,
             "reason": reasons[place] or "right, but another one was kept"}
            for place in others
        ]  # fmt: skip
        tokens = sum(answer.completion_tokens for answer in answers)
        self._tokens += tokens
        return {"number": number, "right": len(right), "tokens": tokens, "kept": kept, "rejected": rejected}

    def _show(self, meter: Meter, amount: int, share: float) -> None:
        rate = self._tokens / max(time.monotonic() - self._started, 1e-9)
        meter.advance(amount, note=f"{share:.0%} answered, {human(rate)} tokens/s")

    def _publish(self, lines: list[dict[str, Any]]) -> None:
        conversations = [line["kept"] for line in lines if line["kept"] is not None]
        if not conversations:
            what = f"the teacher answered none of {len(lines)} questions right, so there is nothing to learn from"
            raise AXK1Error(what, repair="raise samples or the token limits, or take easier tasks; its answers are in "
                            f"{self.journal.folder}")  # fmt: skip
        counts = self._counts(lines, conversations)
        with artifact.building(self.config.output) as folder:
            _write_lines(folder / TRAIN, conversations)
            _write_lines(folder / REJECTED, (one for line in lines for one in line["rejected"]))
            self._refuse_examined(folder)
            artifact.write_manifest(
                folder, kind=KIND, config=to_dict(self.config), inputs=self.inputs, counts=counts,
                licences=_licences(self.config, self.chosen),
            )  # fmt: skip
        for task, row in counts["acceptance"].items():
            shares = f"{row['accepted'] / row['questions']:.1%} of {row['questions']} questions answered"
            console.print(f"{task:24} {shares}, {row['right'] / row['samples']:.1%} of {row['samples']} samples right")
        seconds = time.monotonic() - self._started
        speed = f", {human(self._tokens / max(seconds, 1e-9))} tokens/s" if self._tokens else ""
        console.print(f"{len(conversations):,} conversations in {duration(seconds)}{speed}")

    def _refuse_examined(self, folder: Path) -> None:
        """The examination's own check, on what was written."""
        tasks = [TASKS[name] for name in sorted({one.task for one in self.chosen} & set(TASKS))]
        asked = [
            each for task in tasks for each in set_questions(task, 256, LANGUAGES, self.config.examination_seeds[0])
        ]
        refuse_taught(asked, folder)

    def _counts(self, lines: Sequence[Mapping[str, Any]], conversations: list[dict[str, Any]]) -> dict[str, Any]:
        acceptance: dict[str, Counter[str]] = {}
        reasons = Counter(one["reason"].split(":")[0] for line in lines for one in line["rejected"])
        for question, line in zip(self.chosen, lines, strict=True):
            row = acceptance.setdefault(question.task, Counter())
            row.update(questions=1, accepted=int(line["kept"] is not None), samples=self.config.samples)
            row.update(right=line["right"], tokens=line["tokens"])
        return {
            "conversations": len(conversations),
            "problems": len({line["problem"] for line in conversations}),
            "held_out_rule": HELD_OUT_RULE,
            "by_task": dict(sorted(Counter(line["task"] for line in conversations).items())),
            "by_language": {name: sum(line["language"] == name for line in conversations) for name in LANGUAGES},
            "by_mode": {mode: sum(line["mode"] == mode for line in conversations) for mode in MODES},
            "acceptance": {task: dict(row) for task, row in sorted(acceptance.items())},
            "rejected": dict(sorted(reasons.items())),
        }


def _questions(config: WriteConfig) -> list[Question]:
    examined = examined_questions(config.examination_seeds) if config.files else set()
    tasks = [task_questions(config.tasks())] if config.count else []
    return ordered([*tasks, *(file_questions(file, examined) for file in config.files)], config.seed)


def _fault(question: Question, answer: Generation, sandbox: Sandbox | None) -> str:
    """Why an answer is not kept; empty when it may be."""
    if answer.finish_reason != "stop":
        return f"cut off: {answer.completion_tokens} tokens"
    body = answer.text.replace(THINK_END, "", 1) if question.thinking else answer.text
    if any(token in body for token in special_tokens.NAMED):
        return "a special token in the text"
    return question.verify(answer.text, sandbox=sandbox).reason


def _conversation(question: Question, text: str, provenance: dict[str, Any]) -> dict[str, Any]:
    reply = {"role": "assistant", "content": text}
    if question.thinking:
        thought, _, content = text.partition(THINK_END)
        reply = {"role": "assistant", "content": content, "reasoning_content": thought}
    return {
        "id": question.id,
        "messages": [{"role": "user", "content": question.text}, reply],
        "mode": question.mode,
        "language": question.language,
        "task": question.task,
        "problem": question.problem,
        "provenance": provenance,
    }


def _open_writer(config: WriteConfig) -> AnswerWriter:
    if config.server.base_url is not None:
        return ServerWriter(config.server)
    return EngineWriter(LLM.load(config.teacher, device=str(choose_device(config.device))))


def _teacher_identity(config: WriteConfig) -> str:
    """The content hash of the teacher; of a server whose checkpoint is not known, its address and name."""
    if config.teacher is not None:
        return checkpoint_hash(config.teacher)
    return f"{config.server.base_url} {config.server.model}"


def _licences(config: WriteConfig, chosen: list[Question]) -> dict[str, str]:
    """The licence of each task's questions."""
    tasks = {question.task for question in chosen}
    return {
        **{name: "Apache-2.0 (reasoning-gym)" for name in sorted(tasks & set(TASKS))},
        **{file.task: file.licence or "unknown" for file in config.files if file.task in tasks},
    }


def _print_plan(config: WriteConfig, chosen: list[Question], journal: Journal, current: bool) -> None:
    tasks = Counter(question.task for question in chosen)
    limits = f"{config.think_tokens} tokens with thinking, {config.no_think_tokens} without"
    server, state = config.server, "up to date" if current else "goes on" if journal.resumable else "new"
    print_plan(
        "distill write",
        {
            "teacher": f"{server.model} at {server.base_url}" if server.base_url else config.teacher,
            "questions": ", ".join(f"{name} {amount}" for name, amount in sorted(tasks.items())),
            "samples": f"{config.samples} each, temperature {config.temperature:g}, at most {limits}",
            "kept": f"the {config.choose} that its grader verifies",
            "left out": HELD_OUT_RULE,
            "output": f"{config.output} ({state})",
        },
    )


def _write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    # mtime 0: the same lines give the same bytes, so the same content hash
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as file:
        for line in lines:
            file.write((json.dumps(line, ensure_ascii=False) + "\n").encode())
