"""What the server counts."""

from __future__ import annotations

import pytest

from relay_protocol.values import Failure, FailureKind, Outcome, Response
from relay_server.configs import ChannelConfig
from relay_server.metrics import Metrics
from relay_server.values import Channel

CHANNEL = Channel(1, "chatwoot", ChannelConfig(), 0)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_answers_are_counted_by_channel_and_status() -> None:
    metrics = Metrics()
    for channel, status in [(CHANNEL, 200), (CHANNEL, 200), (CHANNEL, 429), (None, 401)]:
        metrics.answered(channel, status, 0.004)
    count = "relay_webhooks_total"
    assert value(metrics, count, channel="chatwoot", answer="200") == 2
    assert value(metrics, count, channel="chatwoot", answer="429") == 1
    assert value(metrics, count, channel="", answer="401") == 1
    assert value(metrics, "relay_answer_seconds_bucket", le="0.005") == 4
    assert value(metrics, "relay_answer_seconds_bucket", le="0.002") == 0


@pytest.mark.parametrize(
    ("outcome", "label"),
    [
        (Response(200), "2xx"),
        (Response(302), "3xx"),
        (Response(410), "4xx"),
        (Response(503), "5xx"),
        (Response(999), "9xx"),
        *((Failure(kind), kind.value) for kind in FailureKind),
    ],
)
def test_attempts_are_counted_by_outcome(outcome: Outcome, label: str) -> None:
    metrics = Metrics()
    metrics.attempt("chatwoot", outcome)
    count = "relay_attempts_total"
    assert value(metrics, count, channel="chatwoot", outcome=label) == 1


def test_how_long_after_their_arrival_webhooks_were_taken() -> None:
    metrics = Metrics()
    for seconds in (0.004, 0.3, 90_000):
        metrics.delivered("chatwoot", seconds)
    bucket, of = "relay_delivery_seconds_bucket", {"channel": "chatwoot"}
    assert value(metrics, bucket, le="0.005", **of) == 1
    assert value(metrics, bucket, le="86400.0", **of) == 2
    assert value(metrics, bucket, le="+Inf", **of) == 3


def test_servers_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.connections.set(3)
    assert value(one, "relay_connections") == 3
    assert value(other, "relay_connections") == 0


def test_the_text_is_what_prometheus_reads() -> None:
    metrics = Metrics()
    metrics.answered(CHANNEL, 200, 0.1)
    text = metrics.text().decode()
    assert 'relay_webhooks_total{answer="200",channel="chatwoot"} 1.0\n' in text
    assert "# TYPE relay_answer_seconds histogram\n" in text
    assert "process_resident_memory_bytes" in text
