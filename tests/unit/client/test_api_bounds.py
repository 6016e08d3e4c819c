"""A relay that answers too much, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from relay_client import api
from relay_client.api import Api
from relay_client.errors import RelayProblem, RelayUnreachable
from relay_client.relay import Relay
from tests.unit.client.support import TOKEN, fake_relay


@asynccontextmanager
async def silent_relay() -> AsyncIterator[str]:
    """Something that takes connections and says nothing; its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1")
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_relay_that_does_not_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(api, "_TIMEOUT_S", 0.1)

    async with silent_relay() as url, Api(Relay(url, TOKEN)) as asking, asyncio.timeout(5):
        with pytest.raises(RelayUnreachable, match="no answer within"):
            await asking.whoami()


async def test_an_answer_without_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is whole in so many bytes is an answer, and nothing longer."""
    async with fake_relay() as relay, Api(Relay(relay.url, TOKEN)) as asking:
        whole = await asking.channels()
        monkeypatch.setattr(api, "_MAX_ANSWER_BYTES", 50)

        with pytest.raises(RelayProblem, match="is no relay"):
            await asking.channels()

    assert [channel["name"] for channel in whole["channels"]] == ["chatwoot"]
