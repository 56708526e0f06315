"""``DirectFile``: reads of a file that leave the machine's page cache as it was.

A checkpoint of 500 GB that went through the page cache would push out everything else, and be gone itself before it is
read again. ``O_DIRECT`` goes past the cache; it wants places, lengths and memory in multiples of ``ALIGNMENT``. Where a
file system refuses it (memory, some networks), the file is read through the cache and its pages are given back.
"""

import contextlib
import errno
import os
from pathlib import Path

from axk1.core.errors import CheckpointError
from axk1.model.stored import AGAIN, ended_early

ALIGNMENT = 4096
"""Bytes that places, lengths and memory are multiples of."""


class DirectFile:
    """A file that several threads read at once.

    Args:
        path: the file.
        direct: whether to go past the page cache; otherwise the file is read as any other, and stays in the cache.

    Raises:
        CheckpointError: the file cannot be opened.
    """

    def __init__(self, path: Path, *, direct: bool = True) -> None:
        self.path, self.past_cache = path, direct
        self._through: int | None = None
        self._direct: int | None = None
        with self._named():
            self._through = os.open(path, os.O_RDONLY)
            if direct and hasattr(os, "O_DIRECT"):
                with contextlib.suppress(OSError):  # this file system has none
                    self._direct = os.open(path, os.O_RDONLY | os.O_DIRECT)

    def read(self, room: memoryview, place: int, needed: int) -> None:
        """Fills ``room`` from byte ``place`` on; the file may end after ``needed`` bytes of it.

        Raises:
            CheckpointError: the file ends earlier, or the system cannot read it.
        """
        done = 0
        with self._named():
            while done < needed:
                count = self._read_some(room[done:], place + done)
                if count == 0:
                    raise ended_early(self.path)
                done += count

    def close(self) -> None:
        """Closes the file; nobody may be reading any more."""
        for number in (self._through, self._direct):
            if number is not None:
                os.close(number)
        self._through = self._direct = None

    def _read_some(self, room: memoryview, place: int) -> int:
        if self._direct is not None and place % ALIGNMENT == 0:
            try:
                return os.preadv(self._direct, [room], place)
            except OSError as error:
                if error.errno != errno.EINVAL:  # which says that this file system wants another alignment
                    raise
        count = os.preadv(self._through, [room], place)
        if self.past_cache and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._through, place, count, os.POSIX_FADV_DONTNEED)
        return count

    @contextlib.contextmanager
    def _named(self):
        try:
            yield
        except OSError as error:
            raise CheckpointError(f"{str(self.path)!r} cannot be read: {error}", repair=AGAIN) from None
