"""A channel is set up in a Chatwoot: what differs is done, once, and what then comes is taken."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

import msgspec
import pytest

from relay_chatwoot.api import open_chatwoot
from relay_chatwoot.errors import ChatwootError
from relay_client.chatwoot.testing import FakeChatwoot, Fault
from relay_client.chatwoot.testing import open_chatwoot as open_fake
from relay_server.chatwoot.checks import of_chatwoot
from relay_server.chatwoot.errors import ChatwootStopped, ChatwootVersion
from relay_server.chatwoot.install import apply, plan
from relay_server.chatwoot.rotate import removal, rotation
from relay_server.chatwoot.seen import Seen, Wish, check, look
from relay_server.chatwoot.steps import Hands, Step
from relay_server.errors import InvalidValue
from tests.unit.server.asking import Asking, Json
from tests.unit.server.support import Served

ALL: Json = {"webhook": True, "bot": True, "api": True, "inbox": 4, "hand_off": True}
KINDS: dict[str, Json] = {
    "webhook": {},
    "bot": {"webhook": False, "bot": True, "inbox": 4, "hand_off": True},
    "api": {"webhook": False, "api": True},
    "all": ALL,
}
Planned = Callable[[Wish, Seen], Sequence[Step]]


class Host:
    """Installs as the command does, with an administrator's token."""

    def __init__(self, served: Served, admin: Asking, fake: FakeChatwoot) -> None:
        self.served, self.admin, self.fake = served, admin, fake
        self.token, self.account, self.addresses = fake.ADMIN, 2, ["203.0.113.9"]
        self.relay_url = f"http://127.0.0.1:{served.port}"

    async def call(self, method: str, path: str, body: Json | None = None) -> Json:
        return await self.admin.ok(method, path, body)

    async def see(self, inbox: int = 0) -> Seen:
        """What there is."""
        async with open_chatwoot(self.fake.url, self.account, self.token) as chatwoot:
            return await look(chatwoot, self, "chatwoot", inbox, self.addresses)

    async def do(self, planned: Planned = plan, **wish: object) -> list[str]:
        """Do what is planned, and give the codes of the steps."""
        wished = msgspec.convert(
            {"channel": "chatwoot", "relay_url": self.relay_url, "private": True, **wish}, Wish
        )
        seen = await self.see(wished.inbox)
        check(wished, seen)
        steps = planned(wished, seen)
        async with open_chatwoot(self.fake.url, self.account, self.token) as chatwoot:
            url = wished.relay_url + "/webhook"
            await apply(Hands(chatwoot, self, "chatwoot", url), steps)
        return [step.code for step in steps]

    async def wrong(self) -> list[str]:
        """Codes of the findings that are not as they should be."""
        found = of_chatwoot(await self.see(), self.relay_url + "/webhook")
        return [one.code for one in found if one.ok is not True and one.code != "private"]

    async def said(self) -> set[int]:
        """Have a customer write, and give the statuses that the posts were answered."""
        before = len(self.fake.echoes.posted)
        await self.fake.customer_says(318, "olá")
        await self.fake.echoes.settled()
        return {one.status for one in self.fake.echoes.posted[before:]}


def rotated(wish: Wish, seen: Seen) -> Sequence[Step]:
    return rotation(seen, wish.relay_url + "/webhook")


def removed(wish: Wish, seen: Seen) -> Sequence[Step]:
    return removal(seen, wish.relay_url + "/webhook")


@pytest.fixture
async def host(served: Served, admin: Asking) -> AsyncIterator[Host]:
    async with open_fake(echoing=True) as fake:
        fake.echoes.timestamp = served.clock.unix_ms() // 1_000
        fake.add_conversation(318)
        yield Host(served, admin, fake)


@pytest.mark.parametrize("wish", KINDS.values(), ids=KINDS)
async def test_a_second_run_changes_nothing(host: Host, wish: Json) -> None:
    """And what the first one set up is signed, and taken, without a token in any URL."""
    assert await host.do(**wish)
    changes, channel = host.fake.changes, await host.call("GET", "channels/chatwoot/chatwoot")

    assert await host.do(**wish) == []
    assert host.fake.changes == changes
    assert await host.call("GET", "channels/chatwoot/chatwoot") == channel
    if not wish.get("api") or wish.get("webhook"):
        assert await host.said() == {200}
    assert channel["token"] is False
    assert bool(channel["bot_token"]) is bool(wish.get("hand_off"))
    urls = [one["url"] for one in host.fake.webhooks.values()]
    urls += [one["outgoing_url"] for one in host.fake.bots.values()]
    assert set(urls) <= {host.relay_url + "/webhook"}
    assert await host.wrong() == (["double"] if wish == ALL else [])


async def test_a_bot_has_its_inbox_when_the_channel_knows_its_secret(host: Host) -> None:
    steps = ["bot.create", "channel.signature", "inbox.bot", "channel.link"]
    assert await host.do(**KINDS["bot"]) == steps


async def test_what_somebody_set_up_by_hand_is_taken_over(host: Host) -> None:
    """Its URL loses the token only when the channel takes its signature: nothing is refused."""
    token = (
        await host.call("POST", "tokens", {"name": "s", "scopes": ["send"], "channels": None})
    )["token"]
    by_hand = host.relay_url.replace("://", f"://relay:{token}@") + "/webhook"
    host.fake.add_webhook(11, by_hand, ("message_created", "contact_created"))
    assert await host.said() == {200}
    assert await host.wrong() == ["token_in_url"]

    assert await host.do() == ["channel.signature", "webhook.change", "channel.link"]
    assert host.fake.webhooks[11]["url"] == host.relay_url + "/webhook"
    assert host.fake.webhooks[11]["subscriptions"] == ["message_created", "contact_created"]
    assert await host.said() == {200}
    assert await host.do(events=["message_created"]) == ["webhook.change"]


def with_agents_token(host: Host) -> None:
    host.token = host.fake.AGENT


def with_wrong_token(host: Host) -> None:
    host.token = "unknown"


def with_bots_token(host: Host) -> None:
    host.token = str(host.fake.add_bot(9)["access_token"])


def in_another_account(host: Host) -> None:
    host.account = 9


def without_api(host: Host) -> None:
    host.fake.api_enabled = False


def of_4_16_0(host: Host) -> None:
    host.fake.version = "4.16.0"


def of_4_14_1(host: Host) -> None:
    host.fake.version = "4.14.1"


async def test_what_signs_nothing_takes_no_channel_that_asks_for_signatures(host: Host) -> None:
    """4.12 signs an account's webhooks, and nothing else."""
    host.fake.version = "4.12.1"
    await host.do()
    changes = list(host.fake.changes)
    with pytest.raises(ChatwootVersion, match=r"4\.12\.1 .*since 4\.13.*channel of their own"):
        await host.do(webhook=False, bot=True, inbox=4)
    assert host.fake.changes == changes
    assert await host.said() == {200}


async def test_a_bots_token_does_not_go_without_a_word(host: Host) -> None:
    await host.do(**KINDS["bot"])
    wish = Wish("chatwoot", host.relay_url, False, True, inbox=4, private=True)
    [step] = plan(wish, await host.see(4))
    assert "FORGET ITS BOT'S ACCESS TOKEN" in step.text


async def test_more_secrets_than_a_channel_takes_are_not_begun_with(host: Host) -> None:
    for number in range(11, 20):
        host.fake.add_webhook(number, f"{host.relay_url}/webhook?{number}", ("message_created",))
    await host.do()
    changes = list(host.fake.changes)
    with pytest.raises(InvalidValue, match="9 secrets, and as many new ones"):
        await host.do(rotated)
    assert host.fake.changes == changes


def with_anothers_bot(host: Host) -> None:
    host.fake.add_bot(7, "Typebot", "https://typebot.example.com", inbox=4)


def without_inbox(host: Host) -> None:
    host.fake.inboxes.clear()


def at_a_private_address(host: Host) -> None:
    host.addresses = ["203.0.113.9", "10.0.3.7"]


def unreachable(host: Host) -> None:
    host.fake.url = "http://127.0.0.1:1"


def no_chatwoot(host: Host) -> None:
    host.fake.faults.append(Fault("GET /api", 200, body=b"<html>nginx</html>"))


@pytest.mark.parametrize(
    ("arrange", "code"),
    [
        (with_wrong_token, "chatwoot_token_refused"),
        (with_agents_token, "chatwoot_not_administrator"),
        (with_bots_token, "chatwoot_not_for_bots"),
        (in_another_account, "chatwoot_not_in_account"),
        (without_api, "chatwoot_api_off"),
        (of_4_16_0, "chatwoot_version"),
        (of_4_14_1, "chatwoot_version"),
        (with_anothers_bot, "chatwoot_inbox_taken"),
        (without_inbox, "chatwoot_no_inbox"),
        (at_a_private_address, "chatwoot_address_not_public"),
        (unreachable, "chatwoot_unreachable"),
        (no_chatwoot, "not_chatwoot"),
    ],
)
async def test_what_cannot_be_is_named_and_nothing_is_changed(
    host: Host, arrange: Callable[[Host], None], code: str
) -> None:
    before = await host.call("GET", "channels/chatwoot/chatwoot")
    arrange(host)

    with pytest.raises(ChatwootError) as raised:
        await host.do(**ALL, private=False)

    assert raised.value.code == code
    assert (host.fake.changes, await host.call("GET", "channels/chatwoot/chatwoot")) == ([], before)


@pytest.mark.parametrize("done", [False, True], ids=["refused", "answer lost"])
@pytest.mark.parametrize(
    "call", ["POST webhooks", "POST agent_bots", "POST inboxes/4/set_agent_bot", "POST inboxes"]
)
async def test_a_run_that_stopped_says_where_and_the_next_does_the_rest(
    host: Host, call: str, done: bool
) -> None:
    host.fake.faults.append(Fault(call, 503, done=done))
    with pytest.raises(ChatwootStopped, match="Done before that"):
        await host.do(**ALL)

    await host.do(**ALL)
    assert [len(host.fake.webhooks), len(host.fake.bots), len(host.fake.inboxes)] == [1, 1, 2]
    assert await host.wrong() == ["double"]
    assert await host.said() == {200}
    assert await host.do(**ALL) == []


async def test_other_secrets(host: Host) -> None:
    """What is signed with the old ones is taken until install runs again."""
    await host.do(**ALL)
    old = {one["secret"] for one in [*host.fake.webhooks.values(), *host.fake.bots.values()]}

    await host.do(rotated)
    new = {one["secret"] for one in [*host.fake.webhooks.values(), *host.fake.bots.values()]}
    assert old.isdisjoint(new)
    assert await host.said() == {200}
    assert await host.wrong() == ["double", "old_secrets"]

    assert await host.do(**ALL) == ["channel.signature"]
    assert await host.wrong() == ["double"]


@pytest.mark.parametrize("call", ["PATCH webhooks/*", "POST webhooks", "DELETE webhooks/*"])
async def test_other_secrets_where_a_run_stops(host: Host, call: str) -> None:
    """The next run puts it right, and leaves one webhook."""
    await host.do()
    [old] = [one["secret"] for one in host.fake.webhooks.values()]
    host.fake.faults.append(Fault(call, 503, done=True))
    with pytest.raises(ChatwootStopped):
        await host.do(rotated)
    assert await host.said() == {200}

    await host.do(rotated)
    await host.do()
    [webhook] = host.fake.webhooks.values()
    assert webhook["secret"] != old
    assert await host.said() == {200}
    assert await host.wrong() == []


async def test_what_an_earlier_run_set_up_goes_on(host: Host) -> None:
    """One that sets up something else leaves the bot its signature, inbox and access token."""
    await host.do(**KINDS["bot"])
    before = await host.call("GET", "channels/chatwoot/chatwoot")
    assert await host.do() == ["webhook.create", "channel.signature"]

    after = await host.call("GET", "channels/chatwoot/chatwoot")
    assert set(before.pop("secrets")) < set(after.pop("secrets"))
    assert after == before
    assert await host.said() == {200}
    assert await host.wrong() == ["double"]


async def test_a_chatwoot_that_moved_is_known_where_it_is(host: Host) -> None:
    await host.do()
    await host.call("PATCH", "channels/chatwoot", {"chatwoot_url": "https://old.example.com"})

    assert await host.do() == ["channel.link"]
    assert (await host.call("GET", "channels/chatwoot/chatwoot"))["url"] == host.fake.url


async def test_secrets_of_others_do_not_go_without_a_word(host: Host) -> None:
    await host.call("PATCH", "channels/chatwoot", {"hmac_secrets": ["x" * 32]})

    steps = plan(Wish("chatwoot", host.relay_url), await host.see())
    await host.do()
    [secret] = [one["secret"] for one in host.fake.webhooks.values()]
    await host.call("PATCH", "channels/chatwoot", {"hmac_secrets": [secret, "x" * 32]})
    steps += rotated(Wish("chatwoot", host.relay_url), await host.see())

    texts = [step.text for step in steps if step.code == "channel.signature"]
    said = "1 secret that this Chatwoot does not sign with IS TAKEN NO MORE"
    assert [said in text for text in texts] == [True, True]


async def test_somebody_elses_url_may_be_none(host: Host) -> None:
    host.fake.add_webhook(11, "http://[of.somebody", ("message_created",))
    assert await host.do() == ["webhook.create", "channel.signature", "channel.link"]


async def test_everything_is_taken_back(host: Host) -> None:
    """But inboxes, with their conversations; and the channel asks for a token again."""
    await host.do(**ALL)
    await host.do(removed)

    assert (host.fake.webhooks, host.fake.bots, host.fake.bot_of) == ({}, {}, {})
    assert [one.get("webhook_url") for one in host.fake.inboxes.values()] == [None, ""]
    channel = await host.call("GET", "channels/chatwoot/chatwoot")
    assert (channel["token"], channel["secrets"], channel["url"]) == (True, [], "")
    assert await host.do(removed) == []


async def test_a_chatwoot_that_signs_nothing_gets_a_token(host: Host) -> None:
    host.fake.version = "4.11.1"
    assert await host.do() == ["token.create", "webhook.create", "channel.link"]

    assert await host.said() == {200}
    assert await host.do() == []
    assert await host.wrong() == ["version", "token_in_url"]
    await host.do(webhook=False, bot=True, inbox=4)
    assert await host.said() == {200}, "the first token is good as before"


def unsubscribe(host: Host) -> None:
    next(iter(host.fake.webhooks.values()))["subscriptions"] = ["contact_created"]


def other_secret(host: Host) -> None:
    next(iter(host.fake.webhooks.values()))["secret"] = "another"


def no_bot(host: Host) -> None:
    host.fake.bot_of.clear()


def anothers_bot(host: Host) -> None:
    with_anothers_bot(host)


def other_token(host: Host) -> None:
    next(iter(host.fake.bots.values()))["access_token"] = "another"


def keeps_pending(host: Host) -> None:
    host.fake.settings["keep_pending_on_bot_failure"] = True


def deleted(host: Host) -> None:
    host.fake.webhooks.clear()
    host.fake.bots.clear()


@pytest.mark.parametrize(
    ("wish", "spoil", "codes"),
    [
        ({}, unsubscribe, ["events"]),
        ({}, other_secret, ["secret", "old_secrets"]),
        ({}, deleted, ["installed"]),
        (KINDS["bot"], no_bot, ["inbox"]),
        (KINDS["bot"], anothers_bot, ["inbox"]),
        (KINDS["bot"], other_token, ["bot_token"]),
        (KINDS["bot"], of_4_14_1, ["bot_token"]),
        (KINDS["bot"], keeps_pending, ["keep_pending"]),
    ],
)
async def test_what_is_wrong_is_found(
    host: Host, wish: Json, spoil: Callable[[Host], None], codes: list[str]
) -> None:
    """Each has a cost and a remedy."""
    await host.do(**wish)
    spoil(host)

    assert await host.wrong() == codes
    found = of_chatwoot(await host.see(), host.relay_url + "/webhook")
    assert [one.code for one in found if one.ok is not True and not (one.cost and one.remedy)] == []


@pytest.mark.parametrize(
    ("fields", "code"),
    [({"token": True}, "token"), ({"hmac_log_only": True}, "log_only")],
)
async def test_what_is_wrong_with_the_channel_is_found(host: Host, fields: Json, code: str) -> None:
    """And set right by another run."""
    await host.do()
    await host.call("PATCH", "channels/chatwoot", fields)

    assert await host.wrong() == [code]
    assert await host.do() == ["channel.signature"]
    assert await host.wrong() == []
