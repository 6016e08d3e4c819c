"""What was refused, so that whoever set a sender up sees what is wrong with it."""

from __future__ import annotations

import hmac
import json
import ssl
import tracemalloc
from itertools import count
from typing import Any

import pytest
from structlog.testing import capture_logs

from relay_server.configs import HmacAuth
from relay_server.errors import Forbidden, InvalidValue
from relay_server.operations import Caller
from relay_server.operations.refused import allow_address
from relay_server.refusals import (
    MAX_GROUPS,
    MAX_GROUPS_EACH,
    Cause,
    Described,
    Refusals,
    block_of,
    like,
    masked,
)
from relay_server.values import Scope
from tests.support.chatwoot import SECRET, headers, signature, webhook
from tests.support.clock import START_MS
from tests.support.feeds import FeedReader
from tests.support.senders import request
from tests.unit.server.asking import Asking, Json
from tests.unit.server.support import Served

NOW_S = (START_MS + 1_000_000) // 1_000  # as the server's clock has it
BODY = b'{"event": "message_created", "id": 7}'


async def groups(asking: Asking, query: str = "") -> list[Json]:
    return list((await asking.ok("GET", f"refused{query}"))["groups"])


async def test_https_at_a_port_without_it_is_named(served: Served, admin: Asking) -> None:
    """Whoever spoke it reads no answer: the relay's operator is told."""
    hello = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(*hello, server_hostname="relay.example.com").do_handshake()

    assert (await served.send(hello[1].read())).status == 400
    assert (await served.send(b"\x16\x02" + bytes(99))).status == 400

    found = {group["reason"]: group for group in await groups(admin)}
    assert found.keys() == {"spoke_tls", "bad_request"}
    assert "https:// was spoken" in found["spoke_tls"]["says"]
    assert "http://" in found["spoke_tls"]["fix"]


@pytest.mark.parametrize(
    ("fields", "reason", "says", "shown"),
    [
        ({}, "no token", "neither ?token=", "nothing"),
        ({"token": "guess"}, "unknown token", "begin with rly_", "Authorization: 5 characters"),
        (
            {"token": "eyJhbGciOiJIUzI1NiIs"},
            "unknown token",
            "begin with rly_",
            "Authorization: 20 characters, begins eyJh",
        ),
        ({"token": "rly_" + "x" * 43}, "unknown token", "another relay", "begins rly_"),
        ({"token": "rly_" + "x" * 20}, "unknown token", "24 characters, where one has 47", ""),
        ({"target": "/webhook?token=rly_x"}, "unknown token", "in part", "?token=: 5 characters"),
        ({"target": "/c/chatwot/x"}, "no such channel", "nearly the same", ""),
    ],
)
async def test_why_a_sender_is_not_let_in(
    served: Served, admin: Asking, fields: dict[str, Any], reason: str, says: str, shown: str
) -> None:
    with capture_logs() as logs:
        assert (await served.send(request(**fields))).json["error"]["code"] == "unauthorized"

    [group] = await groups(admin)
    path = fields.get("target", "/webhook").partition("?")[0]
    name = "chatwot" if "/c/" in path else "chatwoot"
    assert (group["reason"], group["channel"], group["count"]) == (reason, name, 1)
    assert says in group["says"]
    assert shown in group["shown"]
    assert (group["addresses"], group["address"]) == ("127.0.0.0/24", "127.0.0.1")
    [line] = [entry for entry in logs if entry["event"] == "webhook refused"]
    told = {name: value for name, value in line.items() if name in group}
    assert told == {name: group[name] for name in told}, "the log and the API say the same"
    assert (line["channel"], line["path"], line["address"]) == (name, path, "127.0.0.1")
    assert (line["method"], line["reason"], line["times"]) == ("POST", reason, 1)


@pytest.mark.parametrize("kind", ["refused", "not stored"])
async def test_like_refusals_share_log_lines(served: Served, kind: str) -> None:
    raw = request(token=None if kind == "refused" else served.token)
    if kind == "not stored":
        await served.configure(max_bytes=1)
    with capture_logs() as logs:
        for _ in range(5):
            await served.send(raw)
        served.clock.advance(10)
        await served.send(raw)
    counted = [line["times"] for line in logs if line["event"] == f"webhook {kind}"]
    assert counted == [1, 5]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/c/rly_x-Y/webhook", "/c/•••/webhook"),
        ("/webhook/token=abc/x", "/webhook/token=•••/x"),
        ("http://relay:secret@host/webhook", "http://•••@host/webhook"),
        ("/c/monkey=5/x", "/c/monkey=5/x"),
        ("/webhook/a:b@c", "/webhook/a:b@c"),
    ],
)
def test_a_secret_in_a_path_is_masked(path: str, shown: str) -> None:
    assert masked(path) == shown


async def test_a_token_in_the_place_of_a_channel_is_shown_nowhere(
    served: Served, admin: Asking
) -> None:
    with capture_logs() as logs:
        await served.send(request(f"/c/{served.token}/webhook"))
    [group] = await groups(admin)
    assert (group["channel"], group["path"]) == ("•••", "/c/•••/webhook")
    assert served.token not in str(logs) + str(group)


async def test_a_good_token_that_is_none_here(served: Served, admin: Asking, ana: Asking) -> None:
    """It is told whose it is, to administrators alone; the secret is nowhere."""
    await served.make_token("bia", Scope.SEND)
    gone = await served.make_token("leo", Scope.SEND)
    await served.store.revoke_token("leo")
    other = await served.make_token("shop", Scope.SEND, channels=["other"])
    sub = await served.make_token("bo", Scope.SUBSCRIBE)
    quoted = f'"{served.token}"'
    for secret in (gone, other, sub, quoted):
        await served.send(request(token=secret))

    found = {group["whose"]: group["says"] for group in await groups(admin)}
    assert "revoked at 2026-" in found["leo"]
    assert "for other channels" in found["shop"]
    assert "may only subscribe" in found["bo"]
    assert "spaces or quotes" in found["sender"]
    assert {group["whose"] for group in await groups(ana)} == {"•••"}
    answer = json.dumps(await groups(admin))
    assert not [s for s in (gone, other, sub, served.token) if s[5:] in answer]


@pytest.mark.parametrize(
    ("change", "reason", "says"),
    [
        ({"signed": False}, "no X-Chatwoot-Signature", "never are"),
        ({"timestamp": NOW_S - 400}, "the signature's timestamp is too far from now", "clock"),
        ({"secret": "another"}, "the signature fits no secret", "fits none of 2 secrets"),
        ({"secret": "of-other"}, "the signature fits no secret", "secret of another channel"),
        ({"secret": "pasted"}, "the signature fits no secret", "has spaces or quotes"),
    ],
)
async def test_why_a_signature_is_wrong(
    served: Served, admin: Asking, change: dict[str, Any], reason: str, says: str
) -> None:
    seal = served.context.sealer.seal
    secrets = (seal(SECRET.encode()), seal(b"pasted \n"))
    await served.configure(hmac=HmacAuth("chatwoot", secrets), token=False)
    await served.make_channel("other", hmac=HmacAuth("chatwoot", (seal(b"of-other"),)))

    fields = headers(BODY, **{"timestamp": NOW_S, **change})
    await served.send(webhook("/webhook", BODY, fields))

    [group] = await groups(admin)
    assert (group["reason"], group["client"]) == (reason, "Ruby")
    assert says in group["says"]
    assert group["whose"] == ("other" if change.get("secret") == "of-other" else "")
    assert SECRET not in str(group)


@pytest.mark.parametrize("body", [b'{"event":"\xff"}', b"[" * 50_000, b"1" * 5_000, b""])
async def test_a_body_that_nobody_can_read_is_refused_as_any_other(
    served: Served, body: bytes
) -> None:
    sealed = served.context.sealer.seal(SECRET.encode())
    await served.configure(hmac=HmacAuth("chatwoot", (sealed,)), token=False)

    fields = headers(body, timestamp=NOW_S, secret="another")
    assert (await served.send(webhook("/webhook", body, fields))).status == 401


STAMP = str(NOW_S)
WRITTEN_ANEW = b'{"event":"message_created","id":7}'
BODY_ALONE = hmac.digest(SECRET.encode(), BODY, "sha256").hex()


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (signature(SECRET, STAMP, WRITTEN_ANEW), "its JSON was read and written again"),
        (signature(SECRET, STAMP, BODY.strip() + b" "), "does not fit the channel's secret"),
        (BODY_ALONE, "without the timestamp"),
    ],
)
async def test_a_signature_that_was_right_for_something_else(
    served: Served, admin: Asking, made: str, says: str
) -> None:
    sealed = served.context.sealer.seal(SECRET.encode())
    await served.configure(hmac=HmacAuth("chatwoot", (sealed,)), token=False)
    fields = [("X-Chatwoot-Timestamp", STAMP), ("X-Chatwoot-Signature", made)]
    await served.send(request(body=BODY, headers=fields))

    [group] = await groups(admin)
    assert says in group["says"]
    assert group["shown"] == f"a signature over {len(BODY)} bytes, 0 s old"


async def test_what_else_is_refused_has_its_code(served: Served, admin: Asking) -> None:
    await served.configure(max_body_bytes=10, allow_from=("203.0.113.0/24",), token=False)
    await served.send(request(body=b"x" * 20, token=served.token))
    await served.configure(allow_from=())
    await served.send(request(body=b"x" * 20, token=served.token))

    large, address = await groups(admin)
    assert (large["reason"], large["channel"]) == ("body_too_large", "chatwoot")
    assert address["reason"] == "the sender's address is not allowed"
    assert "--allow-from … 127.0.0.1" in address["fix"]
    minute = (await admin.ok("GET", "pulse?minutes=1"))["minutes"][0]
    assert minute["refused"] == 2


async def test_a_request_to_the_api_is_refused(served: Served, admin: Asking, ana: Asking) -> None:
    """That is for administrators to see."""
    await Asking(served, "rly_wrong").refused("GET", "whoami")
    [group] = await groups(admin)
    assert (group["channel"], group["path"]) == ("", "/api/v1/whoami")
    assert await groups(ana) == []


async def test_who_sees_what_is_refused(served: Served, admin: Asking, ana: Asking) -> None:
    """Only what names one's channels; of another, or of none, there is nothing."""
    for target in ("/webhook", "/c/other/x", "/c/gone/x"):
        await served.send(request(target))

    assert [group["channel"] for group in await groups(ana)] == ["chatwoot"]
    assert [group["channel"] for group in await groups(admin)] == ["gone", "other", "chatwoot"]
    assert len(await groups(admin, "?channel=gone")) == 1
    for name in ("other", "gone"):
        assert await ana.refused("GET", f"refused?channel={name}") == (404, "channel_not_found")


async def test_a_feed_tells_of_refusals(served: Served, admin: Asking, ana: Asking) -> None:
    assert admin.token is not None
    assert ana.token is not None
    root = FeedReader(served.port, admin.token, state=1)
    reader = FeedReader(served.port, ana.token, state=1)
    async with root.reading(), reader.reading():
        await served.send(request("/c/other/x"))
        await root.got("refused")
        for _ in range(3):
            await served.send(request())
        await reader.got("refused")
        told = await root.got("refused", 2)

    assert [group["channel"] for group in told[:2]] == ["other", "chatwoot"]
    assert {group["channel"] for group in reader.of("refused")} == {"chatwoot"}


def describe() -> Described:
    return Described(Cause("x" * 60, "y" * 90, "z" * 90), "POST", "/p" * 5_000, "c" * 5_000)


def test_a_flood_pushes_out_nothing_of_others_and_is_bounded() -> None:
    """Each of its refusals is another one."""
    refusals, numbers = Refusals(0), count()
    mistake = like("unknown token", "chatwoot", "198.51.100.7", b"rly_old")
    refusals.note(mistake, "198.51.100.7", 0, describe)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for n in range(3 * MAX_GROUPS_EACH):
            address = f"203.0.113.{n}"
            other = like("unknown token", "x" * 8_000, address, next(numbers))
            refusals.note(other, address, n, describe)
        for n in range(MAX_GROUPS + MAX_GROUPS_EACH):
            address = f"2001:db8:{n:x}::1"
            refusals.note(like("no token", "x" * 8_000, address), address, n, describe)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    found = refusals.groups()
    assert len(found) == MAX_GROUPS
    assert sum(group.like.block == "203.0.113.0/24" for group in found) <= MAX_GROUPS_EACH
    assert after - before < 1 << 20


def test_a_flood_from_one_block_leaves_the_mistake_of_another() -> None:
    refusals = Refusals(0)
    refusals.note(like("unknown token", "chatwoot", "198.51.100.7"), "198.51.100.7", 0, describe)
    for n in range(MAX_GROUPS + 1):
        refusals.note(like("no token", f"c{n}", "203.0.113.9"), "203.0.113.9", n, describe)

    oldest = refusals.groups()[-1]
    assert (oldest.address, oldest.count) == ("198.51.100.7", 1)
    assert len(refusals.groups()) == MAX_GROUPS_EACH + 1


def test_like_refusals_are_counted_and_described_once_a_second() -> None:
    refusals, described = Refusals(0), list[int]()
    for now in (0, 1, 999, 1_000, 1_500, 2_000):

        def note_it(now: int = now) -> Described:
            described.append(now)
            return describe()

        refusals.note(like("no token", "chatwoot", "203.0.113.9"), "203.0.113.9", now, note_it)

    [group] = refusals.groups()
    assert (group.count, group.first_at, group.last_at) == (6, 0, 2_000)
    assert described == [0, 1_000, 2_000]


@pytest.mark.parametrize(
    ("address", "block"),
    [
        ("203.0.113.9", "203.0.113.0/24"),
        ("::ffff:203.0.113.9", "203.0.113.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("", ""),
        ("no\x1baddress", "no\ufffdaddress"),
    ],
)
def test_the_block_of_an_address(address: str, block: str) -> None:
    assert block_of(address) == block


async def test_an_address_is_allowed_beside_others_and_never_as_the_only_one(
    served: Served,
) -> None:
    who = Caller(served.context)
    with pytest.raises(InvalidValue, match="every address may send"):
        await allow_address(who, "chatwoot", "198.51.100.7")
    await served.configure(allow_from=("203.0.113.0/24",))
    for address in ("::ffff:198.51.100.7", "198.51.100.7", "203.0.113.9"):
        await allow_address(who, "chatwoot", address)
    assert served.store.catalog.channels["chatwoot"].config.allow_from == (
        "203.0.113.0/24",
        "198.51.100.7",
    )
    for wrong in ("198.51.100.0/24", "", "x"):
        with pytest.raises(InvalidValue, match="is no address"):
            await allow_address(who, "chatwoot", wrong)
    await served.make_token("ana", Scope.SUBSCRIBE)
    ana = next(token for token in served.store.catalog.tokens.values() if token.name == "ana")
    with pytest.raises(Forbidden):
        await allow_address(Caller(served.context, ana), "chatwoot", "192.0.2.1")
