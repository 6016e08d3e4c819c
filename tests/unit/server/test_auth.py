"""Who may do what: tokens, addresses."""

from __future__ import annotations

import re

import pytest

from relay_protocol.tokens import TOKEN_CHARS, TOKEN_PREFIX
from relay_server.auth import (
    allows,
    check_sender,
    digest,
    find_token,
    new_secret,
)
from relay_server.configs import ChannelConfig
from relay_server.errors import Unauthorized
from relay_server.values import Catalog, Channel, Scope, Token

ALL = frozenset(Scope)


def channel(name: str = "chatwoot", **config: object) -> Channel:
    return Channel(1, name, ChannelConfig(**config), 0)  # type: ignore[arg-type]


def token(*scopes: Scope, channels: set[str] | None = None, name: str = "ana") -> Token:
    allowed = None if channels is None else frozenset(channels)
    return Token(name, digest(name.encode()), frozenset(scopes), allowed, 0)


def catalog(*tokens: Token) -> Catalog:
    return Catalog({}, {token.digest: token for token in tokens})


def reason(call: object, *arguments: object) -> str:
    """Why it was refused, as the log has it; the answer never says."""
    assert callable(call)
    with pytest.raises(Unauthorized) as refused:
        call(*arguments)
    assert str(refused.value) == "not authorized"
    return refused.value.reason


# Tokens.


def test_secrets_are_long_and_never_the_same() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(re.fullmatch(rf"{TOKEN_PREFIX}[\w-]{{43}}", secret) for secret in secrets)
    assert {len(secret) for secret in secrets} == {TOKEN_CHARS}


def test_only_a_digest_finds_a_token() -> None:
    ana = token(Scope.SEND)
    assert find_token(catalog(ana), b"ana") is ana
    for shown in (b"", b"an", b"anaa", b"ANA", ana.digest, "aná".encode(), b"\xff" * 10_000):
        assert find_token(catalog(ana), shown) is None


@pytest.mark.parametrize(
    ("scopes", "channels", "scope", "allowed"),
    [
        ({Scope.SEND}, None, Scope.SEND, True),
        ({Scope.SEND}, {"chatwoot"}, Scope.SEND, True),
        ({Scope.SEND}, {"other"}, Scope.SEND, False),
        ({Scope.SEND}, set(), Scope.SEND, False),
        ({Scope.SEND}, None, Scope.SUBSCRIBE, False),
        ({Scope.SUBSCRIBE}, None, Scope.SEND, False),
        ({Scope.SUBSCRIBE, Scope.SEND}, {"other"}, Scope.SUBSCRIBE, False),
        ({Scope.SUBSCRIBE}, {"chatwoot"}, Scope.SUBSCRIBE, True),
        ({Scope.ADMIN}, {"other"}, Scope.SEND, True),
        ({Scope.ADMIN}, None, Scope.SUBSCRIBE, True),
        (set(), None, Scope.SEND, False),
    ],
)
def test_scopes_and_channels(
    scopes: set[Scope], channels: set[str] | None, scope: Scope, allowed: bool
) -> None:
    assert allows(token(*scopes, channels=channels), scope, channel()) is allowed


def test_an_owner_s_channel_is_nobody_else_s() -> None:
    mine = channel("canary-1", owner="ana")
    assert allows(token(name="ana"), Scope.SUBSCRIBE, mine)
    for other in (token(*ALL, name="root"), token(Scope.SUBSCRIBE, name="bob"), token(name="")):
        assert not allows(other, Scope.SUBSCRIBE, mine)
    assert allows(token(Scope.SEND, channels={"canary-1"}, name="x"), Scope.SEND, mine)
    assert not allows(token(Scope.SEND, channels={"chatwoot"}, name="x"), Scope.SEND, mine)


# Senders.


def test_a_sender_shows_a_token_that_is_for_sending_here() -> None:
    known = catalog(token(Scope.SEND), token(Scope.SUBSCRIBE, name="bob"))
    check_sender(channel(), known, [b"x", b"bob", b"ana"], "203.0.113.9")
    assert reason(check_sender, channel(), known, [], "x") == "no token"
    assert reason(check_sender, channel(), known, [b"x"], "x") == "unknown token"
    wrong = "the token is not for sending to this channel"
    assert reason(check_sender, channel(), known, [b"bob"], "x") == wrong


def test_a_channel_may_ask_for_no_token() -> None:
    check_sender(channel(token=False), catalog(), [], "203.0.113.9")


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("203.0.113.9", True),
        ("::ffff:203.0.113.9", True),
        ("203.0.114.1", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("::ffff:203.0.114.1", False),
        ("", False),
        ("unknown", False),
        ("203.0.113.9:1234", False),
        ("203.0.113.09", False),
    ],
)
def test_addresses(address: str, inside: bool) -> None:
    narrow = channel(allow_from=("203.0.113.0/24", "2001:db8::/32"))
    known = catalog(token(Scope.SEND))
    if inside:
        check_sender(narrow, known, [b"ana"], address)
        assert reason(check_sender, narrow, known, [], address) == "no token"
    else:
        why = reason(check_sender, narrow, known, [b"ana"], address)
        assert why == "the sender's address is not allowed"
