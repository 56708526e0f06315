"""``Work``: the runs that a server carries on, each in a task of its own; what a dead process left is taken up."""

import asyncio
import logging
from collections.abc import Callable

from axk1.agents.loop import Runner
from axk1.agents.run import Run, RunBusy
from axk1.agents.store import RunStore

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 5.0
"""How often a server looks for runs whose process has died."""
_GRACE_SECONDS = 1.0
"""Time in which a server that ends has come to ``Work.stop``."""
_ATTEMPTS = 3
"""Times that a run is taken up again here after a bug broke it, so that it does not break for ever."""


class Work:
    """Tasks of a server. Call ``start`` in its event loop, and ``stop`` at its end.

    Args:
        store: where the runs are.
        runner_for: the runner that carries a stored run on, on behalf of whoever began it.
        host: which runs are taken up: those of programs of this kind.
    """

    def __init__(self, store: RunStore, runner_for: Callable[[Run], Runner], host: str) -> None:
        self._store, self._runner_for, self._host = store, runner_for, host
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._watch: asyncio.Task[None] | None = None
        self._broke: dict[str, int] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Takes up what was interrupted, now and whenever another process dies."""
        self._watch = asyncio.create_task(self._look_after())

    async def stop(self) -> None:
        """Ends the tasks; a tool that is just running comes to its end. The runs go on at the next start."""
        tasks = [*self._tasks.values(), *self._leaving, *([self._watch] if self._watch else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def carry_on(self, runner: Runner, run_id: str) -> None:
        """Carries a run on in the background until it ends or needs a person."""
        before = self._tasks.get(run_id)
        task = asyncio.create_task(self._carry_on(runner, run_id, before))
        self._tasks[run_id] = task

    def cancel_soon(self, runner: Runner, run_id: str) -> None:
        """Ends the run of a call that its client gave up. Where the server itself ends, which gives all calls up, the
        run is left as it is, and goes on at the next start."""
        task = asyncio.create_task(self._cancel_soon(runner, run_id))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _cancel_soon(self, runner: Runner, run_id: str) -> None:
        await asyncio.sleep(_GRACE_SECONDS)
        await runner.cancel(run_id)

    async def _carry_on(self, runner: Runner, run_id: str, before: asyncio.Task[None] | None) -> None:
        try:
            if before is not None:
                await asyncio.wait([before])
            await runner.resume(run_id)
            self._broke.pop(run_id, None)
        except RunBusy:
            pass  # another process has it
        except Exception as error:
            self._broke[run_id] = self._broke.get(run_id, 0) + 1
            _log.exception("the run %s broke", run_id)
            if self._broke[run_id] >= _ATTEMPTS:
                await self._give_up(runner, run_id, error)
        finally:
            if self._tasks.get(run_id) is asyncio.current_task():
                del self._tasks[run_id]

    async def _give_up(self, runner: Runner, run_id: str, error: Exception) -> None:
        """Tells whoever waits for the run that it will not come to an end."""
        try:
            await runner.give_up(run_id, repr(error))
        except Exception:
            _log.exception("the run %s could not be ended either", run_id)

    async def _look_after(self) -> None:
        while True:
            try:
                for run in await asyncio.to_thread(self._store.unfinished, self._host):
                    if run.id not in self._tasks and self._broke.get(run.id, 0) < _ATTEMPTS:
                        self.carry_on(self._runner_for(run), run.id)
            except Exception:
                _log.exception("the runs that were interrupted cannot be looked for")
            await asyncio.sleep(_LOOK_SECONDS)
