"""Traces: one for each webhook, from its arrival to the target's answer."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from relay_protocol.values import Delivery, Failure, FailureKind, HeaderList, Outcome, Response
from relay_server import tracing
from relay_server.app import load_tracing
from relay_server.configs import ChannelConfig
from relay_server.errors import InvalidValue
from relay_server.settings import ServerSettings
from relay_server.tracing import Tracing
from tests.support import events
from tests.support.clock import START_MS, VirtualClock
from tests.support.stores import MemoryStore

SENT: HeaderList = ((b"Traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),)


class Traced:
    """What was traced, by the names of the spans."""

    def __init__(self, ratio: float = 1.0) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracing = Tracing("http://x", ratio, "1.0", SimpleSpanProcessor(self.exporter))
        self.clock = VirtualClock()

    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}

    async def ingest(self, headers: HeaderList = ()) -> Delivery:
        """Have an event stored, and give the first delivery of it."""
        store = MemoryStore()
        channel = await store.create_channel("chatwoot", ChannelConfig(), START_MS)
        self.tracing.follow(store, self.clock)
        head = events.request(headers=headers)
        new = events.new_event(head=head, received_at=self.clock.unix_ms() - 3)
        await store.append(channel.number, new)
        [stored] = await store.fetch(channel.number, [1])
        return Delivery("1.1", 1, "chatwoot", 1, False, stored.head, stored.body)

    def deliver(self, delivery: Delivery, outcome: Outcome) -> str:
        traceparent = self.tracing.lent("chatwoot", "ana", delivery, self.clock.unix_ms())
        self.clock.advance(0.05)
        self.tracing.ended(delivery.id, delivery.attempt, outcome, self.clock.unix_ms())
        return traceparent


@pytest.fixture
def traced() -> Iterator[Traced]:
    traced = Traced()
    yield traced
    traced.tracing.close()


def parts(traceparent: str) -> tuple[int, int, int]:
    found = re.fullmatch(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", traceparent)
    assert found
    trace, span, flags = (int(part, 16) for part in found.groups())
    return trace, span, flags


def ids(span: ReadableSpan) -> tuple[int, int, int | None]:
    """Trace, span, and the parent's span."""
    context = span.get_span_context()
    assert context is not None
    return context.trace_id, context.span_id, span.parent.span_id if span.parent else None


def milliseconds(span: ReadableSpan) -> float:
    return ((span.end_time or 0) - (span.start_time or 0)) / 1_000_000


async def test_one_trace_from_arrival_to_answer(traced: Traced) -> None:
    delivery = await traced.ingest()
    traceparent = traced.deliver(delivery, Response(200, elapsed_ms=20))

    spans = traced.spans()
    trace, target, flags = parts(traceparent)
    _, ingest, _ = ids(spans["ingest"])
    _, deliver, _ = ids(spans["deliver"])
    assert flags == 1
    assert {name: ids(span) for name, span in spans.items()} == {
        "ingest": (trace, ingest, None),
        "deliver": (trace, deliver, ingest),
        "target": (trace, target, deliver),
    }
    took = {name: milliseconds(span) for name, span in spans.items()}
    assert took == {"ingest": 3.0, "deliver": 50.0, "target": 20.0}
    assert dict(spans["deliver"].attributes or {}) == {
        "relay.channel": "chatwoot",
        "relay.subscription": "ana",
        "relay.event": delivery.event.id,
        "relay.attempt": 1,
        "relay.replay": False,
        "http.response.status_code": 200,
    }


async def test_the_senders_trace_goes_on(traced: Traced) -> None:
    traceparent = traced.deliver(await traced.ingest(SENT), Response(200))
    trace, parent, _ = parts(SENT[0][1].decode())
    assert parts(traceparent)[0] == trace
    assert ids(traced.spans()["ingest"])[2] == parent


@pytest.mark.parametrize(
    "sent", [b"", b"00-0-0-01", b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01", b"\xff"]
)
async def test_what_is_no_trace_of_the_senders_begins_a_new_one(
    traced: Traced, sent: bytes
) -> None:
    await traced.ingest(((b"traceparent", sent),))
    assert ids(traced.spans()["ingest"])[2] is None


async def test_each_attempt_has_a_span_and_failures_are_marked(traced: Traced) -> None:
    delivery = await traced.ingest()
    traced.deliver(delivery, Failure(FailureKind.NETWORK, "reset"))
    again = msgspec.structs.replace(delivery, attempt=2)
    traced.deliver(again, Response(503))
    told = [
        (span.attributes["relay.attempt"], span.status.status_code.name)
        for span in traced.exporter.get_finished_spans()
        if span.name == "deliver" and span.attributes
    ]
    assert told == [(1, "ERROR"), (2, "ERROR")]


async def test_another_process_goes_on_with_the_same_trace(traced: Traced) -> None:
    """As after a restart: it never saw the event arrive."""
    delivery, other = await traced.ingest(), Traced()
    trace, *_ = parts(other.deliver(delivery, Response(200)))
    ingest = ids(traced.spans()["ingest"])
    assert (trace, ids(other.spans()["deliver"])[2]) == ingest[:2]
    other.tracing.close()


async def test_what_is_left_out_is_left_out_as_a_whole() -> None:
    traced = Traced(ratio=0.0)
    traceparent = traced.deliver(await traced.ingest(), Response(200))
    assert parts(traceparent)[2] == 0
    assert traced.spans() == {}
    traced.deliver(await traced.ingest(SENT), Response(200))
    assert set(traced.spans()) == {"ingest", "deliver", "target"}  # the sender asked for it
    traced.tracing.close()


async def test_deliveries_that_never_end_are_forgotten(
    traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "MAX_UNDER_WAY", 1)
    delivery = await traced.ingest()
    traced.tracing.lent("chatwoot", "ana", delivery, START_MS)
    traced.tracing.lent("chatwoot", "ana", msgspec.structs.replace(delivery, id="1.2"), START_MS)
    traced.tracing.ended("1.1", 1, Response(200), START_MS)
    assert set(traced.spans()) == {"ingest"}


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "relay_server.tracing", None)
    settings = ServerSettings(data_dir=tmp_path)
    assert load_tracing(settings) is None
    with pytest.raises(InvalidValue, match=r"pip install 'relay-tunnel\[otel\]'"):
        load_tracing(dataclasses.replace(settings, otlp_url="http://collector:4318"))
