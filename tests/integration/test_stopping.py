"""Stopping either end on request, and what the other end does."""

from __future__ import annotations

import contextlib
import hmac
import os
import select
import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.support.chatwoot import message, spoken
from tests.support.processes import Running, ending
from tests.support.relay import Relay, running
from tests.support.senders import connection, load, request
from tests.support.target import Target, gated
from tests.support.waiting import Stopwatch, until

SIGNALLED_AT_EXIT = """
import atexit, os, signal
atexit.register(os.kill, os.getpid(), signal.SIGTERM)
from relay_server.cli import main
main()
"""


async def ends_in_time(relay: Relay) -> None:
    """A server that was told to stop ends within the 20 s that are promised."""
    watch = Stopwatch()
    assert await relay.server.exit_status() == 0
    assert watch.elapsed_s < 20


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_a_server_that_is_stopped_ends_with_0_and_its_client_comes_back_quietly(
    relay: Relay, target: Target
) -> None:
    client = await relay.connect(await relay.make_token("ana", "subscribe"), "--to", target.address)
    await relay.send(message(relay.send_token, 1, 1))
    await target.received(1)

    relay.server.terminate()
    assert await relay.server.exit_status() == 0
    await relay.start()
    await client.said("reconnected")
    await relay.send(message(relay.send_token, 1, 2))
    await target.received(2)

    assert client.errors == ""
    assert len(client.lines("reconnecting")) == 1
    assert client.lines("failed") == []
    assert {arrival.attempt for arrival in target.arrivals} == {1}


async def test_what_let_somebody_in_last_is_known_after_a_restart(relay: Relay) -> None:
    body = b'{"event": "a"}'
    rules = {"hmac_scheme": "github", "hmac_secrets": ["old", "new"]}
    await relay.control("PATCH", "channels/chatwoot", rules)
    proof = f"sha256={hmac.new(b'new', body, 'sha256').hexdigest()}"
    headers = [("X-Hub-Signature-256", proof)]
    signed = request("/webhook", body, headers, token=relay.send_token)
    assert (await relay.send(signed)).status == 200
    before = await relay.control("GET", "channels/chatwoot/secrets")
    assert [one["verified_at"] is None for one in before["secrets"]] == [True, False]

    relay.server.terminate()
    await ends_in_time(relay)
    await relay.start()

    assert await relay.control("GET", "channels/chatwoot/secrets") == before


async def test_a_restart_under_load_cuts_nobody_off(relay: Relay, target: Target) -> None:
    """Whoever has a connection gets an answer, and what was answered 2xx is delivered in order."""
    await relay.connect(await relay.make_token("ana", "subscribe"), "--to", target.address)
    token = relay.send_token
    async with (
        load(relay.port, lambda c, n: message(token, c, n)) as kept,
        load(relay.port, lambda c, n: message(token, 100 + c, n), keep=False) as fresh,
    ):
        await target.received(100)
        relay.server.terminate()
        await ends_in_time(relay)
        assert (kept.refused, kept.cut) == ([], 0)
        assert (fresh.refused, fresh.cut) == ([], 0)
        await relay.start()
        for going in (kept, fresh):
            await going.accepts(50)
            await going.stop()
    await until(lambda: kept.accepted | fresh.accepted <= target.seen)

    for conversation, numbers in spoken(target.arrivals).items():
        assert numbers == sorted(set(numbers)), conversation


async def test_what_the_target_has_at_a_stop_is_finished_and_comes_once(
    relay: Relay, target: Target
) -> None:
    goes_on = gated(target)
    client = await relay.connect(await relay.make_token("ana", "subscribe"), "--to", target.address)
    for conversation in range(4):
        await relay.send(message(relay.send_token, conversation, 1))
    await target.received(4)
    relay.server.terminate()
    await until(lambda: "stopping" in relay.server.errors)
    goes_on.set()
    await ends_in_time(relay)
    assert "stopped" in relay.server.errors.splitlines()[-1]
    await relay.start()
    await relay.send(message(relay.send_token, 9, 1))
    await target.received(5)
    await client.said("delivered", 5)

    assert {arrival.attempt for arrival in target.arrivals} == {1}
    assert len(target.arrivals) == 5


async def test_a_webhook_that_is_half_here_is_taken(relay: Relay) -> None:
    """Its sender has all the time that it always has; new ones find the next server."""
    raw = request(body=b"half", token=relay.send_token)
    async with connection(relay.port) as body, connection(relay.port) as head:
        await body.send(raw[:-2])
        await head.send(raw[:50])
        await relay.metrics()  # by now the server has read what came before
        relay.server.terminate()
        await until(lambda: not _listens(relay.port))
        answers = [await body.exchange(raw[-2:]), await head.exchange(raw[50:])]
    assert [answer.status for answer in answers] == [200, 200]
    await ends_in_time(relay)

    await relay.start()
    ids = {event["id"] for event in await relay.events()}
    assert ids == {answer.json["id"] for answer in answers}


async def test_a_request_that_never_ends_holds_a_stop_up_for_20_s_at_most(relay: Relay) -> None:
    token = await relay.make_token("root", "admin")
    async with connection(relay.port) as api, connection(relay.port) as half:
        await api.send(request("/api/v1/tokens", b"", length=10, token=token))
        await half.send(request(body=b"half", length=8, token=relay.send_token))
        await relay.metrics()  # by now the server has read what came before
        relay.server.terminate()
        await ends_in_time(relay)


async def test_a_second_signal_ends_the_server_at_once_and_loses_nothing(
    relay: Relay, target: Target
) -> None:
    """Under load, and while a webhook is waited for whose rest does not come."""
    await relay.connect(await relay.make_token("ana", "subscribe"), "--to", target.address)
    token = relay.send_token
    async with (
        load(relay.port, lambda c, n: message(token, c, n)) as going,
        connection(relay.port) as half,
    ):
        await half.send(request(body=b"half", length=8, token=token))
        await target.received(50)
        relay.server.terminate()
        await until(lambda: "stopping" in relay.server.errors)
        assert not await relay.is_ready()
        relay.server.terminate()
        assert await relay.server.exit_status() == 1
        await going.stop()
    await relay.start()
    await until(lambda: going.accepted <= target.seen)


async def test_a_second_signal_at_the_very_end_changes_nothing(tmp_path: Path) -> None:
    """The interpreter takes a moment to end; the signal's own way would be status -15."""
    relay = Relay(tmp_path)
    program = [sys.executable, "-c", SIGNALLED_AT_EXIT, "serve"]
    with ending(relay.processes):
        relay.server = Running(program, tmp_path / "server", relay.environment)
        relay.processes.append(relay.server)
        await until(lambda: "ready" in relay.server.errors)
        relay.server.terminate()
        await ends_in_time(relay)


async def test_a_stopped_client_finishes_what_its_target_has_and_gives_back_the_rest(
    relay: Relay, target: Target
) -> None:
    goes_on = gated(target)
    token = await relay.make_token("ana", "subscribe")
    client = await relay.connect(token, "--to", target.address)
    for conversation in range(20):
        await relay.send(message(relay.send_token, conversation, 1))
    await target.received(8)

    client.process.send_signal(signal.SIGINT)
    await client.said("stopping")
    goes_on.set()

    assert await client.exit_status() == 0
    assert len(client.lines("delivered")) == 8
    await relay.connect(token, "--to", target.address)
    await target.received(20)
    assert {arrival.attempt for arrival in target.arrivals} == {1}


async def test_a_second_interrupt_does_not_wait_for_the_target(
    relay: Relay, target: Target
) -> None:
    gated(target)
    client = await relay.connect(await relay.make_token("ana", "subscribe"), "--to", target.address)
    await relay.send(message(relay.send_token, 1, 1))
    await target.received(1)

    client.terminate()
    await client.said("stopping")
    client.terminate()

    assert await client.exit_status() == 1
    assert "comes again" in client.errors


async def test_a_client_waits_for_a_relay_that_is_not_there_yet(
    relay: Relay, target: Target
) -> None:
    token = await relay.make_token("ana", "subscribe")
    relay.server.kill()
    client = relay.begin_connect(token, "--to", target.address)
    await client.said("reconnecting")

    await relay.start()
    await client.said("ready")

    assert len(client.lines("reconnecting")) == 1


@pytest.mark.parametrize("log", ["a full disk", "nobody reads"])
async def test_a_log_that_takes_nothing_costs_no_webhook(
    tmp_path: Path, target: Target, log: str
) -> None:
    """The server serves as ever, tells it by its metrics, and ends with 0."""
    relay = Relay(tmp_path, log_level="debug")
    to = tmp_path / "pipe"
    async with contextlib.AsyncExitStack() as stack:
        if log == "a full disk":
            to = Path("/dev/full")
        else:
            os.mkfifo(to)
            pipe = os.open(to, os.O_RDWR | os.O_NONBLOCK)
            stack.callback(os.close, pipe)
            while room := select.select([], [pipe], [], 0)[1]:
                os.write(room[0], b"." * 4_096)
        relay.server_prefix = ["/bin/sh", "-c", f'exec "$@" 2>{to}', "sh"]
        await stack.enter_async_context(running(relay))
        await relay.connect(await relay.make_token("ana", "subscribe"), "--to", target.address)
        refused = await relay.send(message("rly_wrong", 1, 1))
        taken = await relay.send(message(relay.send_token, 1, 2))
        await target.received(1)
        assert "relay_log_lines_lost 0.0" not in await relay.metrics()

        relay.server.terminate()
        assert (refused.status, taken.status) == (401, 200)
        assert await relay.server.exit_status() == 0


async def test_a_client_whose_output_is_lost_delivers_all_the_same(
    relay: Relay, target: Target
) -> None:
    relay.client_prefix = ["/bin/sh", "-c", 'exec "$@" >/dev/full', "sh"]
    token = await relay.make_token("ana", "subscribe")
    client = relay.begin_client(token, "connect", "--output", "plain", "--to", target.address)
    await until(lambda: "cannot be written (No space left on device)" in client.errors)
    for number in (1, 2):
        await relay.send(message(relay.send_token, 1, number))
    await target.received(2)

    client.terminate()
    assert await client.exit_status() == 0
    assert len(client.errors.splitlines()) == 1
