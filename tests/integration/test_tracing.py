"""Traces of a real server reach a collector, and go on in the target."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.chatwoot import message
from tests.support.processes import free_port
from tests.support.relay import open_relay
from tests.support.target import Target
from tests.support.waiting import until


class Collector:
    """Takes what is exported by OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.port = free_port()

    async def take(self, request: web.Request) -> web.Response:
        assert request.path == "/v1/traces"
        exported = ExportTraceServiceRequest.FromString(await request.read())
        for resource in exported.resource_spans:
            for scope in resource.scope_spans:
                self.spans += scope.spans
        return web.Response()


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    collector = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", collector.port).start()
    yield collector
    await runner.cleanup()


async def test_a_webhook_is_one_trace(tmp_path: Path, collector: Collector, target: Target) -> None:
    url = f"http://127.0.0.1:{collector.port}"
    async with open_relay(tmp_path, otlp_url=url) as relay:
        token = await relay.make_token("ana", "subscribe")
        await relay.connect(token, "--to", f"localhost:{target.port}")
        await relay.send(message(relay.send_token, 7, 1))
        await until(lambda: len(target.arrivals) == 1)
        await relay.becomes("channels/chatwoot/subscriptions/ana", backlog=0)
        await asyncio.to_thread(relay.server.end)  # what is left is sent at a stop
        await until(lambda: len(collector.spans) == 3)

    spans = {span.name: span for span in collector.spans}
    [trace] = {span.trace_id for span in collector.spans}
    assert spans["deliver"].parent_span_id == spans["ingest"].span_id
    assert spans["target"].parent_span_id == spans["deliver"].span_id
    sent = target.arrivals[0].header(b"traceparent").decode()
    assert sent == f"00-{trace.hex()}-{spans['target'].span_id.hex()}-01"
