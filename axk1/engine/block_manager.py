"""``BlockManager``: which sequence has which blocks of the cache, and which blocks hold a known beginning of a text."""

import array
import hashlib
from collections import OrderedDict

from axk1.engine.sequence import Sequence


class BlockManager:
    """Hands out the blocks of a paged cache.

    A full block is known by the hash of its sequence's salt and all tokens up to its end. Blocks that nobody uses keep
    what they hold until they are needed, those unused for longest first, and a sequence of the same salt that begins
    with the same tokens takes them over.

    Attributes:
        num_blocks, block_size: number of blocks, and tokens in each.
        queried_tokens, hit_tokens: tokens looked up in the prefix cache so far, and those found.
    """

    def __init__(self, num_blocks: int, block_size: int, *, enable_prefix_caching: bool = True) -> None:
        """Args: num_blocks: blocks in all; block_size: tokens in a block; enable_prefix_caching: whether to share."""
        self.num_blocks, self.block_size = num_blocks, block_size
        self._caching = enable_prefix_caching
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(num_blocks))
        self._users = [0] * num_blocks
        self._hash_of: dict[int, bytes] = {}
        self._block_of: dict[bytes, int] = {}
        self.queried_tokens = self.hit_tokens = 0

    @property
    def num_free_blocks(self) -> int:
        """Blocks that no sequence uses."""
        return len(self._free)

    def blocks_for(self, tokens: int) -> int:
        """Blocks that so many tokens take."""
        return -(-tokens // self.block_size)

    def admit(self, sequence: Sequence) -> bool:
        """Gives a new sequence the blocks that hold its beginning, if there is room for all of its tokens now.

        At least its last token stays to be computed, since its logits are needed.
        """
        shared = self._known_blocks(sequence)
        fresh = self.blocks_for(sequence.num_tokens) - len(shared)
        if fresh > len(self._free) - sum(block in self._free for block in shared):
            return False
        for block in shared:
            self._users[block] += 1
            self._free.pop(block, None)
        sequence.block_table = shared
        sequence.num_computed_tokens = len(shared) * self.block_size
        self.queried_tokens += sequence.num_tokens
        self.hit_tokens += sequence.num_computed_tokens
        return True

    def grow(self, sequence: Sequence, tokens: int) -> bool:
        """Gives a sequence blocks for its first ``tokens`` tokens; False, and nothing, if there are not enough."""
        missing = self.blocks_for(tokens) - len(sequence.block_table)
        if missing > len(self._free):
            return False
        for _ in range(missing):
            block, _ = self._free.popitem(last=False)
            self._forget(block)
            self._users[block] = 1
            sequence.block_table.append(block)
        return True

    def trim(self, sequence: Sequence) -> None:
        """Takes back what lies behind a sequence's tokens: blocks in which drafts stood that were wrong."""
        for block in reversed(sequence.block_table[self.blocks_for(sequence.num_tokens) :]):
            self._users[block] = 0
            self._free[block] = None
            self._free.move_to_end(block, last=False)
            sequence.block_table.pop()

    def publish(self, sequence: Sequence, tokens: int) -> None:
        """Makes the full blocks among the first ``tokens`` tokens known.

        It may be called before the pass that fills them: a pass writes the entries of all its tokens, layer by layer,
        before it reads any.
        """
        if not self._caching:
            return
        for place in range(sequence.num_computed_tokens // self.block_size, tokens // self.block_size):
            block, digest = sequence.block_table[place], self._digest(sequence, place)
            if digest not in self._block_of:
                self._block_of[digest] = block
                self._hash_of[block] = digest

    def free(self, sequence: Sequence) -> None:
        """Takes a sequence's blocks back, the last first, so that beginnings stay known for longest."""
        for block in reversed(sequence.block_table):
            self._users[block] -= 1
            if not self._users[block]:
                self._free[block] = None
        sequence.block_table = []
        sequence.num_computed_tokens = 0

    def reset(self) -> None:
        """Forgets what all blocks hold."""
        self._hash_of.clear()
        self._block_of.clear()

    def _known_blocks(self, sequence: Sequence) -> list[int]:
        if not self._caching or sequence.needs_prompt_states:
            return []
        blocks = []
        for place in range((sequence.num_tokens - 1) // self.block_size):
            block = self._block_of.get(self._digest(sequence, place))
            if block is None:
                break
            blocks.append(block)
        return blocks

    def _digest(self, sequence: Sequence, place: int) -> bytes:
        """The hash of a sequence's tokens up to the end of its block number ``place``."""
        hashes, size = sequence.block_hashes, self.block_size
        while len(hashes) <= place:
            start = len(hashes) * size
            tokens = array.array("q", sequence.token_ids[start : start + size]).tobytes()
            before = hashes[-1] if hashes else hashlib.blake2b(sequence.params.cache_salt.encode()).digest()
            hashes.append(hashlib.blake2b(before + tokens, digest_size=16).digest())
        return hashes[place]

    def _forget(self, block: int) -> None:
        digest = self._hash_of.pop(block, None)
        if digest is not None:
            del self._block_of[digest]
