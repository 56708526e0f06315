"""``Runner``: a plain loop. Ask the model, act on its calls, tell it what came out; until it answers.

    run = await Runner(model, tools, store, workspace=Path("work")).start("내일 3시에 회의 잡아줘")
    while run.status is Status.INPUT_REQUIRED:
        run = await runner.give(run.id, Input(text=input(run.question.text)))

All state is in the store. Between any two steps the process may be killed; ``resume`` in another one goes on.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from axk1.agents.acting import Actor, Change
from axk1.agents.answering import Answering
from axk1.agents.heard import person_text
from axk1.agents.lease import new_owner
from axk1.agents.limits import Limits, Usage
from axk1.agents.policy import Policy
from axk1.agents.prompt import language_of, words
from axk1.agents.run import ENDED, OPEN, Call, CallState, Input, InputRefused, Run, RunBusy, Status
from axk1.agents.store import Lease, RunStore
from axk1.agents.tool import Effect, Language, Tool
from axk1.agents.turn import mistakes, take_turn
from axk1.agents.undo import undone
from axk1.core.chat_model import ChatModel
from axk1.core.config import nearest
from axk1.core.errors import AXK1Error
from axk1.guard import new_nonce, refusal_of

_log = logging.getLogger(__name__)


def local_time() -> datetime:
    """Now, in this machine's time zone."""
    return datetime.now().astimezone()


class Runner:
    """Carries runs on.

    Args:
        model: who decides what to call.
        tools: by name.
        store: where all state is.
        policy: what may run by itself.
        limits: how much a run may use; a run may ask for less.
        clock: the person's time, with their time zone.
        workspace: folder of the files.
        tenant: whose runs these are.
        key: the API key on whose behalf they run.
        constrained: the model must always call a tool, and answers by one: a grammar keeps small ones well-formed.
        screened: unsafe requests of the person are refused by rule, before any model hears of them.
        lease_seconds: how long a process that stalls keeps a run; one that died on this machine keeps it no longer.
        host: what kind of program this is; others do not carry its runs on by themselves, since their policy and
            tools may be other ones.
    """

    def __init__(
        self,
        model: ChatModel,
        tools: Mapping[str, Tool],
        store: RunStore,
        policy: Policy | None = None,
        limits: Limits | None = None,
        clock: Callable[[], datetime] = local_time,
        *,
        workspace: Path,
        tenant: str = "",
        key: str = "",
        constrained: bool = False,
        screened: bool = True,
        lease_seconds: float = 15,
        host: str = "agent",
    ) -> None:
        self.model, self.tools, self.store, self.clock = model, tools, store, clock
        self.policy, self.limits = policy or Policy(), limits or Limits()
        self.workspace, self.tenant, self.key = workspace, tenant, key
        self.constrained, self.screened, self.lease_seconds = constrained, screened, lease_seconds
        self.host = host
        self._actor = Actor(tools, self.policy, clock)
        self._answering = Answering(self._actor)
        self._renewed: set[str] = set()
        """Owners whose leases are renewed; one whose last step is being recorded is no more."""

    async def open(
        self,
        goal: str,
        *,
        language: Language | None = None,
        tools: Sequence[str] | None = None,
        limits: Limits | None = None,
    ) -> Run:
        """A new run, stored but not begun; ``resume`` begins it.

        Args:
            goal: what the person wants.
            language: the person's; nothing for that of the goal.
            tools: those that it may use; nothing for all.
            limits: narrower ones than the runner's.

        Raises:
            InputRefused: there is no goal, or no such tool.
        """
        run = self._new(_checked_text(goal, "goal"), language or language_of(goal), tools, self.limits.within(limits))
        message = {"role": "user", "content": goal}
        step = self._actor.step("input", content=goal, message=message, by=self.key)
        self.workspace.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(self.store.create, run, [step])
        return await self.look(run.id)

    async def start(
        self,
        goal: str,
        *,
        language: Language | None = None,
        tools: Sequence[str] | None = None,
        limits: Limits | None = None,
    ) -> Run:
        """A new run, carried on until it ends or needs the person; arguments as of ``open``."""
        run = await self.open(goal, language=language, tools=tools, limits=limits)
        return await self.resume(run.id)

    async def look(self, run_id: str) -> Run:
        """A run as it stands. Raises NoSuchRun."""
        return await asyncio.to_thread(self.store.run, self.tenant, run_id)

    async def accept(self, run_id: str, given: Input) -> Run:
        """Records what a person gave, without carrying on; ``resume`` does.

        Raises:
            InputRefused: the run does not wait for that; the text says for what it waits.
            RunBusy: another process works on it.
            NoSuchRun: there is none.
        """
        if given.text is not None:
            _checked_text(given.text, "text")
        _check_slots(given.slots)
        lease = await self._take(run_id)
        try:
            run = await self.look(run_id)
            change = await self._answering.change(run, given)
            return await self._record(lease, change, leave=True)
        finally:
            await asyncio.to_thread(self.store.leave, lease)

    async def give(self, run_id: str, given: Input) -> Run:
        """Gives a person's input to a run and carries it on until it ends or needs them again; errors as ``accept``."""
        await self.accept(run_id, given)
        return await self.resume(run_id)

    async def resume(self, run_id: str) -> Run:
        """Carries a run on from its last completed step; one that waits for a person or has ended is as it is.

        Raises:
            RunBusy: another process works on it.
            NoSuchRun: there is none.
        """
        run = await self.look(run_id)
        if run.status is not Status.RUNNING:
            return run
        async with self._leased(run_id) as lease:
            return await self._carry_on(lease)

    async def cancel(self, run_id: str) -> Run:
        """Ends a run; what it is just doing is finished first. Raises NoSuchRun."""
        await asyncio.to_thread(self.store.cancel, self.tenant, run_id)
        with contextlib.suppress(RunBusy):  # who works on it will see
            lease = await self._take(run_id)
            try:
                run = await self.look(run_id)
                if run.status not in ENDED:
                    await self._end(lease, run, Status.CANCELLED, words("cancelled", run.language))
            finally:
                await asyncio.to_thread(self.store.leave, lease)
        return await self.look(run_id)

    async def give_up(self, run_id: str, reason: str) -> Run:
        """Ends a run that cannot be carried on, and says why. Raises RunBusy and NoSuchRun."""
        lease = await self._take(run_id)
        try:
            run = await self.look(run_id)
            return await self._end(lease, run, Status.FAILED, words("broke", run.language, reason))
        finally:
            await asyncio.to_thread(self.store.leave, lease)

    async def undo(self, run_id: str, call_id: str, *, by: str = "") -> Run:
        """Takes back what a call did.

        Raises:
            InputRefused: it cannot be taken back, or the run is at work.
            RunBusy: another process works on the run.
            NoSuchRun: there is none.
        """
        lease = await self._take(run_id)
        try:
            run = await self.look(run_id)
            return await self._record(lease, await undone(self._actor, run, call_id, by=by), leave=True)
        finally:
            await asyncio.to_thread(self.store.leave, lease)

    async def _carry_on(self, lease: Lease) -> Run:
        run = await self.look(lease.run_id)
        while run.status is Status.RUNNING:
            if run.cancelled:
                return await self._end(lease, run, Status.CANCELLED, words("cancelled", run.language))
            began = time.monotonic()
            waiting = [call for call in run.calls if call.state in OPEN]
            if waiting:
                run = await self._act(lease, run, waiting)
            elif run.waiting is not None:
                run = await self._pause(lease, Status.CONFIRMATION_REQUIRED)
            elif run.question is not None:
                run = await self._pause(lease, Status.INPUT_REQUIRED)
            else:
                reached = run.limits.reached(run.usage, calls=len(run.calls))
                if reached:
                    return await self._end(lease, run, Status.FAILED, words("limit", run.language, reached))
                run = await self._query(lease, run, began)
        return run

    async def _pause(self, lease: Lease, status: Status) -> Run:
        return await self._record(lease, Change(changed={"status": status}), leave=True)

    async def _act(self, lease: Lease, run: Run, waiting: Sequence[Call]) -> Run:
        """Carries the first call on by one state; calls that only read go together."""
        reads = self._reads(waiting)
        batch = reads or waiting[:1]
        state = min((call.state for call in batch), key=OPEN.index)
        batch = [call for call in batch if call.state is state]
        began = time.monotonic()
        if state is CallState.PROPOSED:
            change = Change()
            for call in batch:
                change += await self._actor.decide(run, call)
        elif state is CallState.STARTED:  # by a process that has died
            change = sum([await self._actor.recover(run, call) for call in batch], Change())
        else:
            return await _to_its_end(self._execute(lease, batch, began))
        usage = _later(run.usage, seconds=time.monotonic() - began)
        pauses = change.changed.get("status") is Status.CONFIRMATION_REQUIRED
        return await self._record(lease, change + Change(changed={"usage": usage}), leave=pauses)

    async def _execute(self, lease: Lease, batch: Sequence[Call], began: float) -> Run:
        """Runs calls that may: first the journal says that they start, then they do, then it says what came out."""
        started = [replace(call, state=CallState.STARTED) for call in batch]
        run = await self._record(lease, Change(started))
        change = sum(await asyncio.gather(*(self._actor.execute(run, call) for call in started)), Change())
        pauses = change.changed.get("status") is Status.CONFIRMATION_REQUIRED
        usage = _later(run.usage, seconds=time.monotonic() - began)
        return await self._record(lease, change + Change(changed={"usage": usage}), leave=pauses)

    def _reads(self, waiting: Sequence[Call]) -> list[Call]:
        """The calls at the beginning that change nothing and wait for nobody."""
        found: list[Call] = []
        for call in waiting:
            tool = self.tools.get(call.tool)
            if tool is not None and tool.effect is not Effect.READ:
                break
            found.append(call)
        return found

    async def _query(self, lease: Lease, run: Run, began: float) -> Run:
        """Asks the model for its next turn and records it."""
        refusal = refusal_of(person_text(run), run.language) if self.screened else None
        if refusal:
            return await self._end(lease, run, Status.COMPLETED, refusal, said=True)
        wrong, last = mistakes(run)
        if wrong >= run.limits.max_mistakes:
            return await self._end(lease, run, Status.FAILED, words("mistakes", run.language, wrong, last))
        try:
            turn = await take_turn(self.model, run, self.tools, constrained=self.constrained)
        except AXK1Error as error:
            step = self._actor.step("refusal", content=error.message)
            usage = _later(run.usage, turns=1, seconds=time.monotonic() - began)
            return await self._record(lease, Change([], [step], {"usage": usage}))
        read, written = turn.reply.prompt_tokens, turn.reply.completion_tokens
        usage = _later(
            run.usage,
            turns=1,
            prompt_tokens=read,
            completion_tokens=written,
            seconds=time.monotonic() - began,
            cost=run.limits.priced(read, written),
        )
        if turn.calls:
            proposed = self._answering.proposed(run, turn.calls, content=turn.text)
            return await self._record(lease, proposed + Change(changed={"usage": usage}))
        if not turn.text:
            step = self._actor.step("refusal", content="the model said nothing")
            return await self._record(lease, Change([], [step], {"usage": usage}))
        return await self._end(lease, run, Status.COMPLETED, turn.text, usage=usage, said=True)

    async def _end(
        self, lease: Lease, run: Run, status: Status, answer: str, *, usage: Usage | None = None, said: bool = False
    ) -> Run:
        """Ends a run. Args: said: whether the answer is the model's, and so part of the conversation."""
        message = {"role": "assistant", "content": answer} if said else None
        step = self._actor.step("answer", content=answer, message=message)
        changed: dict[str, Any] = {"status": status, "answer": answer, "question": None}
        if usage is not None:
            changed["usage"] = usage
        gone = [] if said else [call for call in run.calls if _is_left(call)]
        over = [replace(call, state=CallState.REFUSED) for call in gone]
        told = [self._actor.refused(c, status.value).steps[0] for c in gone if c.state is not CallState.ASKED]
        return await self._record(lease, Change(over, [*told, step], changed), leave=True)

    async def _record(self, lease: Lease, change: Change, *, leave: bool = False) -> Run:
        record = self.store.record
        if leave:
            self._renewed.discard(lease.owner)
        return await asyncio.to_thread(
            record, lease, steps=change.steps, calls=change.calls, leave=leave, **change.changed
        )

    async def _take(self, run_id: str) -> Lease:
        return await asyncio.to_thread(self.store.take, self.tenant, run_id, new_owner(), self.lease_seconds)

    @contextlib.asynccontextmanager
    async def _leased(self, run_id: str) -> AsyncIterator[Lease]:
        """The lease of a run, renewed while the block runs, which is cancelled where the lease is lost."""
        lease, here = await self._take(run_id), asyncio.current_task()
        self._renewed.add(lease.owner)
        lost: list[RunBusy] = []

        async def renew() -> None:
            while True:
                await asyncio.sleep(self.lease_seconds / 3)
                try:
                    await asyncio.to_thread(self.store.renew, lease)
                except RunBusy as error:
                    if lease.owner in self._renewed and here is not None:
                        lost.append(error)
                        here.cancel()
                    return
                except Exception as error:  # a database that is away for a moment
                    _log.warning("the lease of the run %s could not be renewed", lease.run_id, exc_info=error)

        renewal = asyncio.create_task(renew())
        try:
            yield lease
        except asyncio.CancelledError:
            if lost:
                raise lost[0] from None
            raise
        finally:
            renewal.cancel()
            self._renewed.discard(lease.owner)
            await asyncio.to_thread(self.store.leave, lease)

    def _new(self, goal: str, language: Language, tools: Sequence[str] | None, limits: Limits) -> Run:
        names = list(self.tools) if tools is None else list(dict.fromkeys(tools))
        for name in (name for name in names if name not in self.tools):
            near = nearest(name, list(self.tools))
            raise InputRefused(f"tools = {name!r} is not allowed{near}; allowed: {', '.join(self.tools)}")
        return Run(
            id=f"run_{uuid4().hex}",
            tenant=self.tenant,
            key=self.key,
            goal=goal,
            language=language,
            status=Status.RUNNING,
            created_at=self.clock(),
            workspace=str(self.workspace.resolve()),
            tools=names,
            limits=limits,
            nonce=new_nonce(),
            host=self.host,
        )


async def _to_its_end(work: Coroutine[Any, Any, Run]) -> Run:
    """The result of some work that a cancellation does not cut in two: a thread that sends cannot be stopped."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _is_left(call: Call) -> bool:
    """Whether a call was never carried out, and now never will be."""
    return call.state in (CallState.PROPOSED, CallState.ALLOWED, CallState.CONFIRMING, CallState.ASKED)


def _check_slots(slots: Mapping[str, Any] | None) -> None:
    """Raises InputRefused where there are none, or one is a text that no database keeps."""
    if slots is not None and not slots:
        raise InputRefused("slots = {} is not allowed; allowed: a value for one or more of those that were asked for")
    for name, value in (slots or {}).items():
        for text in (one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)):
            _check_kept(text, f"slots.{name}")


def _checked_text(text: str, name: str) -> str:
    """The text. Raises InputRefused where there is none, or it holds what no database keeps."""
    if not text.strip():
        raise InputRefused(f"{name} = {text!r} is not allowed; allowed: some words")
    _check_kept(text, name)
    return text


def _check_kept(text: str, name: str) -> None:
    """Raises InputRefused where a text holds what no database keeps."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputRefused(f"{name} has half a character (a lone surrogate); allowed: Unicode text") from None
    if "\0" in text:
        raise InputRefused(f"{name} has the character NUL; allowed: Unicode text without it")


def _later(usage: Usage, **more: float) -> Usage:
    return replace(usage, **{name: getattr(usage, name) + amount for name, amount in more.items()})
