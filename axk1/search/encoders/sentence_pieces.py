"""A SentencePiece unigram model (the bytes of a ``.model`` file) -> a ``tokenizers.Tokenizer``.

The file is a protocol buffer: ``pieces`` (field 1: text, score, kind) and ``normalizer_spec`` (field 3: a compiled
table of characters to replace). Only these are read. The format: sentencepiece's ``sentencepiece_model.proto``.

Pieces are those of the sentencepiece library, with one exception: a combining mark right behind a character that the
table replaces (such as an accent on a circled digit) is dropped, because tokenizers looks up the two as one.
"""

import struct
from collections.abc import Iterator

from tokenizers import Regex, Tokenizer, models, normalizers

from axk1.core.errors import ArtifactError

_PIECES, _NORMALIZER = 1, 3
_TEXT, _SCORE, _KIND = 1, 2, 3
_CHARSMAP = 2
_UNKNOWN, _CONTROL = 2, 3
"""Kinds of pieces; a piece of kind ``CONTROL`` stands for no text."""


def read_sentence_pieces(model: bytes) -> Tokenizer:
    """The tokenizer that a SentencePiece unigram model describes; its ids are the positions of the pieces.

    Args:
        model: the content of the ``.model`` file.

    Raises:
        ArtifactError: the bytes are not such a model.
    """
    vocabulary, unknown, charsmap = [], None, b""
    try:
        for number, value in _fields(model):
            if number == _PIECES:
                text, score, kind = _piece(value)
                if kind == _UNKNOWN:
                    unknown = len(vocabulary)
                # a text that says "<s>" is text: no text may spell a control piece
                vocabulary.append((f"\0{text}" if kind in (_UNKNOWN, _CONTROL) else text, score))
            elif number == _NORMALIZER:
                charsmap = dict(_fields(value)).get(_CHARSMAP, b"")
    except (LookupError, ValueError, TypeError, AttributeError, struct.error) as error:
        raise ArtifactError(f"the SentencePiece model cannot be read: {error}") from None
    if unknown is None or not charsmap:
        raise ArtifactError("the SentencePiece model has no unknown piece or no table of characters")
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=unknown))
    steps = [
        normalizers.Precompiled(charsmap),
        normalizers.Replace(Regex(" {2,}"), " "),
        normalizers.Replace(Regex("^ | $"), ""),
        normalizers.Replace(" ", "▁"),
        normalizers.Prepend("▁"),
    ]
    tokenizer.normalizer = normalizers.Sequence(steps)
    return tokenizer


def _piece(data: bytes) -> tuple[str, float, int]:
    """One piece: its text, its log-probability and its kind (1 where the file does not say)."""
    fields = dict(_fields(data))
    return fields[_TEXT].decode(), struct.unpack("<f", fields.get(_SCORE, bytes(4)))[0], fields.get(_KIND, 1)


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """The fields of one message: number and value, which is an int for wire type 0 and bytes for the others."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if wire == 2:
            length, at = _varint(data, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if at + length > len(data):
            raise ValueError(f"it ends within a field at byte {at}")
        yield key >> 3, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number in groups of seven bits, lowest first, and where the next field begins."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
