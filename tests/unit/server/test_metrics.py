"""What the server counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_protocol.values import Failure, FailureKind, Outcome, Response
from relay_server.configs import ChannelConfig
from relay_server.metrics import CANARY, DELIVERY_BUCKETS, Metrics, Times
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


@given(st.lists(st.floats(0, 100_000)))
def test_times_together_count_as_each_by_itself(seconds: list[float]) -> None:
    one_by_one, together = Times(DELIVERY_BUCKETS), Times(DELIVERY_BUCKETS)
    for each in seconds:
        one_by_one.add(each)
    together.add_all(seconds)
    assert together.buckets() == one_by_one.buckets()
    assert together.total_s == pytest.approx(one_by_one.total_s)


def test_summing_up_keeps_what_was_counted_and_no_notes() -> None:
    metrics = Metrics()
    for _ in range(2):
        metrics.answered(CHANNEL, 200, 0.1)
        metrics.attempt("chatwoot", Response(200))
        metrics.delivered("chatwoot", 0.1)
        metrics.sum_up()
    notes = metrics._per_webhook
    assert not notes.answered
    assert not notes.attempts
    assert not notes.delivered
    assert value(metrics, "relay_webhooks_total", channel="chatwoot", answer="200") == 2
    assert value(metrics, "relay_attempts_total", channel="chatwoot", outcome="2xx") == 2
    assert value(metrics, "relay_delivery_seconds_count", channel="chatwoot") == 2
    assert value(metrics, "relay_answer_seconds_sum") == pytest.approx(0.2)


def test_canaries_share_a_label() -> None:
    metrics = Metrics()
    for name in ("canary-1", "canary-2"):
        metrics.answered(Channel(2, name, ChannelConfig(), 0), 200, 0.1)
        metrics.attempt(name, Response(200))
        metrics.delivered(name, 0.1)
    assert value(metrics, "relay_webhooks_total", channel=CANARY, answer="200") == 2
    assert value(metrics, "relay_attempts_total", channel=CANARY, outcome="2xx") == 2
    assert value(metrics, "relay_delivery_seconds_count", channel=CANARY) == 2


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
