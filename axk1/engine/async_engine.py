"""``AsyncEngine``: an ``LLMEngine`` in a thread of its own, for event loops that must never wait for a pass."""

import asyncio
import logging
import math
import threading
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from llguidance import LLMatcher

from axk1.core.config import require
from axk1.engine.errors import EngineStopped, QueueFull
from axk1.engine.llm_engine import LLMEngine, SequenceOutput
from axk1.engine.sampling_params import SamplingParams
from axk1.engine.sequence import Sequence
from axk1.engine.structured_outputs import GrammarError

_COMPILATIONS = 2
"""Grammars that are compiled at once; the others wait, so that hostile ones cannot take all threads."""
_log = logging.getLogger(__name__)


class Output(NamedTuple):
    """What a step added to one text of a stream."""

    prompt: int
    """Number of the prompt among those of the stream."""
    output: SequenceOutput
    """The addition."""


class Stream:
    """The outputs of some prompts as they are written: ``async for prompt, output in stream``.

    Whoever opens a stream closes it, which ends what is still being written; ``async with`` does.

    Attributes:
        request_ids: the engine's name of each prompt.
        remaining: texts that have not ended.
        sequences: all texts that the engine has begun to look at, ended or not.
    """

    def __init__(self, engine: "AsyncEngine", request_ids: list[str], sequences: int) -> None:
        self._engine, self.request_ids, self.remaining = engine, request_ids, sequences
        self.sequences: list[Sequence] = []
        self.queue: asyncio.Queue[Output | Exception] = asyncio.Queue()

    async def __aenter__(self) -> "Stream":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def __aiter__(self) -> AsyncIterator[Output]:
        while self.remaining:
            item = await self.queue.get()
            if isinstance(item, Exception):
                raise item
            if item.output.finish_reason is not None:
                self.remaining -= 1
            if item.output.finish_reason == "error":
                sequence = item.output.sequence
                raise GrammarError(sequence.params.structured_outputs.field, str(sequence.stop_reason))
            yield item

    def close(self) -> None:
        """Ends what is still being written. May be called more than once."""
        self._engine.forget(self)


class AsyncEngine:
    """Runs an engine in its own thread. Its methods belong to one event loop.

    Attributes:
        engine: the engine; only its thread may change it, anybody may look at its counters.
        aborted: texts that were ended before their time.
        error: what made a pass fail, after which nothing runs any more; None while all is well.
    """

    def __init__(
        self,
        engine: LLMEngine,
        *,
        max_waiting: int = 256,
        observe: Callable[[SequenceOutput], None] = lambda output: None,
    ) -> None:
        """
        Args:
            engine: the engine.
            max_waiting: most texts that wait for a place among the ``max_num_seqs`` being written.
            observe: is shown every output, in the event loop.
        """
        self.engine, self._observe, self.aborted = engine, observe, 0
        self.error: Exception | None = None
        self._max_waiting = max_waiting
        self._streams: dict[str, tuple[Stream, int]] = {}
        self._open: dict[Stream, None] = {}
        self._inbox: list[Callable[[], None]] = []
        self._wake = threading.Condition()
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="axk1-engine", daemon=True)
        self._count = 0
        self._compilations = asyncio.Semaphore(_COMPILATIONS)

    @property
    def unfinished(self) -> int:
        """Texts that are being written or wait."""
        return sum(stream.remaining for stream in self._open)

    def start(self) -> None:
        """Starts the thread; called in the event loop that will read the streams.

        Beside it another one reads the vocabulary for grammars and ends.
        """
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        threading.Thread(target=self._prepare_grammars, name="axk1-grammars", daemon=True).start()

    async def stop(self) -> None:
        """Ends what is still being written, and the thread."""
        self._end_streams("the engine is shutting down")
        with self._wake:
            self._stopping = True
            self._inbox.append(self.engine.abort_all)
            self._wake.notify()
        await asyncio.to_thread(self._thread.join)

    async def compile(self, params: SamplingParams) -> LLMatcher | None:
        """The grammar of a request for ``submit``, made in another thread; None for a request that has none.

        Raises:
            ConfigError: the form that the text shall have cannot be used.
        """
        if params.structured_outputs is None:
            return None
        async with self._compilations:
            return await asyncio.to_thread(self.engine.grammars.compile, params.structured_outputs)

    def submit(self, prompts: list[list[int]], params: SamplingParams, grammar: LLMatcher | None = None) -> Stream:
        """Queues prompts, all or none.

        Args:
            prompts: token ids.
            params: how to continue each of them.
            grammar: what ``compile`` gave for these params.

        Raises:
            ConfigError: one of them can never run, or they are more than ever wait together.
            QueueFull: too many wait already.
            EngineStopped: the engine takes nothing any more.
        """
        compiled = (grammar is None) == (params.structured_outputs is None)
        require(compiled, "grammar", grammar, "what compile gives for the params")
        for prompt in prompts:
            self.engine.check(prompt, params)
        if self.error is not None or self._stopping:
            raise EngineStopped("the engine has stopped")
        self._require_room(len(prompts) * params.n)
        self._count += 1
        names = [f"{self._count}-{place}" for place in range(len(prompts))]
        stream = Stream(self, names, len(prompts) * params.n)
        self._open[stream] = None
        self._streams |= {name: (stream, place) for place, name in enumerate(names)}
        for name, prompt in zip(names, prompts, strict=True):
            self._tell(lambda name=name, prompt=prompt: self._add(stream, name, prompt, params, grammar))
        return stream

    def forget(self, stream: Stream) -> None:
        """Aborts what a stream still waits for; ``Stream.close`` calls this."""
        if self._open.pop(stream, self) is self:
            return
        self.aborted += stream.remaining
        for name in stream.request_ids:
            del self._streams[name]
            if stream.remaining:
                self._tell(lambda name=name: self.engine.abort_request(name))

    def _require_room(self, texts: int) -> None:
        busy, most = self.unfinished, self.engine.config.max_num_seqs + self._max_waiting
        require(texts <= most, "prompts times n", texts, f"at most {most} texts in one request")
        if busy + texts > most:
            rounds = math.ceil((busy + texts - most) / self.engine.config.max_num_seqs)
            raise QueueFull(f"{busy} texts are being written or wait, of {most} at most", retry_after=max(1, rounds))

    def _add(
        self, stream: Stream, name: str, prompt: list[int], params: SamplingParams, grammar: LLMatcher | None
    ) -> None:
        stream.sequences += self.engine.add_request(name, prompt, params, grammar)

    def _tell(self, command: Callable[[], object]) -> None:
        with self._wake:
            self._inbox.append(command)
            self._wake.notify()

    def _prepare_grammars(self) -> None:
        try:
            self.engine.grammars.prepare()
        except Exception:  # the first request for a form will say so, the others do not need it
            _log.warning("the vocabulary cannot be prepared for grammars", exc_info=True)

    def _run(self) -> None:
        try:
            while self._serve():
                pass
        except Exception as error:
            _log.exception("a pass of the engine failed")
            self.error = error
            self._loop.call_soon_threadsafe(self._end_streams, "a pass of the engine failed")

    def _serve(self) -> bool:
        """Takes what came in and makes one step; False when it is time to go."""
        with self._wake:
            self._wake.wait_for(lambda: self._inbox or self._stopping or self.engine.has_unfinished_requests())
            inbox, self._inbox = self._inbox, []
        for command in inbox:
            command()
        if self.engine.has_unfinished_requests():
            outputs = self.engine.step()
            if outputs:
                self._loop.call_soon_threadsafe(self._dispatch, outputs)
        return not self._stopping

    def _dispatch(self, outputs: list[SequenceOutput]) -> None:
        for output in outputs:
            self._observe(output)
            found = self._streams.get(output.sequence.request_id)
            if found is not None:  # closed in the meantime otherwise
                stream, place = found
                stream.queue.put_nowait(Output(place, output))

    def _end_streams(self, why: str) -> None:
        for stream in self._open:
            stream.queue.put_nowait(EngineStopped(why))
