"""What `recall-env serve` counts, for Prometheus. Numbers only: no token, no id, no text of a caller is a label."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily

from recall_env.sandbox.broker import Broker

if TYPE_CHECKING:
    from recall_env.sandbox.service import Service

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class ServiceMetrics:
    """Counters of one Service. Children are kept by label: to look one up in the library costs as much as to count."""

    def __init__(self, service: "Service", broker: Broker) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._seconds = Histogram(
            "recall_call_seconds",
            "Seconds of a tool call, waiting for an interpreter included",
            ("route", "status"),
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self._requests = Counter("recall_http_requests", "Answered requests", ("route", "code"), registry=self.registry)
        self._refused = Counter(
            "recall_refused", "Requests refused before any tool ran", ("reason",), registry=self.registry
        )
        gauges = {
            "recall_sessions": ("Open sessions of the session API", lambda: len(service.sessions)),
            "recall_warm_sessions": ("Idle interpreters kept for /execute", lambda: len(service.execute.warm)),
            "recall_in_flight": ("Calls and opens under way", lambda: service.in_flight),
            "recall_draining": ("1 once it was told to stop", lambda: int(service.draining)),
        }
        for name, (text, value) in gauges.items():
            Gauge(name, text, registry=self.registry).set_function(value)
        if broker.addresses:
            self.registry.register(_Services(broker))
        self._seconds_of: dict[tuple[str, str], Histogram] = {}
        self._requests_of: dict[tuple[str, int], Counter] = {}

    def called(self, route: str, status: str, seconds: float) -> None:
        histogram = self._seconds_of.get((route, status))
        if histogram is None:
            histogram = self._seconds_of[route, status] = self._seconds.labels(route, status)
        histogram.observe(seconds)

    def answered(self, route: str, code: int) -> None:
        counter = self._requests_of.get((route, code))
        if counter is None:
            counter = self._requests_of[route, code] = self._requests.labels(route, str(code))
        counter.inc()

    def refused(self, reason: str) -> None:
        self._refused.labels(reason).inc()

    def text(self) -> bytes:
        return generate_latest(self.registry)


_OF_SERVICES = {
    "requests": "Requests sent to a service",
    "refused": "Requests refused by a limit or the allow-list",
    "errors": "Answers with 4xx or 500",
    "failures": "Requests not answered, or by a gateway",
    "seconds": "Seconds of requests that were sent",
    "reply_bytes": "Bytes of answers",
}


class _Services:
    """The broker's own counts, read when they are asked for."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def collect(self) -> Iterator[CounterMetricFamily]:
        for name, text in _OF_SERVICES.items():
            family = CounterMetricFamily(f"recall_service_{name}", text, labels=("service",))
            for service, metrics in self._broker.metrics.items():
                family.add_metric((service,), getattr(metrics, name))
            yield family
