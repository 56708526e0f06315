"""What tokens of two tokenizers stand for, in symbols that both share.

A token of text stands for its bytes, so that two tokenizations of one text spell the same. A special token that both
vocabularies have (``<|im_start|>``, ``<think>``) is one symbol, which no text can spell; one that a single side has
stands for its bytes, as the other side had to write it. The tokens that end a document are one symbol whatever they
are called.

Shapes: V entries of a vocabulary.
"""

from dataclasses import dataclass

import numpy as np

from axk1.core.errors import TokenizerMismatch
from axk1.tokenizer.tokenizer import Tokenizer

END = 256
"""The symbol of a document's end; 0 to 255 are bytes, special tokens that both have come behind."""
ABSENT = -1


@dataclass(frozen=True)
class Spelling:
    """The symbols of a vocabulary's entries."""

    symbols: np.ndarray
    """Those of all entries, one after the other, uint16."""
    lengths_V: np.ndarray
    """How many an entry has, int64."""

    @classmethod
    def of(cls, tokenizer: Tokenizer, units: dict[str, int], *, documents: bool) -> "Spelling":
        """Spells every entry.

        Args:
            tokenizer: of the byte-level kind.
            units: the symbols of special tokens.
            documents: whether the end-of-text token ends documents, rather than being a special token of chats.

        Raises:
            TokenizerMismatch: the tokenizer does not know the bytes of its tokens.
        """
        if not tokenizer.is_byte_level:
            raise TokenizerMismatch(
                "a tokenizer here is not of the byte-level kind, so the bytes of its tokens are not known",
                repair="teach across byte-level tokenizers: those of Llama 3, Qwen, GPT-2, A.X and the like",
            )
        special = {index: [units[text]] for text, index in tokenizer.special_tokens.items() if text in units}
        if documents or tokenizer.eos_id not in special:  # so that an entry is as long in documents as in chats
            special[tokenizer.eos_id] = [END]
        entries = [special.get(index) or list(tokenizer.token_bytes(index)) for index in range(tokenizer.vocab_size)]
        lengths_V = np.array([len(entry) for entry in entries], np.int64)
        return cls(np.array([symbol for entry in entries for symbol in entry], np.uint16), lengths_V)

    def spell(self, ids: np.ndarray) -> np.ndarray:
        """The symbols of tokens, one after the other, uint16."""
        lengths = self.lengths_V[ids]
        begins = (np.cumsum(self.lengths_V) - self.lengths_V)[ids]
        shift = np.repeat(begins - np.cumsum(lengths) + lengths, lengths)
        return self.symbols[np.arange(len(shift)) + shift]


@dataclass(frozen=True)
class Spellings:
    """Both tokenizers in the same symbols."""

    teacher: dict[bool, Spelling]
    """Of the teacher's vocabulary, by whether the shards hold documents."""
    student: dict[bool, Spelling]
    """Of the student's."""
    student_of_teacher_V: np.ndarray
    """The student's token that spells the same as the teacher's, or ``ABSENT``, int64."""

    @classmethod
    def of(cls, teacher: Tokenizer, student: Tokenizer) -> "Spellings":
        """Compares two vocabularies by what their entries spell."""
        shared = sorted(teacher.special_tokens.keys() & student.special_tokens.keys())
        units = {text: END + 1 + number for number, text in enumerate(shared)}

        def both(tokenizer: Tokenizer) -> dict[bool, Spelling]:
            return {kind: Spelling.of(tokenizer, units, documents=kind) for kind in (True, False)}

        sides = both(teacher), both(student)
        return cls(*sides, _translation(sides[0][True], sides[1][True]))


def _translation(source: Spelling, target: Spelling) -> np.ndarray:
    """For each entry the other side's entry that spells the same; entries that share a spelling go to the first."""
    found: dict[bytes, int] = {}
    for index, spelt in enumerate(_entries(target)):
        found.setdefault(spelt, index)
    found.pop(b"", None)  # numbers without an entry
    return np.array([found.pop(spelt, ABSENT) for spelt in _entries(source)], np.int64)


def _entries(spelling: Spelling) -> list[bytes]:
    ends = np.cumsum(spelling.lengths_V)
    return [spelling.symbols[end - n : end].tobytes() for n, end in zip(spelling.lengths_V, ends, strict=True)]
