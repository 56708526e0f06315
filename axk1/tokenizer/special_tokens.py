"""The special tokens of A.X K1, their order, and which of them a reader of generated text sees.

They stand behind the ordinary entries, as in A.X K1 (there ``<|endoftext|>`` is 163,691 of 163,840), so byte ``b``
keeps a fixed id and an ordinary entry never moves when a role is added. Two kinds:

- *control* tokens end or frame a turn; decoders skip them (``special: true`` in tokenizer.json);
- *markup* tokens (thinking, tools) are part of the answer that parsers read, so decoders keep them, as in Qwen3.

Nine roles are named. ``reserved_tokens`` more are kept free, seven by default, which makes sixteen: a role that comes
later (fill-in-the-middle, images, a document border) takes a reserved place, and no embedding has to grow.
"""

import functools
import re

END_OF_TEXT = "<|endoftext|>"
"""Begins and ends every document (bos = eos), as in A.X K1."""
IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
CONTROL = (END_OF_TEXT, IM_START, IM_END)
THINK, THINK_END = "<think>", "</think>"
TOOL_CALL, TOOL_CALL_END = "<tool_call>", "</tool_call>"
MARKUP = (THINK, THINK_END, TOOL_CALL, TOOL_CALL_END, "<tool_response>", "</tool_response>")
NAMED = CONTROL + MARKUP


def reserved(number: int) -> str:
    """The name of a free place among the special tokens."""
    return f"<|reserved_{number}|>"


@functools.lru_cache(maxsize=32)
def pattern(tokens: tuple[str, ...]) -> re.Pattern[str]:
    """Matches any of the tokens, the longest first."""
    return re.compile("|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True)))
