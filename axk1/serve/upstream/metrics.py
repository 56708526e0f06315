"""What the front counts itself. What an engine knows (its queue, its cache) is on the upstream's own ``/metrics``."""

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from axk1.serve.upstream.server import Upstream

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class FrontMetrics:
    """Requests, errors, latencies and tokens, per upstream."""

    def __init__(self, upstreams: Sequence[Upstream]) -> None:
        """Args: upstreams: those whose state is told whenever somebody asks."""
        self._registry = CollectorRegistry()
        self._requests = self._counter("requests", "Requests sent to an upstream", "route", "status")
        self._retries = self._counter("retries", "Requests that an upstream did not begin and another was asked")
        self._tokens = self._counter("tokens", "Tokens by usage", "kind", "counted")
        self._first = self._histogram("time_to_first_byte_seconds", "Sending to the first byte of the answer")
        self._whole = self._histogram("request_seconds", "Sending to the end of the answer")
        self._registry.register(_State(upstreams))

    def retried(self, upstream: Upstream) -> None:
        """Counts a request that went on to another upstream."""
        self._retries.labels(upstream.url).inc()

    def begun(self, upstream: Upstream, route: str, seconds: float) -> None:
        """Counts the first byte of an answer."""
        self._first.labels(upstream.url, route).observe(seconds)

    def ended(self, upstream: Upstream, route: str, status: str, seconds: float) -> None:
        """Counts a request. Args: status: HTTP's, or ``left`` where the client did not wait for the end."""
        self._requests.labels(upstream.url, route, status).inc()
        self._whole.labels(upstream.url, route).observe(seconds)

    def used(self, upstream: Upstream, usage: dict[str, object]) -> None:
        """Counts the tokens of an answer."""
        counted = "estimated" if usage.get("estimated") else "told"
        for kind in ("prompt", "completion"):
            self._tokens.labels(upstream.url, kind, counted).inc(float(str(usage.get(f"{kind}_tokens") or 0)))

    def text(self) -> bytes:
        """All numbers, as a scraper reads them."""
        return generate_latest(self._registry)

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(f"axk1_front_{name}", help_text, ["upstream", *labels], registry=self._registry)

    def _histogram(self, name: str, help_text: str) -> Histogram:
        labels = ["upstream", "route"]
        return Histogram(f"axk1_front_{name}", help_text, labels, buckets=_SECONDS, registry=self._registry)


class _State:
    """Reads the state of the upstreams."""

    def __init__(self, upstreams: Sequence[Upstream]) -> None:
        self._upstreams = upstreams

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("axk1_front_upstream_up", "1 where the upstream takes requests", labels=["upstream"])
        busy = GaugeMetricFamily("axk1_front_requests_in_flight", "Requests that run there", labels=["upstream"])
        for upstream in self._upstreams:
            up.add_metric([upstream.url], upstream.trouble is None)
            busy.add_metric([upstream.url], upstream.in_flight)
        yield from (up, busy)
