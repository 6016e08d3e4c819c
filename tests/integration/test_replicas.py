"""Two servers on one PostgreSQL: whatever one is asked, both do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import psycopg
import pytest

from tests.support.chatwoot import message
from tests.support.feeds import FeedReader
from tests.support.postgres import Cluster, need_postgres
from tests.support.processes import Json, ending, free_port
from tests.support.proxy import Proxy
from tests.support.relay import Relay, make_reader, running
from tests.support.senders import post_all, request
from tests.support.target import Target, open_target
from tests.support.waiting import until, until_true

KEY = "c2VhbHMgd2hhdCBib3RoIG9wZW4sIDMyIGJ5dGVzISE="
NOWHERE = "http://127.0.0.1:1"
# Looks and signs of life that a test need not wait for.
SOON = [("relay_server.web.reach", name, 0.1) for name in ("LOOK_S", "LASTING_S")]
SOON += [("relay_server.store.postgres.neighbours", "BEAT_S", 0.1)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL that keeps what it is told."""
    need_postgres()
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
async def replicas(
    cluster: Cluster, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[Relay, Relay]]:
    """Two that run; the same token sends to both."""
    url = cluster.create(request.node.name)
    settings = {"store_url": url, "secret_key": KEY, "forward_allow": "127.0.0.1"}
    announced: str = getattr(request, "param", "http://127.0.0.1:{}")
    async with AsyncExitStack() as stack:
        first, second = (
            Relay(tmp_path / name, port=port, replica_url=announced.format(port), **settings)
            for name, port in (("a", str(free_port())), ("b", str(free_port())))
        )
        for relay in (first, second):
            relay.folder.mkdir()
        first = await stack.enter_async_context(running(first))
        stack.enter_context(ending(second.processes))
        await second.start()
        second.send_token = first.send_token
        yield first, second


@pytest.fixture
async def bridged(
    replicas: tuple[Relay, Relay], target: Target
) -> AsyncIterator[tuple[Target, Target]]:
    """Targets of two clients that share a subscription, one at each."""
    first, second = replicas
    token = await make_reader("ana", first, second)
    async with open_target() as other:
        await first.connect(token, "--share", "--to", target.address)
        client = await second.connect(token, "--share", "--to", other.address)
        yield target, other
        assert client.alive, client.errors


async def settled(relay: Relay) -> bool:
    """Whether nothing waits."""
    return await relay.backlog() == 0


async def event_of(relay: Relay, answered: str) -> str:
    """The id of the event that an id leads to, once it is stored."""

    async def found() -> str:
        with suppress(AssertionError):  # it waits in a spool
            return str((await relay.control("GET", f"events/{answered}"))["id"])
        return ""

    return await until_true(found)


async def test_what_comes_to_either_reaches_a_client_in_order(
    replicas: tuple[Relay, Relay], target: Target
) -> None:
    first, second = replicas
    await second.connect(await make_reader("ana", first, second), "--to", target.address)

    for n in range(20):
        relay = replicas[n % 2]
        answer = await relay.send(message(relay.send_token, 1, n))
        assert answer.status == 200

    await target.received(20)

    async def are_listed() -> bool:  # the one that stored the last of them tells the other
        return len(await first.events()) == 20

    await until_true(are_listed)
    assert [event["id"] for event in reversed(await first.events())] == target.event_ids


async def test_what_is_edited_at_one_is_told_by_the_feed_of_the_other(
    replicas: tuple[Relay, Relay],
) -> None:
    first, second = replicas
    token = await make_reader("ana", first, second)
    client = await first.connect(token, "--to", NOWHERE.removeprefix("http://"))
    reader = FeedReader(second.port, token, edited=1)
    async with reader.reading():
        await reader.got("beat")
        made = await first.control("POST", "events", {"subscription": "ana"})
        [told] = await reader.got("event")
    assert (told["id"], told["edited"]) == (made["id"], True)
    assert client.alive, client.errors


async def test_one_that_comes_twenty_times_at_once_to_both_is_stored_once(
    replicas: tuple[Relay, Relay],
) -> None:
    """The control is beside it: without its sender's id each of them counts."""
    first, second = replicas
    named = request(headers=[("X-Chatwoot-Delivery", "d-1")], token=first.send_token)
    plain = request(token=first.send_token)
    for raw, count in ((named, 1), (plain, 20)):
        posts = [relay.send(raw) for relay in (first, second) for _ in range(10)]
        answers = await asyncio.gather(*posts)
        assert [answer.status for answer in answers] == [200] * 20
        # A server that has no time may have spooled its own: each id leads to the one all the same.
        found = [await event_of(first, answer.json["id"]) for answer in answers]
        assert len(set(found)) == count


async def test_the_client_moves_to_the_other_when_its_server_is_killed(
    replicas: tuple[Relay, Relay], target: Target
) -> None:
    first, second = replicas
    token = await make_reader("ana", first, second)
    await first.connect(token, "--to", target.address)
    await first.send(message(first.send_token, 1, 0))
    await target.received(1)
    await until_true(lambda: settled(first))

    first.server.kill()
    await second.connect(token, "--to", target.address)
    await post_all(second.port, [message(second.send_token, 1, n) for n in range(1, 5)])

    await target.received(5)
    assert len(set(target.event_ids)) == 5


async def test_each_knows_of_the_other_and_of_its_end(replicas: tuple[Relay, Relay]) -> None:
    first, second = replicas

    async def names() -> list[str]:
        database = (await first.control("GET", "status"))["store"]["database"]
        return [one["name"] for one in database["replicas"] if one["alive"]]

    assert len(await names()) == 2
    second.server.terminate()
    assert await second.server.exit_status() == 0
    assert len(await names()) == 1


async def test_a_second_connection_at_the_other_takes_over(
    replicas: tuple[Relay, Relay], target: Target
) -> None:
    first, second = replicas
    token = await make_reader("ana", first, second)
    async with open_target() as later:
        old = await first.connect(token, "--to", target.address)
        await second.connect(token, "--to", later.address)

        assert await old.exit_status() == 5
        await first.send(message(first.send_token, 1, 1))
        await later.received(1)


async def test_a_token_revoked_at_one_is_refused_by_both(
    replicas: tuple[Relay, Relay], target: Target
) -> None:
    first, second = replicas
    client = await second.connect(await make_reader("ana", first, second), "--to", target.address)

    await first.control("DELETE", "tokens/ana")

    assert await client.exit_status() == 4


async def test_a_forward_is_run_by_one_and_taken_over_by_the_other(
    replicas: tuple[Relay, Relay], target: Target
) -> None:
    first, _ = replicas
    body = {"channel": "chatwoot", "name": "forward", "url": f"http://{target.address}/webhook"}
    await first.control("POST", "forwards", body)
    await first.send(message(first.send_token, 1, 1))
    await target.received(1)

    async def runs(relay: Relay) -> bool:
        [forward] = (await relay.control("GET", "status"))["subscriptions"]
        return bool(forward["connected"])

    running = [relay for relay in replicas if await runs(relay)]
    assert len(running) == 1
    [other] = [relay for relay in replicas if relay not in running]
    running[0].server.terminate()
    await until_true(lambda: runs(other))
    await other.send(message(other.send_token, 1, 2))

    await target.received(2)
    assert len(set(target.event_ids)) == 2


async def test_those_that_share_do_so_over_both(
    replicas: tuple[Relay, Relay], bridged: tuple[Target, Target]
) -> None:
    """Each conversation at one of them at a time, in order, whichever server it came to."""
    for n in range(40):
        relay = replicas[n % 2]
        assert (await relay.send(message(relay.send_token, n % 8, n))).status == 200
    await until_true(lambda: settled(replicas[0]))

    ids = [target.event_ids for target in bridged]
    assert all(ids)
    assert len({*ids[0], *ids[1]}) == len(ids[0]) + len(ids[1]) == 40


async def test_one_that_shares_takes_what_another_leaves_with_its_server(
    replicas: tuple[Relay, Relay], bridged: tuple[Target, Target]
) -> None:
    """Its bridge led to the server that was killed: it comes back to its own, and has all."""
    first, second = replicas
    first.server.kill()
    for n in range(10):
        assert (await second.send(message(second.send_token, n, n))).status == 200
    await until_true(lambda: settled(second), 60.0)
    assert len(bridged[1].event_ids) == 10


async def test_those_that_share_come_at_once_to_both(
    replicas: tuple[Relay, Relay], target: Target
) -> None:
    """Both servers claim it; nobody is sent away for good."""
    first, second = replicas
    token = await make_reader("ana", first, second)
    async with open_target() as other:
        clients = await asyncio.gather(
            *(
                relay.connect(token, "--share", "--to", at.address)
                for relay, at in zip(replicas, (target, other), strict=True)
            )
        )
        for n in range(40):
            assert (await first.send(message(first.send_token, n, n))).status == 200
        await until_true(lambda: settled(second))
        assert all(client.alive for client in clients)
        assert len({*target.event_ids, *other.event_ids}) == 40


@pytest.mark.parametrize("replicas", [NOWHERE], indirect=True, ids=["nowhere"])
async def test_servers_that_cannot_reach_each_other_do_not_fight_over_who_shares(
    replicas: tuple[Relay, Relay], cluster: Cluster, target: Target, request: pytest.FixtureRequest
) -> None:
    """The one that lost it refuses, and says why; once nobody has it, it serves again."""
    first, second = replicas
    token = await make_reader("ana", first, second)

    def epoch() -> int:
        with psycopg.connect(cluster.url(request.node.name[:63])) as connection:
            [(epoch,)] = connection.execute("SELECT epoch FROM relay.subscriptions").fetchall()
        return int(epoch)

    async with open_target() as other:
        ana = await first.connect(token, "--share", "--to", target.address)
        bia = await second.connect(token, "--share", "--to", other.address)
        await until(lambda: "cannot reach it" in first.server.errors)
        before = epoch()
        for n in range(10):
            assert (await first.send(message(first.send_token, n, n))).status == 200
        await other.received(10)
        assert (epoch(), target.event_ids) == (before, [])

        bia.terminate()
        assert await bia.exit_status() == 0
        assert (await first.send(message(first.send_token, 1, 10))).status == 200
        await target.received(1)
        assert ana.alive, ana.errors


async def test_both_tell_who_reaches_whom_not_until_it_is_mended(
    cluster: Cluster, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A port that is closed, one that leads elsewhere, as a balancer's may, then the right one."""
    url, ports, proxy = cluster.create(request.node.name), (free_port(), free_port()), Proxy()
    addresses = (f"http://127.0.0.1:{ports[0]}", proxy.url)
    first, second = (
        Relay(tmp_path / name, store_url=url, secret_key=KEY, port=str(port), replica_url=address)
        for name, port, address in zip("ab", ports, addresses, strict=True)
    )
    for relay in (first, second):
        relay.folder.mkdir()
        relay.constants = [*SOON]

    async def database(relay: Relay) -> Json:
        return dict((await relay.control("GET", "status"))["store"]["database"])

    async def missed(why: str) -> Json:
        """What the second says of what the first cannot reach."""
        return next((m for m in (await database(second))["unreached"] if m["why"] == why), {})

    async with running(first):
        [own] = (await database(first))["replicas"]
        with ending(second.processes):
            await second.start()
            closed = f"{proxy.url} cannot be reached: Connection refused"
            one = await until_true(lambda: missed(closed))
            assert one["by"] == own["name"]
            assert (await database(first))["unreached"] == [one]
            status, said, _ = first.command("status")
            assert (status, " cannot reach " in said) == (0, True)
            assert "relay_replicas_missed 1.0" in await first.metrics()

            proxy.server_ports.append(first.port)
            await proxy.start()
            again = await until_true(lambda: missed(f"another server answers at {proxy.url}"))
            assert again["since"] == one["since"]

            proxy.server_ports[0] = second.port

            async def are_all_reached() -> bool:
                return not (await database(second))["unreached"]

            await until_true(are_all_reached)
            assert "relay_replicas_missed 0.0" in await first.metrics()
            await proxy.stop()
