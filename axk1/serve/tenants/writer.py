"""``Writer``: one thread that writes for many requests at once, so that the event loop never waits for a disk."""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import InterfaceError, OperationalError

from axk1.serve.database import writing

Job = Callable[[Connection], Any]
_log = logging.getLogger(__name__)
_AWAY = (OperationalError, InterfaceError)
"""Nobody answers, or somebody else writes for too long."""
_TRIES = 6
_PAUSE = 0.1
"""Seconds after the first failure; each further pause is twice as long."""


class Writer:
    """Jobs that come while others are being written wait, and then share one transaction, so one wait for the disk.

    A job's result is there when its transaction is on disk.
    """

    def __init__(self, database: Engine, *, beat: Callable[[Connection], Any], every: float) -> None:
        """
        Args:
            database: where to write.
            beat: a job that is done whenever ``every`` seconds have passed.
            every: seconds.
        """
        self._database, self._beat, self._every = database, beat, every
        self._jobs: queue.Queue[tuple[Job, Future[Any]] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="axk1-ledger", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Writes what is there and ends."""
        self._jobs.put(None)
        self._thread.join()

    def submit(self, job: Job) -> Future[Any]:
        """Does a job soon; nothing of it stays if it raises."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()  # what is on its way is always written
        self._jobs.put((job, future))
        return future

    def _run(self) -> None:
        last, running = time.monotonic(), True
        while running:
            batch, running = self._take(last + self._every - time.monotonic())
            if time.monotonic() >= last + self._every:
                last = time.monotonic()
                batch.append((self._beat, Future()))
            if batch:
                self._write(batch)

    def _take(self, seconds: float) -> tuple[list[tuple[Job, Future[Any]]], bool]:
        """All jobs that wait, after waiting for the first; and whether to go on."""
        found: list[tuple[Job, Future[Any]] | None] = []
        with contextlib.suppress(queue.Empty):
            found.append(self._jobs.get(timeout=max(0.0, seconds)))
            while True:
                found.append(self._jobs.get_nowait())
        return [each for each in found if each is not None], None not in found

    def _write(self, batch: list[tuple[Job, Future[Any]]]) -> None:
        for attempt in range(_TRIES):
            try:
                results = self._transact([job for job, _ in batch])
            except _AWAY as error:
                _log.warning("the database does not take usage (%s), try %d of %d", error, attempt + 1, _TRIES)
                failed: Exception = error
                time.sleep(_PAUSE * 2**attempt)
            except Exception as error:
                failed = error
                break
            else:
                for (_, future), result in zip(batch, results, strict=True):
                    future.set_result(result)
                return
        self._give_up(batch, failed)

    def _give_up(self, batch: list[tuple[Job, Future[Any]]], error: Exception) -> None:
        """One job that fails must not take others with it."""
        if len(batch) > 1 and not isinstance(error, _AWAY):
            for each in batch:
                self._write([each])
            return
        _log.error("usage was not written", exc_info=error)
        for _, future in batch:
            future.set_exception(error)

    def _transact(self, jobs: list[Job]) -> list[Any]:
        with writing(self._database) as connection:
            return [job(connection) for job in jobs]
