"""What is kept of a request's head, byte for byte, and what is taken out of it."""

from __future__ import annotations

import base64
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_protocol.tokens import TOKEN_PREFIX
from relay_server.web.capture import (
    BadTarget,
    Target,
    origin_form,
    read_head,
    read_target,
    sender_address,
    split_channel,
)
from tests.support.strict import NEVER

SECRET = TOKEN_PREFIX + "x" * 43
TOKEN = SECRET.encode()
PROXIES = (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))

Fields = list[tuple[bytes, bytes]]


def read(target: str) -> Target:
    """What the target of a POST is read as."""
    return read_target("POST", target.encode("utf-8", "surrogateescape"), "chatwoot")


def basic(text: str) -> bytes:
    """HTTP Basic, of `user:password`."""
    return b"Basic " + base64.b64encode(text.encode())


# Header fields.


def test_what_is_kept_is_kept_as_it_came() -> None:
    fields = [
        (b"Host", b"relay"),
        (b"X-Twice", b"1"),
        (b"x-tWICE", b"2"),
        (b"X-Twice", b"1"),
        (b"X-Bytes", b"\xff\x80 caf\xe9"),
        (b"X-Empty", b""),
        (b"Relayed", b"not ours"),
        (b"Content-Length", b"2"),
    ]
    assert read_head(fields).headers == tuple(fields)


@pytest.mark.parametrize("name", sorted(NEVER))
def test_hop_by_hop_fields_go(name: bytes) -> None:
    for written in (name, name.upper(), name.title()):
        head = read_head([(b"A", b"1"), (written, b"x"), (b"B", b"2")])
        assert head.headers == ((b"A", b"1"), (b"B", b"2"))


@pytest.mark.parametrize(
    "lines", [[b"close, X-MINE ,, "], [b"X-Mine", b"close"], [b"close", b"x-mine"]]
)
def test_fields_that_any_line_of_connection_names_go(lines: list[bytes]) -> None:
    fields = [(b"X-Mine", b"1"), *((b"Connection", line) for line in lines), (b"x-mine", b"2")]
    assert read_head([*fields, (b"X", b"")]).headers == ((b"X", b""),)


def test_fields_in_our_name_go() -> None:
    fields = [(b"Relay-Attempt", b"9"), (b"RELAY-Event-Id", b"evt_1"), (b"relay-", b"x")]
    assert read_head(fields).headers == ()


def test_the_sender_s_own_id_of_a_delivery() -> None:
    chatwoot, github = (b"X-Chatwoot-Delivery", b"d-\xe9"), (b"x-github-delivery", b"g-1")
    assert read_head([github, chatwoot]).delivery_id == "d-é"
    assert read_head([github]).delivery_id == "g-1"
    assert read_head([(b"Webhook-Id", b""), github]).delivery_id == "g-1"
    assert read_head([]).delivery_id is None


# Secrets.


@pytest.mark.parametrize(
    ("value", "shown", "kept"),
    [
        (b"Bearer " + TOKEN, TOKEN, False),
        (b"bEARER   " + TOKEN + b" ", TOKEN, False),
        (basic(f"relay:{SECRET}"), TOKEN, False),
        (basic(f":{SECRET}"), TOKEN, False),
        (b"basic " + base64.b64encode(b"relay:" + TOKEN), TOKEN, False),
        (basic(f"a:b:{SECRET}"), f"b:{SECRET}".encode(), False),
        (basic(SECRET), None, False),
        (basic(f"{SECRET}:x"), b"x", False),
        (b"Bearer other", b"other", True),
        (basic("user:pass"), b"pass", True),
        (b"Bearer", None, True),
        (b"Bearer ", None, True),
        (b"Basic !!!", None, True),
        (b"Basic YQ", None, True),
        (b"Basic \xff\xfe", None, True),
        (b"Token " + TOKEN, None, False),
        (TOKEN, None, False),
        (b"Basic " + TOKEN, None, False),
        (b'Bearer "' + TOKEN + b'"', b'"' + TOKEN + b'"', False),
        (b"Bearer," + TOKEN, None, False),
        (b"Token token=" + TOKEN, None, False),
        (b"Digest username=rly_", None, False),
        (b'Digest username="' + TOKEN + b'", uri="/"', None, False),
        (b"Digest username=relay", None, True),
        (b"", None, True),
    ],
)
def test_the_secret_in_authorization(value: bytes, shown: bytes | None, kept: bool) -> None:
    """Ours is taken out; what is meant for the target is passed on."""
    head = read_head([(b"Authorization", value)])
    assert head.shown == (() if shown is None else (shown,))
    assert head.headers == (((b"Authorization", value),) if kept else ())


def test_each_authorization_is_looked_at() -> None:
    fields = [(b"Authorization", b"Bearer a"), (b"authorization", b"Bearer " + TOKEN)]
    head = read_head(fields)
    assert head.shown == (b"a", TOKEN)
    assert head.headers == ((b"Authorization", b"Bearer a"),)


def test_a_token_in_a_proxys_copy_of_the_url_is_dropped() -> None:
    """The store and every client would have it else."""
    copies = [(b"X-Forwarded-Uri", b"/webhook?token=rly_x"), (b"Referer", b"https://a/?t=rly_x")]

    assert read_head([*copies, (b"X-Other", b"1")]).headers == ((b"X-Other", b"1"),)


@pytest.mark.parametrize(
    ("target", "kept"),
    [
        ("/webhook?token={}", "/webhook"),
        ("/webhook?token={}&a=1", "/webhook?a=1"),
        ("/webhook?a=1&token={}", "/webhook?a=1"),
        ("/webhook?a=1&token={}&b=2", "/webhook?a=1&b=2"),
        ("/webhook?&token={}&", "/webhook?&"),
        ("/webhook?token={}&token={}", "/webhook"),
        ("/webhook?%74oken={}", "/webhook"),
        ("/webhook?%74%6f%6B%65%6e={}", "/webhook"),
        (
            "/webhook?a=%2F&b=+&c=%c3%a1&token={}&d=a%20b&a=%2f",
            "/webhook?a=%2F&b=+&c=%c3%a1&d=a%20b&a=%2f",
        ),
        ("/webhook?a?token=1&token={}", "/webhook?a?token=1"),
    ],
)
def test_the_token_goes_from_the_query_and_the_rest_stays(target: str, kept: str) -> None:
    encoded = "".join(f"%{byte:02x}" for byte in TOKEN)
    half = SECRET.replace("_", "%5F").replace("x", "%78", 1)
    for secret in (SECRET, encoded, half):
        whole = read(target.replace("{}", secret))
        assert whole.request_target == kept
        assert set(whole.shown) >= {TOKEN}


@pytest.mark.parametrize(
    "target",
    [
        "/webhook",
        "/webhook?",
        "/webhook?token=",
        "/webhook?token",
        "/webhook?token=the-sender-s-own",
        "/webhook?TOKEN=rly_x",
        "/webhook?xtoken=rly_x",
        "/webhook?a=token=rly_x",
        "/webhook?to%ken=x&%zz=%",
        "/webhook?a=1&&b=&=c&%=%",
        "/webhook/token=1;b?c#d",
    ],
)
def test_a_query_without_our_token_stays_as_it_is(target: str) -> None:
    assert read(target).request_target == target


@given(st.lists(st.text("ab=%25&+token?;/", max_size=12), max_size=6), st.integers(0, 6))
def test_whatever_is_around_the_token_stays(parts: list[str], place: int) -> None:
    before = "&".join(parts)
    parts = before.split("&") if before else []
    withtoken = [*parts[:place], f"token={SECRET}", *parts[place:]]
    found = read("/webhook?" + "&".join(withtoken))
    assert found.request_target == ("/webhook?" + "&".join(parts) if parts else "/webhook")
    assert TOKEN in found.shown


# Targets.


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("http://relay/webhook?a=http://b", "/webhook?a=http://b"),
        ("HTTPS://relay:8802/webhook", "/webhook"),
        ("http://relay", "/"),
        ("http://relay?a=/b", "/?a=/b"),
        ("http://user@relay/c/x/y", "/c/x/y"),
        ("/http://relay/webhook", "/http://relay/webhook"),
        ("//relay/webhook", "//relay/webhook"),
    ],
)
def test_an_absolute_target_is_its_path(raw: str, path: str) -> None:
    assert origin_form(raw) == path
    channel, seen = split_channel(path, "chatwoot")
    assert (read(raw).channel, read(raw).request_target) == (channel, seen)


@pytest.mark.parametrize("raw", ["*", "", "webhook", "ftp://relay/webhook", "/caf\udce9"])
def test_a_target_that_is_no_path(raw: str) -> None:
    with pytest.raises(BadTarget) as refused:
        read(raw)
    assert raw not in str(refused.value) or not raw


@pytest.mark.parametrize(
    ("target", "channel", "below"),
    [
        ("/c/a/webhook", "a", "/webhook"),
        ("/c/a/b/c?d=/e", "a", "/b/c?d=/e"),
        ("/c/a/", "a", "/"),
        ("/c/a", "a", "/"),
        ("/c/a?x=/y/z", "a", "/?x=/y/z"),
        ("/c/a//evil.example/x", "a", "//evil.example/x"),
        ("/c//webhook", "", "/webhook"),
        ("/c/", "", "/"),
        ("/webhook?a=/c/b", "chatwoot", "/webhook?a=/c/b"),
        ("/webhook/c/a/b", "chatwoot", "/webhook/c/a/b"),
    ],
)
def test_the_target_below_a_channel(target: str, channel: str, below: str) -> None:
    assert split_channel(target, "chatwoot") == (channel, below)


# Who really sent it.


def forwarded(*lines: str, proto: str | None = None) -> Fields:
    """X-Forwarded-* as proxies write them."""
    fields = [(b"X-Forwarded-For", line.encode("latin-1")) for line in lines]
    return fields if proto is None else [*fields, (b"x-forwarded-proto", proto.encode())]


@pytest.mark.parametrize(
    ("peer", "lines", "sender"),
    [
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["1.1.1.1, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", ["1.1.1.1", "203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["1.1.1.1", "203.0.113.9", "10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["10.0.0.3,, 203.0.113.9 ,"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9:51234, 10.0.0.2:443"], "203.0.113.9"),
        ("10.0.0.1", ["[2001:db9::7]:51234"], "2001:db9::7"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9, unknown"], "unknown"),
        ("2001:db8::1", ["2001:db9::7"], "2001:db9::7"),
        ("::ffff:10.0.0.1", ["203.0.113.9, ::ffff:10.0.0.2"], "203.0.113.9"),
        ("203.0.113.66", ["127.0.0.1"], "203.0.113.66"),
        ("", ["127.0.0.1"], ""),
        ("unix", ["127.0.0.1"], "unix"),
    ],
)
def test_the_last_address_that_no_proxy_of_ours_has(
    peer: str, lines: list[str], sender: str
) -> None:
    head = read_head(forwarded(*lines))
    assert sender_address(peer, "http", head, PROXIES) == (sender, "http")
    assert sender_address(peer, "https", head, ()) == (peer, "https")


@pytest.mark.parametrize(
    ("proto", "scheme"),
    [
        ("https", "https"),
        ("https, http", "https"),
        (" HTTP ", "http"),
        ("gopher", "-"),
        ("", "-"),
        (None, "-"),
    ],
)
def test_the_scheme_that_a_proxy_names(proto: str | None, scheme: str) -> None:
    head = read_head(forwarded("1.1.1.1", proto=proto))
    assert sender_address("10.0.0.1", "-", head, PROXIES)[1] == scheme
    assert sender_address("203.0.113.66", "-", head, PROXIES)[1] == "-"


def test_a_sender_cannot_hide_what_its_proxy_said() -> None:
    fields = [*forwarded("203.0.113.9"), (b"Connection", b"X-Forwarded-For")]
    assert sender_address("10.0.0.1", "http", read_head(fields), PROXIES)[0] == "203.0.113.9"
