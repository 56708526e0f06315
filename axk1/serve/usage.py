"""OpenAI's ``usage``: how many tokens a request took."""

from typing import Any

from axk1.engine.sequence import Sequence


def usage(sequences: list[Sequence], *, reasoning_tokens: int | None = None) -> dict[str, Any]:
    """OpenAI's count of tokens; a prompt with several texts counts once, one that still waits not at all."""
    prompts = {sequence.request_id: sequence for sequence in sequences if sequence.times.scheduled is not None}
    prompt = sum(sequence.num_prompt_tokens for sequence in prompts.values())
    completion = sum(sequence.num_output_tokens for sequence in sequences)
    count: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(s.num_cached_tokens or 0 for s in prompts.values())},
    }
    if reasoning_tokens is not None:
        count["completion_tokens_details"] = {"reasoning_tokens": reasoning_tokens}
    return count
