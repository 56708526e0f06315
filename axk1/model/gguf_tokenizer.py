"""The tokenizer inside a GGUF file -> ``tokenizer.json`` and its companions, for byte-level BPE (``gpt2``).

GGUF keeps tokens, merges and the *name* of the pre-tokenizer; what that name means is written down in llama.cpp and
repeated here. A name that is not listed is refused rather than guessed: a wrong split gives wrong ids without an error.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

from axk1.core.errors import CheckpointError

CONTROL, USER_DEFINED, UNUSED = 3, 4, 5  # values of tokenizer.ggml.token_type

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_QWEN2 = _WORDS + r"|\p{N}" + _REST
_LLAMA3 = _WORDS + r"|\p{N}{1,3}" + _REST


def _split(pattern: str) -> pre_tokenizers.PreTokenizer:
    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _digits_apart() -> pre_tokenizers.PreTokenizer:
    digits = pre_tokenizers.Digits(individual_digits=True)
    return pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])


PRE_TOKENIZERS: dict[str, Callable[[], pre_tokenizers.PreTokenizer]] = {
    "gpt-2": lambda: pre_tokenizers.ByteLevel(add_prefix_space=False),
    "llama-bpe": lambda: _split(_LLAMA3),
    "qwen2": lambda: _split(_QWEN2),
    "smollm": _digits_apart,
    "starcoder": _digits_apart,
}
"""Meaning of ``tokenizer.ggml.pre``."""


def build_tokenizer(metadata: Mapping[str, Any]) -> Tokenizer:
    """Makes the tokenizer that a GGUF file describes.

    Args:
        metadata: the key-value pairs of the file.

    Raises:
        CheckpointError: the vocabulary is of an unsupported kind, or its parts contradict each other.
    """
    kind, pre = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre")
    if kind != "gpt2":
        raise CheckpointError(f"tokenizer.ggml.model = {kind!r} is not supported; allowed: 'gpt2' (byte-level BPE)")
    if pre not in PRE_TOKENIZERS:
        raise CheckpointError(f"tokenizer.ggml.pre = {pre!r} is not supported; allowed: {', '.join(PRE_TOKENIZERS)}")
    tokens, types = _tokens(metadata)
    vocabulary = {token: index for index, token in enumerate(tokens) if types[index] != UNUSED}
    tokenizer = Tokenizer(_model(vocabulary, metadata.get("tokenizer.ggml.merges"), ignore_merges=pre == "llama-bpe"))
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[pre]()
    tokenizer.decoder = decoders.ByteLevel()
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    for index, token in enumerate(tokens):
        if types[index] == CONTROL:
            tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True)])
        elif types[index] == USER_DEFINED:
            tokenizer.add_tokens([AddedToken(token, normalized=False)])
    bos = special_tokens(metadata).get("bos_token")
    if metadata.get("tokenizer.ggml.add_bos_token", pre == "llama-bpe") and bos:
        template = {"single": f"{bos} $A", "pair": f"{bos} $A {bos}:1 $B:1"}
        template["special_tokens"] = [(bos, vocabulary[bos])]
        tokenizer.post_processor = processors.TemplateProcessing(**template)
    return tokenizer


def special_tokens(metadata: Mapping[str, Any]) -> dict[str, str]:
    """The texts of the special tokens, under the names of ``tokenizer_config.json``."""
    tokens, _ = _tokens(metadata)
    found = {}
    roles = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    for name, role in roles.items():
        index = metadata.get(f"tokenizer.ggml.{role}_token_id")
        if index is None:
            continue
        if not 0 <= index < len(tokens):
            raise CheckpointError(f"tokenizer.ggml.{role}_token_id = {index} is not one of the {len(tokens)} tokens")
        found[name] = tokens[index]
    return found


def save_tokenizer(metadata: Mapping[str, Any], folder: Path, *, model_max_length: int) -> None:
    """Writes ``tokenizer.json``, ``tokenizer_config.json`` and, where the file has one, ``chat_template.jinja``.

    Raises:
        CheckpointError: as ``build_tokenizer``.
    """
    try:
        build_tokenizer(metadata).save(str(folder / "tokenizer.json"))
        values = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": model_max_length,
            "clean_up_tokenization_spaces": False,
            **special_tokens(metadata),
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(values, ensure_ascii=False, indent=2) + "\n", "utf-8")
        if template := metadata.get("tokenizer.chat_template"):
            (folder / "chat_template.jinja").write_text(template, "utf-8")
    except (TypeError, ValueError, LookupError, AttributeError) as error:  # a value of another type than it should be
        raise CheckpointError(f"a tokenizer.* field is garbled: {error}") from None


def _tokens(metadata: Mapping[str, Any]) -> tuple[list[str], list[int]]:
    tokens = metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not tokens:
        raise CheckpointError("tokenizer.ggml.tokens is missing, so the file carries no vocabulary")
    types = metadata.get("tokenizer.ggml.token_type") or [1] * len(tokens)
    if len(types) != len(tokens) or len(set(tokens)) != len(tokens):
        raise CheckpointError(
            f"the vocabulary is corrupt: {len(tokens)} tokens, {len(set(tokens))} of them different, {len(types)} types"
        )
    return tokens, types


def _model(vocabulary: dict[str, int], merges: object, *, ignore_merges: bool) -> BPE:
    pairs = [tuple(merge.split(" ")) for merge in merges] if isinstance(merges, list) else []
    broken = next((merge for merge in pairs if len(merge) != 2), None)
    if not pairs or broken:
        raise CheckpointError(f"tokenizer.ggml.merges is corrupt: {broken or 'it is missing or empty'}")
    try:
        return BPE(vocab=vocabulary, merges=pairs, ignore_merges=ignore_merges)
    except Exception as error:  # tokenizers raises a bare Exception
        raise CheckpointError(f"tokenizer.ggml.merges does not fit tokenizer.ggml.tokens: {error}") from None
