"""What every store promises of when tokens and signing secrets were used last."""

from __future__ import annotations

import pytest

from relay_server.people import LastUses
from relay_server.store.interface import Store
from relay_server.store.rules import MAX_USED_SECRETS
from relay_server.values import Scope, Token
from tests.support.clock import START_MS
from tests.support.stores import Stores, make_channel

ANA, BIA = (
    Token(name, name.encode(), frozenset({Scope.SEND}), None, START_MS) for name in ("ana", "bia")
)
NONE = LastUses({}, {})


@pytest.fixture
async def number(store: Store) -> int:
    """A channel's; two tokens are beside it."""
    for token in (ANA, BIA):
        await store.create_token(token)
    return (await make_channel(store)).number


async def test_the_later_use_stays_and_outlives_the_store(
    stores: Stores, store: Store, number: int
) -> None:
    assert await store.last_uses() == NONE
    await store.note_uses(NONE)
    await store.note_uses(LastUses({"ana": 20, "bia": 20}, {(number, "a"): 20, (number, "b"): 20}))
    await store.note_uses(LastUses({"ana": 10, "bia": 30}, {(number, "a"): 30, (number, "b"): 10}))
    store = await stores.reopen(store)
    assert await store.last_uses() == LastUses(
        {"ana": 20, "bia": 30}, {(number, "a"): 30, (number, "b"): 20}
    )


async def test_what_is_gone_is_neither_kept_nor_noted(store: Store, number: int) -> None:
    uses = LastUses({"ana": 1, "bia": 1, "eve": 1}, {(number, "a"): 1, (number + 9, "a"): 1})
    await store.note_uses(uses)
    assert await store.last_uses() == LastUses({"ana": 1, "bia": 1}, {(number, "a"): 1})
    await store.revoke_token("ana")
    await store.delete_channel("chatwoot")
    assert await store.last_uses() == LastUses({"bia": 1}, {})
    await store.note_uses(uses)
    assert await store.last_uses() == LastUses({"bia": 1}, {})
    await store.create_token(ANA)  # another of that name was not used
    assert await store.last_uses() == LastUses({"bia": 1}, {})


async def test_of_a_channels_secrets_those_that_were_used_last_are_known(
    store: Store, number: int
) -> None:
    secrets = {(number, f"{n:02}"): n for n in range(1, MAX_USED_SECRETS + 4)}
    await store.note_uses(LastUses({}, secrets))
    found = (await store.last_uses()).secrets
    assert sorted(found.values()) == list(range(4, MAX_USED_SECRETS + 4))
