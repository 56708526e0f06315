"""The engine in its thread: streams beside each other, ends in the middle, full queues, failed passes."""

import asyncio

import pytest

from axk1.core.errors import ConfigError
from axk1.engine.async_engine import AsyncEngine
from axk1.engine.errors import EngineStopped, QueueFull
from axk1.engine.llm import LLM
from axk1.engine.sampling_params import SamplingParams

PROMPTS = [f"제{i}조 예산" for i in range(12)]


def run(llm, work, **options):
    async def main():
        engine = AsyncEngine(llm.engine, **options)
        engine.start()
        try:
            return await work(engine)
        finally:
            await engine.stop()

    return asyncio.run(asyncio.wait_for(main(), 100))


async def collect(engine, prompts, params):
    texts = {}
    async with engine.submit(prompts, params) as stream:
        async for place, output in stream:
            key = place * params.n + output.sequence.index
            texts[key] = texts.get(key, "") + output.text
    return [texts[key] for key in sorted(texts)]


async def until(condition):
    while not condition():
        await asyncio.sleep(0.005)


def test_streams_beside_each_other_say_what_generate_says(model, tokenizer):
    model = model.double()
    params = SamplingParams(temperature=0.8, seed=5, n=2, max_tokens=12)
    ids = [tokenizer.encode(prompt) for prompt in PROMPTS]
    expected = [r.text for r in LLM(model, tokenizer).generate(PROMPTS, params)]

    async def work(engine):
        batches = [ids[:5], *([each] for each in ids[5:])]
        texts = await asyncio.gather(*(collect(engine, batch, params) for batch in batches))
        return [text for batch in texts for text in batch]

    assert run(LLM(model, tokenizer, max_num_seqs=4), work) == expected


def test_a_closed_stream_frees_its_blocks(model, tokenizer):
    llm = LLM(model, tokenizer)
    endless = SamplingParams(ignore_eos=True, seed=1)

    async def work(engine):
        async with engine.submit([tokenizer.encode(p) for p in PROMPTS], endless) as stream:
            async for _ in stream:
                break
        assert engine.unfinished == 0
        await until(lambda: not llm.engine.has_unfinished_requests())
        return await collect(engine, [tokenizer.encode("d")], SamplingParams(temperature=0, max_tokens=3))

    expected = LLM(model, tokenizer).generate(["d"], max_tokens=3)[0].text
    assert run(llm, work) == [expected]
    assert llm.engine.blocks.num_free_blocks == llm.engine.blocks.num_blocks


def test_a_full_queue_refuses_and_bad_requests_never_enter(model, tokenizer):
    async def work(engine):
        with pytest.raises(ConfigError, match="more than fit"):
            engine.submit([[5], [5] * 200], SamplingParams())
        with pytest.raises(ConfigError, match="at most 5 texts"):
            engine.submit([[5]] * 3, SamplingParams(n=2))
        engine.submit([[5]] * 5, SamplingParams(ignore_eos=True))
        with pytest.raises(QueueFull) as full:
            engine.submit([[5]], SamplingParams())
        return full.value.retry_after

    assert run(LLM(model, tokenizer, max_num_seqs=2), work, max_waiting=3) >= 1


def test_a_pass_that_fails_ends_all_streams_and_refuses_new_ones(model, tokenizer):
    llm = LLM(model, tokenizer, enforce_eager=True)
    model.norm.weight = None  # no pass can go through

    async def work(engine):
        with pytest.raises(EngineStopped, match="failed"):
            await collect(engine, [[5]], SamplingParams())
        assert isinstance(engine.error, Exception)
        with pytest.raises(EngineStopped):
            engine.submit([[5]], SamplingParams())

    run(llm, work)


def test_the_vocabulary_is_read_for_grammars_before_anybody_asks(model, tokenizer):
    llm = LLM(model, tokenizer)
    assert not llm.engine.grammars.prepared

    async def work(engine):
        await until(lambda: engine.engine.grammars.prepared)

    run(llm, work)
