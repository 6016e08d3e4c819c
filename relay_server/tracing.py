"""Traces for OpenTelemetry: what became of a webhook, from its arrival to the target's answer.

    ingest (received … stored) ─┬─ deliver, attempt 1 ── target ── the target's own spans
                                └─ deliver, attempt 2 ── target ── …

Nothing of a trace is stored. Its number is the sender's (`traceparent`, W3C Trace Context), or else
a digest of the event's id; so is the span of the event's arrival, which deliveries name as their
parent after a restart, too, and in another replica. Spans are made once they have ended, and sent
by a thread of the SDK's: nothing waits for them, and what finds no room there is left out.

It is imported only where `RELAY_SERVER_OTLP_URL` is set, and takes the extra `relay-tunnel[otel]`.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from hashlib import blake2b

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from relay_protocol.values import Delivery, EventHead, Outcome, Response
from relay_server.clock import Clock
from relay_server.store.feed import EventsStored
from relay_server.store.interface import Store

MAX_UNDER_WAY = 10_000  # deliveries whose beginning is remembered; the oldest are not traced
EXPORT_TIMEOUT_S = 5.0  # for the collector to take what is sent to it

_TRACEPARENT = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_NS_OF_MS = 1_000_000


class _Ids(IdGenerator):
    """Gives numbers that were chosen before, and otherwise random ones."""

    def __init__(self) -> None:
        self.next_trace = self.next_span = 0
        self._random = RandomIdGenerator()

    def generate_trace_id(self) -> int:
        given, self.next_trace = self.next_trace, 0
        return given or self._random.generate_trace_id()

    def generate_span_id(self) -> int:
        given, self.next_span = self.next_span, 0
        return given or self._random.generate_span_id()


class Tracing:
    """Makes spans of webhooks and deliveries, and has them sent to a collector.

    Args:
        url: Of the collector, such as `http://collector:4318`.
        ratio: The share of traces that are kept, from 0 to 1, where the sender does not say.
        version: The server's.
        processor: Takes the spans in place of sending them.
    """

    def __init__(
        self, url: str, ratio: float, version: str, processor: SpanProcessor | None = None
    ) -> None:
        self._sampler = TraceIdRatioBased(ratio)
        self._ids = _Ids()
        self._under_way = OrderedDict[tuple[str, int], Span]()
        endpoint = f"{url.rstrip('/')}/v1/traces"
        self._provider = TracerProvider(
            ParentBased(self._sampler),
            Resource.create({SERVICE_NAME: "relay-server", SERVICE_VERSION: version}),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            processor or BatchSpanProcessor(OTLPSpanExporter(endpoint, timeout=EXPORT_TIMEOUT_S))
        )
        self._tracer = self._provider.get_tracer("relay")

    def follow(self, store: Store, clock: Clock) -> None:
        """Make a span of each event that is stored from now on."""

        def stored(change: EventsStored) -> None:
            channel, now = store.catalog.numbered(change.channel), clock.unix_ms()
            for event in change.events:
                self._ingested(channel.name if channel else "", event.head, now)

        store.feed.listen(EventsStored, stored)

    def lent(self, channel: str, subscription: str, delivery: Delivery, now_ms: int) -> str:
        """A delivery is on its way to who posts it: the `traceparent` that it is to carry."""
        span = self._tracer.start_span(
            "deliver",
            _inside(self._arrival(delivery.event)),
            SpanKind.PRODUCER,
            {
                "relay.channel": channel,
                "relay.subscription": subscription,
                "relay.event": delivery.event.id,
                "relay.attempt": delivery.attempt,
                "relay.replay": delivery.replay,
            },
            start_time=now_ms * _NS_OF_MS,
        )
        self._under_way[delivery.id, delivery.attempt] = span
        if len(self._under_way) > MAX_UNDER_WAY:
            self._under_way.popitem(last=False)
        context = span.get_span_context()
        target = _digest(f"{context.span_id:016x} target", 8)
        return f"00-{context.trace_id:032x}-{target:016x}-{int(context.trace_flags):02x}"

    def ended(self, delivery: str, attempt: int, outcome: Outcome, now_ms: int) -> None:
        """An attempt's result is there; the target had it for so long as the outcome says."""
        span = self._under_way.pop((delivery, attempt), None)
        if span is None:
            return
        self._ids.next_span = _digest(f"{span.get_span_context().span_id:016x} target", 8)
        target = self._tracer.start_span(
            "target",
            set_span_in_context(span),
            SpanKind.CLIENT,
            start_time=(now_ms - outcome.elapsed_ms) * _NS_OF_MS,
        )
        for one in (target, span):
            if isinstance(outcome, Response):
                one.set_attribute("http.response.status_code", outcome.status)
            else:
                one.set_attribute("error.type", outcome.kind.value)
            if not outcome.delivered:
                one.set_status(Status(StatusCode.ERROR))
            one.end(now_ms * _NS_OF_MS)

    def close(self) -> None:
        """Send what was not sent yet; it may take as long as the collector may."""
        self._provider.shutdown()

    def _ingested(self, channel: str, head: EventHead, now_ms: int) -> None:
        sender, arrival = _sent(head), self._arrival(head)
        self._ids.next_trace, self._ids.next_span = arrival.trace_id, arrival.span_id
        span = self._tracer.start_span(
            "ingest",
            _inside(sender) if sender else Context(),
            SpanKind.SERVER,
            {
                "relay.channel": channel,
                "relay.event": head.id,
                "relay.kind": head.kind,
                "http.request.method": head.request.method,
            },
            start_time=head.received_at * _NS_OF_MS,
        )
        span.end(now_ms * _NS_OF_MS)

    def _arrival(self, head: EventHead) -> SpanContext:
        """The span of an event's arrival, whoever made it and when."""
        sender, span = _sent(head), _digest(f"{head.id} ingest", 8)
        if sender is not None:
            return SpanContext(
                sender.trace_id, span, is_remote=True, trace_flags=sender.trace_flags
            )
        trace = _digest(head.id, 16)
        kept = self._sampler.should_sample(None, trace, "").decision is not Decision.DROP
        flags = TraceFlags(TraceFlags.SAMPLED if kept else TraceFlags.DEFAULT)
        return SpanContext(trace, span, is_remote=True, trace_flags=flags)


def _sent(head: EventHead) -> SpanContext | None:
    """The sender's own span, if it sent one."""
    sent = next((v for n, v in head.request.headers if n.lower() == b"traceparent"), b"")
    given = _TRACEPARENT.fullmatch(sent.strip())
    if given is None:
        return None
    trace, span, flags = (int(part, 16) for part in given.groups())
    context = SpanContext(trace, span, is_remote=True, trace_flags=TraceFlags(flags & 1))
    return context if context.is_valid else None


def _inside(context: SpanContext) -> Context:
    return set_span_in_context(NonRecordingSpan(context), Context())


def _digest(text: str, size: int) -> int:
    """A number of so many bytes that is the same for the same text, and never 0."""
    return int.from_bytes(blake2b(text.encode(), digest_size=size).digest()) or 1
