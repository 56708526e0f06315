"""Grading against a reference: a generated text and the right answer or tests -> a verdict.

    exact   the answer is the reference, letter for letter but for blanks and Unicode forms
    math    the answer is equal to the reference as mathematics (library math-verify)
    code    the program in the answer passes the reference's tests, in a sandbox (``axk1.eval.sandbox``)

Problems of reasoning-gym are graded by ``axk1.eval.graders``, which examines models. No text raises.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from math_verify import LatexExtractionConfig, parse, verify

from axk1.eval.graders import LONGEST_ANSWER
from axk1.eval.sandbox import Sandbox

Grader = Literal["exact", "math", "code"]

_LATEX = (LatexExtractionConfig(),)
"""Only LaTeX is read, by a grammar. The library's other reader lets Python evaluate the text, which a model's text
must not reach."""
_LONGEST_MATHS = 400
"""Characters of an answer in mathematics."""
_SECONDS = 5
"""Longest time to read or compare an expression."""
_FENCE = re.compile(r"```[ \t]*(?:python|py|python3)?[ \t]*\n(.*?)```", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class Verdict:
    """Whether an answer counts."""

    right: bool
    """Whether the grader verified it."""
    reason: str
    """Why it did not; empty when it did."""


def verdict(grader: Grader, answer: str, reference: str, *, sandbox: Sandbox | None = None) -> Verdict:
    """Grades an answer.

    Args:
        grader: how.
        answer: what stands behind the reasoning, as ``graders.split_answer`` gives it.
        reference: the right answer; for ``code`` Python that raises when the answer's program is wrong.
        sandbox: where programs run; needed for ``code``.
    """
    if not answer:
        return Verdict(False, "no answer")
    if grader == "code":
        if sandbox is None:
            raise ValueError("programs are graded in a sandbox only")
        return _ran(answer, reference, sandbox)
    if len(answer) > LONGEST_ANSWER:
        return Verdict(False, f"longer than {LONGEST_ANSWER} characters")
    right = same_text(answer, reference) if grader == "exact" else same_mathematics(answer, reference)
    return Verdict(right, "" if right else "wrong answer")


def same_text(answer: str, reference: str) -> bool:
    """Whether two texts are the same but for Unicode forms and blanks."""
    return _normal(answer) == _normal(reference)


def same_mathematics(answer: str, reference: str) -> bool:
    """Whether two expressions are equal; the answer's is its last ``\\boxed{}``, its ``$...$``, or all of it.

    Call it from the main thread: the library stops what takes too long by a signal.
    """
    if len(answer) > _LONGEST_MATHS and "\\boxed" not in answer and "$" not in answer:
        return False
    try:
        return verify(_expressions(reference), _expressions(answer), timeout_seconds=_SECONDS)
    except Exception:  # the readers of expressions raise many things on strange text; all of them mean wrong
        return False


def program(answer: str) -> str:
    """The Python in an answer: its last fenced block, or all of it."""
    blocks = _FENCE.findall(answer)
    return blocks[-1] if blocks else answer


def _ran(answer: str, tests: str, sandbox: Sandbox) -> Verdict:
    failure = sandbox.run(program(answer), tests)
    return Verdict(failure is None, failure or "")


def _expressions(text: str) -> list:
    marked = text if "$" in text or "\\boxed" in text or "\\(" in text or "\\[" in text else f"${text.strip()}$"
    return parse(marked, extraction_config=_LATEX, fallback_mode="no_fallback", parsing_timeout=_SECONDS)


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())
