"""Signing anew, as administrators set it: what is shown of it, refused, and noted."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from relay_protocol.messages import Wanted
from relay_server.configs import HmacAuth
from tests.support.clock import START_MS
from tests.support.waiting import until, until_true
from tests.unit.server.asking import Asking, Json, append
from tests.unit.server.support import FakePeer, Served

OWN = "a-secret-of-ana"
ANA = "channels/chatwoot/subscriptions/ana"


@pytest.fixture(autouse=True)
async def signed(served: Served) -> None:
    await served.store.subscribe("chatwoot", "ana", None, START_MS)
    await with_secret(served, b"channel-secret")


async def with_secret(served: Served, secret: bytes) -> None:
    await served.configure(hmac=HmacAuth("chatwoot", (served.context.sealer.seal(secret),)))


def says(view: Json) -> tuple[Any, Any]:
    return view["resign"], view["resign_secret"]


async def test_it_is_set_and_shown_without_secrets(
    served: Served, admin: Asking, ana: Asking
) -> None:
    assert says(await admin.ok("GET", ANA)) == (False, "")
    assert says(await admin.ok("PATCH", ANA, {"resign": True})) == (True, "")
    assert says(await admin.ok("PATCH", ANA, {"resign_secret": f" {OWN}\n"})) == (True, "•••")
    assert says(await admin.ok("PATCH", ANA, {"filter": ""})) == (True, "•••")
    assert says(await ana.ok("GET", ANA)) == (True, "•••")
    assert says(await admin.ok("PATCH", ANA, {"resign_secret": ""})) == (True, "")
    assert says(await admin.ok("PATCH", ANA, {"resign": False})) == (False, "")
    assert (await ana("PATCH", ANA, {"resign": True})).status == 403
    noted = [entry["asked"] for entry in (await admin.ok("GET", "audit"))["entries"]]
    assert noted.count({"resign_secret": "•••"}) == 2
    assert OWN not in str(noted)
    stored = [s.config for s in await served.store.subscriptions("chatwoot")]
    assert OWN not in str(stored)


async def test_a_scheme_of_a_newer_version_is_named(served: Served, admin: Asking) -> None:
    """As after a downgrade: another can be set, and until then nothing fails without a reason."""
    event = await append(served)
    sealed = served.context.sealer.seal(b"x")
    await served.configure(hmac=HmacAuth("of-tomorrow", (sealed,)))
    edit: Json = {"based_on": event, "subscription": "ana", "sign": True}
    change: Json = {"hmac_secrets": ["y"]}

    assert await admin.refused("POST", "events", edit) == (422, "invalid_value")
    assert await admin.refused("PATCH", "channels/chatwoot", change) == (422, "invalid_value")
    await admin.ok("PATCH", "channels/chatwoot", {"hmac_scheme": "github", **change})


async def test_what_cannot_be_signed_changes_nothing(served: Served, admin: Asking) -> None:
    await served.configure(hmac=None)
    assert await admin.refused("PATCH", ANA, {"resign": True}) == (422, "invalid_value")
    assert says(await admin.ok("PATCH", ANA, {"resign_secret": OWN})) == (True, "•••")
    too_long: Json = {"resign_secret": "x" * 1_025}
    assert await admin.refused("PATCH", ANA, too_long) == (422, "invalid_value")


async def test_each_delivery_is_signed_and_what_is_stored_is_not(
    served: Served, admin: Asking
) -> None:
    """From the moment on that it is set; of others' subscriptions nothing changes."""
    hub, mine, theirs = served.context.hub, FakePeer(), FakePeer()
    for peer, name in ((mine, "ana"), (theirs, "bob")):
        hub.add(peer)
        _, reader = await hub.join(peer, Wanted("chatwoot"), name)
        hub.start(reader, peer)
    await append(served)
    await admin.ok("PATCH", ANA, {"resign": True})
    await append(served, key="8")
    await until(lambda: len(mine.got) == len(theirs.got) == 2)

    [before, after], stored = mine.got, (await served.events())[-1]
    assert before.event.request.headers == theirs.got[0].event.request.headers
    assert dict(after.event.request.headers).keys() >= {b"X-Chatwoot-Signature"}
    assert after.event.request.headers != theirs.got[1].event.request.headers
    assert stored.head == theirs.got[1].event


async def test_a_secret_that_goes_pauses_who_is_to_be_signed_for(
    served: Served, admin: Asking
) -> None:
    """What went out unsigned would be refused and die: it waits, and says for what."""
    hub, peer = served.context.hub, FakePeer()
    hub.add(peer)
    await admin.ok("PATCH", ANA, {"resign": True})
    _, reader = await hub.join(peer, Wanted("chatwoot"), "ana")
    hub.start(reader, peer)

    await admin.ok("PATCH", "channels/chatwoot", {"hmac_secrets": []})
    await append(served)

    async def paused() -> str:
        return str((await admin.ok("GET", ANA))["paused"])

    await until_true(paused)
    assert await paused() == "chatwoot has no secret to sign anew with"
    assert peer.got == []
    await with_secret(served, b"new")
    await admin.ok("POST", f"{ANA}/resume")
    await until(lambda: len(peer.got) == 1)


async def test_a_forward_is_set_as_a_subscription_is(served: Served, admin: Asking) -> None:
    settings = served.context.settings
    served.context.settings = dataclasses.replace(settings, forward_allow=("bot",))
    made: Json = {"channel": "chatwoot", "url": "http://bot:9/", "resign_secret": OWN}
    assert says(await admin.ok("POST", "forwards", made)) == (True, "•••")
    path = "forwards/chatwoot/forward"
    assert says(await admin.ok("PATCH", path, {"resign": False})) == (False, "•••")
    assert says(await admin.ok("PATCH", path, {"resign": True, "resign_secret": ""})) == (True, "")
    await served.configure(hmac=None)
    assert await admin.refused("PATCH", path, {"resign": True}) == (422, "invalid_value")
