"""Who gets what: several developers, several channels, one name twice, a token that is revoked."""

from __future__ import annotations

from tests.support.chatwoot import message
from tests.support.relay import Relay
from tests.support.senders import post_all
from tests.support.target import Target, open_target


async def test_two_developers_get_everything_and_another_channel_gets_nothing(
    relay: Relay, target: Target
) -> None:
    await relay.control("POST", "channels", {"name": "other"})
    token = await relay.make_token("outsider", "subscribe", "other")
    async with open_target() as second, open_target() as foreign:
        await relay.connect(await relay.make_token("ana", "subscribe"), "--to", target.address)
        await relay.connect(await relay.make_token("joao", "subscribe"), "--to", second.address)
        await relay.connect(token, "--to", f"other={foreign.address}")

        webhooks = [message(relay.send_token, n % 5, n) for n in range(50)]
        answers = await post_all(relay.port, webhooks)
        alien = await relay.send(message(relay.send_token, 1, 1, "/c/other/webhook"))
        await target.received(50)
        await second.received(50)
        await foreign.received(1)

        ids = sorted(answer.json["id"] for answer in answers)
        assert sorted(target.event_ids) == sorted(second.event_ids) == ids
        assert foreign.event_ids == [alien.json["id"]]


async def test_a_second_client_takes_over_and_the_first_says_why(
    relay: Relay, target: Target
) -> None:
    token = await relay.make_token("ana", "subscribe")
    async with open_target() as later:
        first = await relay.connect(token, "--to", target.address)
        await relay.send(message(relay.send_token, 1, 1))
        await target.received(1)

        second = await relay.connect(token, "--to", later.address)

        assert await first.exit_status() == 5
        assert "connected from" in first.errors
        assert "--as NAME" in first.errors
        [ended] = first.lines("ended")
        assert ended["exit_status"] == 5
        await relay.send(message(relay.send_token, 1, 2))
        await later.received(1)
        assert len(target.arrivals) == 1
        assert second.alive


async def test_a_revoked_developer_is_cut_off(relay: Relay, target: Target) -> None:
    client = await relay.connect(await relay.make_token("ana", "subscribe"), "--to", target.address)

    await relay.control("DELETE", "tokens/ana")

    assert await client.exit_status() == 4
    assert "revoked" in client.errors


async def test_a_client_for_a_foreign_channel_is_refused(relay: Relay, target: Target) -> None:
    await relay.control("POST", "channels", {"name": "other"})
    token = await relay.make_token("ana", "subscribe", "chatwoot")
    for channel in ("other", "unknown"):
        client = relay.begin_connect(token, "--to", f"{channel}={target.address}")

        assert await client.exit_status() == 4
        assert channel in client.errors


async def test_a_new_reader_may_start_in_the_past(relay: Relay, target: Target) -> None:
    for number in range(3):
        await relay.send(message(relay.send_token, 1, number))
    token = await relay.make_token("ana", "subscribe")

    async with open_target() as now:
        await relay.connect(token, "--to", now.address)
        await relay.connect(token, "--to", target.address, "--as", "all", "--since", "beginning")
        await target.received(3)

        assert now.arrivals == []
