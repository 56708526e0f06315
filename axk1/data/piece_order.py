"""The order in which the pieces of texts are stored, and back from it: which piece of its text a stored sample is.

Pieces of all texts are stored by a hash of text and piece, which looks random and depends on nothing else. So from the
ids of the texts and the seed alone it follows in which order the pieces of one text come, and no column has to say it.
"""

import hashlib

import numpy as np

from axk1.data.random_order import mix64


def text_key(document: str, seed: int) -> int:
    """A hash of a text's id that decides where it stands."""
    digest = hashlib.blake2b(f"{seed}:{document}".encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def storage_order(text_keys: np.ndarray, pieces: np.ndarray) -> np.ndarray:
    """By which pieces are sorted when they are stored, uint64, from their texts' keys and their numbers there."""
    return mix64(text_keys ^ mix64(pieces.astype(np.uint64)))


def piece_numbers(documents: np.ndarray, text_keys: np.ndarray) -> np.ndarray:
    """Which piece of its text each stored sample is, [n] int64.

    Args:
        documents: the number of each sample's text [n], in the order stored; of a text all pieces up to some are there.
        text_keys: the key of each text, by its number.
    """
    stored = np.argsort(documents, kind="stable")
    texts = documents[stored]
    numbers = np.arange(len(texts)) - np.searchsorted(texts, texts)
    found = np.empty(len(texts), np.int64)
    found[stored] = numbers[np.lexsort((storage_order(text_keys[texts], numbers), texts))]
    return found
