"""``ReadAhead``: groups of weights in order, read by threads while the ones before are used, within a budget of memory.

    ahead = ReadAhead(groups, threads=4, budget_bytes=2 << 30)
    for loaded in ahead:
        weight = loaded.read_as("model.layers.3.mlp.experts.17.up_proj.weight", torch.bfloat16)
    ahead.bytes_read, ahead.seconds_reading, ahead.seconds_waited

The buffer is a ring: groups take room in order and give it back in order, so it is allocated once, in huge pages. Large
groups are cut into pieces, so that several threads read one of them.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from axk1.core.config import require
from axk1.core.errors import ConfigError
from axk1.core.progress import si
from axk1.distill.stream.direct_file import ALIGNMENT, DirectFile
from axk1.distill.stream.groups import Group, Loaded, buffer_bytes, spans
from axk1.distill.stream.pages import allocate

_PIECE = 8 << 20
"""Most bytes of one read: large enough for the disk, small enough for threads to share a group."""


class ReadAhead:
    """Reads groups of weights ahead of their use. Iterating yields ``Loaded`` groups; each lives until the next.

    Every iteration is a pass of its own over all groups. Leaving the loop, by its end, ``break`` or an error, ends the
    threads and frees the buffer.

    Args:
        groups: what to read, in the order of use.
        threads: readers.
        budget_bytes: most bytes of the buffer. All that is read lies in it, and nothing else is allocated.
        direct: whether to go past the page cache (see ``DirectFile``).
        pinned: whether a CUDA device copies from the buffer, which then has to be locked memory.

    Raises:
        ConfigError: the budget is smaller than the largest group; says what the least is.
        CheckpointError: in the loop, when a file cannot be read or became shorter.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        *,
        threads: int = 4,
        budget_bytes: int,
        direct: bool = True,
        pinned: bool = False,
    ) -> None:
        require(threads > 0, "threads", threads, "a positive number")
        sizes = [buffer_bytes(group) for group in groups]
        least = max(sizes, default=ALIGNMENT)
        if budget_bytes < least:
            largest = groups[sizes.index(least)].name
            raise ConfigError(
                f"memory for reading = {si(budget_bytes, 'B')} is too little: {largest} alone takes "
                f"{si(least, 'B')}; allowed: {least} bytes or more"
            )
        self.groups, self.sizes, self.threads = groups, sizes, threads
        self.ring_bytes = min(budget_bytes // ALIGNMENT * ALIGNMENT, sum(sizes) or ALIGNMENT)
        """Bytes of the buffer."""
        self.direct, self.pinned = direct, pinned
        self.bytes_read = 0
        """Bytes that came from files, over all passes."""
        self.seconds_waited = 0.0
        """Time in which the loop stood still since what it needed was not there."""
        self.seconds_reading = 0.0
        """Time in which at least one thread was reading; bytes_read over it is the bandwidth that was used."""

    def __iter__(self) -> Iterator[Loaded]:
        reading = _Pass(self)
        try:
            for number, group in enumerate(self.groups):
                loaded = Loaded(group, reading.take(number))
                try:
                    yield loaded
                finally:
                    loaded.release()
                reading.give_back()
        finally:
            reading.close()


class _Piece(NamedTuple):
    """One read."""

    group: int
    file: DirectFile
    place: int
    needed: int
    room: memoryview


class _Pass:
    """The threads, the ring and the open files of one pass over the groups."""

    def __init__(self, plan: ReadAhead) -> None:
        self.plan = plan
        self.room = allocate(plan.ring_bytes, pinned=plan.pinned)
        self.bytes = memoryview(self.room.numpy())
        self.changed = threading.Condition()
        self.files: dict[str, DirectFile] = {}
        self.pieces: deque[_Piece] = deque()
        self.held: deque[tuple[int, int]] = deque()  # start and end in the ring, oldest first
        self.starts: list[int] = []
        self.left: list[int] = []  # pieces of each group that are not read yet
        self.error: BaseException | None = None
        self.closed = False
        self.active, self.since = 0, 0.0
        self.threads = [threading.Thread(target=self._work, daemon=True) for _ in range(plan.threads)]
        for thread in self.threads:
            thread.start()

    def take(self, number: int) -> Tensor:
        """Waits until a group is read; its part of the ring."""
        began = time.perf_counter()
        with self.changed:
            self.changed.wait_for(lambda: self.error or (number < len(self.left) and not self.left[number]))
            self.plan.seconds_waited += time.perf_counter() - began
            if self.error:
                raise self.error
            start = self.starts[number]
        return self.room[start : start + self.plan.sizes[number]]

    def give_back(self) -> None:
        """Frees the oldest group's part of the ring."""
        with self.changed:
            self.held.popleft()
            self.changed.notify_all()

    def close(self) -> None:
        """Ends the threads, after the reads that are under way, and closes the files."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        for thread in self.threads:
            thread.join()
        for file in self.files.values():
            file.close()

    def _work(self) -> None:
        while (piece := self._next_piece()) is not None:
            try:
                piece.file.read(piece.room, piece.place, piece.needed)
            except BaseException as error:  # whatever it is, the loop that waits for this piece has to hear of it
                self._fail(error)
            self._done(piece)

    def _next_piece(self) -> _Piece | None:
        with self.changed:
            while not self.closed and self.error is None:
                while not self.pieces and self._place_group():
                    pass  # a group of nothing has no pieces
                if self.pieces:
                    self.active += 1
                    self.since = time.perf_counter() if self.active == 1 else self.since
                    return self.pieces.popleft()
                if len(self.starts) == len(self.plan.groups):
                    return None
                self.changed.wait()
        return None

    def _done(self, piece: _Piece) -> None:
        with self.changed:
            self.active -= 1
            if self.active == 0:
                self.plan.seconds_reading += time.perf_counter() - self.since
            self.plan.bytes_read += piece.needed
            self.left[piece.group] -= 1
            if not self.left[piece.group]:
                self.changed.notify_all()

    def _place_group(self) -> bool:
        """Cuts the next group into pieces, if there is one, and room for it."""
        number = len(self.starts)
        start = self._room_for(self.plan.sizes[number]) if number < len(self.plan.groups) else None
        if start is None:
            return False
        try:
            pieces = list(self._cut(number, start))
        except BaseException as error:
            self._fail(error)
            return False
        self.held.append((start, start + self.plan.sizes[number]))
        self.starts.append(start)
        self.left.append(len(pieces))
        self.pieces.extend(pieces)
        self.changed.notify_all()
        return True

    def _room_for(self, size: int) -> int | None:
        if not self.held:
            return 0
        tail, head = self.held[0][0], self.held[-1][1]
        if head > tail and head + size <= self.plan.ring_bytes:
            return head
        if head > tail:
            return 0 if size <= tail else None
        return head if head + size <= tail else None

    def _cut(self, number: int, start: int) -> Iterator[_Piece]:
        for span in spans(self.plan.groups[number]):
            name = str(span.file)
            if name not in self.files:
                self.files[name] = DirectFile(span.file, direct=self.plan.direct)
            for begin in range(0, span.size, _PIECE):
                end = min(begin + _PIECE, span.size)
                room = self.bytes[start + span.start + begin : start + span.start + end]
                yield _Piece(number, self.files[name], span.place + begin, min(end, span.needed) - begin, room)

    def _fail(self, error: BaseException) -> None:
        with self.changed:
            self.error = self.error or error
            self.changed.notify_all()
