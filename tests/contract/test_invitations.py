"""What every store promises of invitations: each is good for one token, once, in time."""

from __future__ import annotations

import pytest

from relay_protocol.errors import RelayError
from relay_server.errors import (
    InvitationExpired,
    InvitationNotFound,
    InvitationUnknown,
    InvitationUsed,
    TokenExists,
    TooManyInvitations,
)
from relay_server.people import Invitation
from relay_server.store.interface import Store
from relay_server.store.rules import ACCEPT_AGAIN_MS, INVITATION_KEPT_MS, MAX_INVITATIONS
from relay_server.values import Scope, Token
from tests.support.clock import START_MS
from tests.support.stores import Stores

DAY_MS = 86_400_000
MINE, OTHER = b"m" * 32, b"o" * 32


def invitation(name: str = "eva", now: int = START_MS) -> Invitation:
    channels = frozenset({"chatwoot"})
    digest = name.encode().ljust(32, b"-")
    return Invitation(name, digest, channels, "root", now, now + DAY_MS)


SECRET = invitation().digest


async def test_it_makes_one_token_and_outlives_a_restart(stores: Stores, store: Store) -> None:
    await store.invite(invitation())
    store = await stores.reopen(store)

    made = await store.accept(SECRET, MINE, START_MS + 1)
    store = await stores.reopen(store)
    again = await store.accept(SECRET, MINE, START_MS + ACCEPT_AGAIN_MS)

    scopes = frozenset({Scope.SUBSCRIBE})
    assert made == Token("eva", MINE, scopes, frozenset({"chatwoot"}), START_MS + 1)
    assert again == made
    assert store.catalog.tokens == {MINE: made}
    [listed] = await store.invitations()
    assert (listed.used_at, listed.is_open(START_MS + 2)) == (START_MS + 1, False)


@pytest.mark.parametrize(
    ("secret", "token", "later_ms", "error"),
    [
        (SECRET, OTHER, 1, InvitationUsed),
        (SECRET, OTHER, 9 * DAY_MS, InvitationUsed),
        (SECRET, MINE, ACCEPT_AGAIN_MS, InvitationUsed),
        (invitation("late").digest, OTHER, DAY_MS, InvitationExpired),
        (b"?" * 32, OTHER, 1, InvitationUnknown),
        (invitation("root").digest, OTHER, 1, TokenExists),
    ],
)
async def test_it_makes_no_other(
    store: Store, secret: bytes, token: bytes, later_ms: int, error: type[RelayError]
) -> None:
    for name in ("eva", "late", "root"):
        await store.invite(invitation(name))
    await store.create_token(Token("root", b"r" * 32, frozenset(Scope), None, START_MS))
    await store.accept(SECRET, MINE, START_MS)
    before = dict(store.catalog.tokens)

    with pytest.raises(error):
        await store.accept(secret, token, START_MS + later_ms)

    assert store.catalog.tokens == before


async def test_a_revoked_token_does_not_come_back(store: Store) -> None:
    await store.invite(invitation())
    await store.accept(SECRET, MINE, START_MS)
    await store.revoke_token("eva")

    with pytest.raises(InvitationUsed):
        await store.accept(SECRET, MINE, START_MS + 1)


async def test_one_that_is_withdrawn_is_unknown(store: Store) -> None:
    await store.invite(invitation())
    await store.withdraw("eva", START_MS)

    with pytest.raises(InvitationUnknown):
        await store.accept(SECRET, MINE, START_MS)
    with pytest.raises(InvitationNotFound):
        await store.withdraw("eva", START_MS)


async def test_a_name_is_promised_once(store: Store) -> None:
    await store.invite(invitation())
    with pytest.raises(TokenExists):
        await store.invite(invitation())
    again = invitation(now=START_MS + DAY_MS)
    await store.invite(Invitation("eva", OTHER, *_rest(again)))  # the first one has ended
    await store.create_token(Token("bob", MINE, frozenset(Scope), None, START_MS))
    with pytest.raises(TokenExists):
        await store.invite(invitation("bob"))


def _rest(one: Invitation) -> tuple[frozenset[str], str, int, int]:
    return one.channels, one.made_by, one.created_at, one.expires_at


async def test_there_are_only_so_many_and_old_ones_are_forgotten(store: Store) -> None:
    for n in range(MAX_INVITATIONS):
        await store.invite(invitation(f"n{n}"))
    with pytest.raises(TooManyInvitations):
        await store.invite(invitation())

    much_later = START_MS + DAY_MS + INVITATION_KEPT_MS + 1
    await store.invite(invitation(now=much_later))
    assert [one.name for one in await store.invitations()] == ["eva"]
