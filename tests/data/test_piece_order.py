"""Which piece of its text a sample is follows from the order in which it is stored."""

import hypothesis
import hypothesis.strategies as st
import numpy as np

from axk1.data.piece_order import piece_numbers, storage_order, text_key


@hypothesis.given(st.lists(st.integers(1, 9), min_size=1, max_size=20), st.integers(0, 3))
def test_pieces_are_found_again(counts, seed):
    texts = np.repeat(np.arange(len(counts)), counts)
    pieces = np.concatenate([np.arange(count) for count in counts])
    keys = np.array([text_key(f"text {number}", seed) for number in range(len(counts))], np.uint64)
    stored = np.argsort(storage_order(keys[texts], pieces), kind="stable")
    np.testing.assert_array_equal(piece_numbers(texts[stored], keys), pieces[stored])
