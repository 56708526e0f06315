"""What is counted, in Prometheus' form and under vLLM's names, so that its dashboards work."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from axk1.engine.async_engine import AsyncEngine
from axk1.engine.llm_engine import SequenceOutput

_SHORT = (0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_LONG = (0.01, 0.05, 0.1, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class Metrics:
    """The numbers of one model. ``observe`` is called with every output of its engine."""

    def __init__(self, model_name: str) -> None:
        """Args: model_name: the value of the label ``model_name``."""
        self._model_name, self._registry = model_name, CollectorRegistry()
        self._first = self._histogram("time_to_first_token_seconds", "Arrival to first token", _LONG)
        self._between = self._histogram("inter_token_latency_seconds", "One token to the next", _SHORT)
        self._per_token = self._histogram("request_time_per_output_token_seconds", "Mean time of a token", _SHORT)
        self._whole = self._histogram("e2e_request_latency_seconds", "Arrival to end", _LONG)
        self._queue = self._histogram("request_queue_time_seconds", "Arrival to first pass", _LONG)
        self._prefill = self._histogram("request_prefill_time_seconds", "First pass to first token", _LONG)
        self._decode = self._histogram("request_decode_time_seconds", "First token to end", _LONG)
        self._success = Counter(
            "vllm:request_success", "Texts that ended", ["model_name", "finished_reason"], registry=self._registry
        )

    def watch(self, engine: AsyncEngine) -> None:
        """Reads the engine's counters from now on, whenever somebody asks."""
        self._registry.register(_EngineCollector(engine, self._model_name))

    def text(self) -> bytes:
        """All numbers, as a scraper reads them."""
        return generate_latest(self._registry)

    def observe(self, output: SequenceOutput) -> None:
        """Counts one output."""
        times, tokens = output.sequence.times, output.sequence.num_output_tokens
        is_first = tokens <= 1 or times.first_token == times.last_token
        (self._first if is_first else self._between).observe(output.seconds)
        if output.finish_reason is None:
            return
        self._success.labels(self._model_name, output.finish_reason).inc()
        assert times.scheduled and times.first_token and times.last_token  # it has ended
        self._whole.observe(times.last_token - times.arrival)
        self._queue.observe(times.scheduled - times.arrival)
        self._prefill.observe(times.first_token - times.scheduled)
        self._decode.observe(times.last_token - times.first_token)
        if tokens > 1:
            self._per_token.observe((times.last_token - times.first_token) / (tokens - 1))

    def _histogram(self, name: str, help_text: str, buckets: tuple[float, ...]) -> Histogram:
        family = Histogram(f"vllm:{name}", help_text, ["model_name"], buckets=buckets, registry=self._registry)
        return family.labels(self._model_name)


class _EngineCollector:
    """Reads what the engine counts itself."""

    def __init__(self, engine: AsyncEngine, model_name: str) -> None:
        self._engine, self._model_name = engine, model_name

    def collect(self) -> Iterator[Metric]:
        engine = self._engine.engine
        scheduler, blocks = engine.scheduler, engine.blocks
        used = 1 - blocks.num_free_blocks / blocks.num_blocks
        yield self._one(GaugeMetricFamily, "num_requests_running", "Texts being written", len(scheduler.running))
        yield self._one(GaugeMetricFamily, "num_requests_waiting", "Texts that wait", len(scheduler.waiting))
        yield self._one(GaugeMetricFamily, "kv_cache_usage_perc", "Share of the cache in use, 0 to 1", used)
        yield self._one(CounterMetricFamily, "prefix_cache_queries", "Tokens looked up", blocks.queried_tokens)
        yield self._one(CounterMetricFamily, "prefix_cache_hits", "Tokens found", blocks.hit_tokens)
        yield self._one(CounterMetricFamily, "prompt_tokens", "Prompt tokens put through", engine.prompt_tokens)
        yield self._one(CounterMetricFamily, "generation_tokens", "Tokens written", engine.generation_tokens)
        yield self._one(CounterMetricFamily, "num_preemptions", "Texts that had to wait", scheduler.num_preemptions)
        yield self._one(CounterMetricFamily, "request_aborted", "Texts ended early", self._engine.aborted)
        if (spec := engine.speculator) is not None:
            yield self._one(CounterMetricFamily, "spec_decode_num_drafts", "Drafts", spec.num_drafts)
            drafted, accepted = spec.num_draft_tokens, spec.num_accepted_tokens
            yield self._one(CounterMetricFamily, "spec_decode_num_draft_tokens", "Tokens drafted", drafted)
            yield self._one(CounterMetricFamily, "spec_decode_num_accepted_tokens", "Drafted tokens kept", accepted)

    def _one(self, kind: type, name: str, help_text: str, value: float) -> Metric:
        family = kind(f"vllm:{name}", help_text, labels=["model_name"])
        family.add_metric([self._model_name], value)
        return family
