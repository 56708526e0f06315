"""Text <-> token ids: a byte-level BPE, its training, and the one chat template."""

from axk1.tokenizer.chat import CHAT_TEMPLATE, render, segments, spans
from axk1.tokenizer.tokenizer import ChatIds, Tokenizer

__all__ = ["CHAT_TEMPLATE", "ChatIds", "Tokenizer", "render", "segments", "spans"]
