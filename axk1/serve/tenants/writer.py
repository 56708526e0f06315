"""``Writer``: one thread that writes for many requests at once, so that the event loop never waits for a disk."""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import InterfaceError, OperationalError

from axk1.serve.database import writing

Job = Callable[[Connection], Any]
_log = logging.getLogger(__name__)
_AWAY = (OperationalError, InterfaceError)
"""Nobody answers, or somebody else writes for too long."""
_PAUSE = (0.05, 2.0)
"""Seconds between tries, the first and the longest."""


@dataclass(frozen=True)
class _Work:
    job: Job
    future: Future[Any]
    until: float
    """When to give up while the database is away."""
    lazily: bool = False
    """Need not be on disk yet."""


class Writer:
    """Jobs that come while others are being written wait, and then share one transaction, so one wait for the disk.

    A job's result is there when its transaction is on disk, or, for a lazy one, when a crash of this process cannot
    undo it any more.
    """

    def __init__(self, database: Engine, *, beat: Callable[[Connection], Any], every: float) -> None:
        """
        Args:
            database: where to write.
            beat: a job that is done whenever ``every`` seconds have passed.
            every: seconds.
        """
        self._database, self._beat, self._every = database, beat, every
        self._jobs: queue.Queue[_Work | None] = queue.Queue()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="axk1-ledger", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Writes what is there and ends."""
        self._stopping = True
        self._jobs.put(None)
        self._thread.join()

    def submit(self, job: Job, *, patience: float, lazily: bool = False) -> Future[Any]:
        """Does a job soon; nothing of it stays if it raises.

        Args:
            job: what to do in a transaction.
            patience: seconds to try while the database is away.
            lazily: as in ``writing``.
        """
        work = _Work(job, Future(), time.monotonic() + patience, lazily)
        work.future.set_running_or_notify_cancel()  # what is on its way is always written
        self._jobs.put(work)
        return work.future

    def _run(self) -> None:
        last = time.monotonic()
        while not self._stopping or not self._jobs.empty():
            batch = self._take(last + self._every - time.monotonic())
            if time.monotonic() >= last + self._every:
                last = time.monotonic()
                batch.append(_Work(self._beat, Future(), last))
            self._write(batch)

    def _take(self, seconds: float) -> list[_Work]:
        """All jobs that wait, after waiting for the first."""
        found: list[_Work | None] = []
        with contextlib.suppress(queue.Empty):
            found.append(self._jobs.get(timeout=max(0.0, seconds)))
            while True:
                found.append(self._jobs.get_nowait())
        return [each for each in found if each is not None]

    def _write(self, batch: list[_Work]) -> None:
        """Writes jobs, as long as their patience lasts."""
        pause, longest = _PAUSE
        while batch:
            try:
                results = self._transact(batch)
            except _AWAY as error:
                _log.warning("the database does not take usage: %s", error)
                time.sleep(pause)
                pause = min(2 * pause, longest)
                batch = self._without_impatient(batch + self._take(0), error)
            except Exception as error:
                self._apart(batch, error)
                return
            else:
                for work, result in zip(batch, results, strict=True):
                    work.future.set_result(result)
                return

    def _without_impatient(self, batch: list[_Work], error: Exception) -> list[_Work]:
        now = time.monotonic()
        for work in batch:
            if work.until <= now:
                work.future.set_exception(error)
        return [work for work in batch if work.until > now]

    def _apart(self, batch: list[_Work], error: Exception) -> None:
        """A job that fails must not take others with it."""
        if len(batch) > 1:
            for work in batch:
                self._write([work])
            return
        _log.error("usage was not written", exc_info=error)
        batch[0].future.set_exception(error)

    def _transact(self, batch: list[_Work]) -> list[Any]:
        with writing(self._database, lazily=all(work.lazily for work in batch)) as connection:
            return [work.job(connection) for work in batch]
