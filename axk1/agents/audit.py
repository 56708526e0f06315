"""The audit trail: every step carries a hash over itself and the one before, so that no step can be changed, left out
or slipped in unseen."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from axk1.agents.run import Step


def digest_of(*parts: Any) -> str:
    """The SHA-256 of some JSON values, as 64 hexadecimal digits."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def sealed(run_id: str, step: Step, before: str) -> Step:
    """The step with its digest. Args: before: the digest of the step before it; empty for the first."""
    return replace(step, digest=_digest(run_id, step, before))


def broken_at(run_id: str, steps: Sequence[Step]) -> int | None:
    """The number of the first step that is not as it was written; None where the whole trail holds."""
    before = ""
    for place, step in enumerate(steps, 1):
        if step.number != place or step.digest != _digest(run_id, step, before):
            return step.number
        before = step.digest
    return None


def lines(run_id: str, steps: Iterable[Step]) -> Iterable[str]:
    """The trail as JSON lines: who did what, when, with which digest."""
    for step in steps:
        entry: Mapping[str, Any] = {"run": run_id, **step.to_wire(), "by": step.by, "digest": step.digest}
        yield json.dumps(entry, ensure_ascii=False, default=str)


def _digest(run_id: str, step: Step, before: str) -> str:
    return digest_of(before, run_id, step.to_wire(), step.message, step.by)
