"""What every store promises of who is logged in to the dashboard."""

from __future__ import annotations

from relay_server.people import Session
from relay_server.store.feed import Change, SessionEnded
from relay_server.store.interface import Store
from relay_server.store.rules import MAX_SESSIONS, SESSION_MS, UNUSED_SESSION_MS
from relay_server.values import Scope, Token
from tests.support.clock import START_MS
from tests.support.stores import Stores


async def begin(store: Store, name: str, at: int = START_MS, token: str | None = None) -> Session:
    session = Session(name.encode(), token, at, at, "203.0.113.9", "Firefox é")
    await store.begin_session(session)
    return session


async def make_token(store: Store) -> None:
    token = Token("ana", b"digest", frozenset({Scope.SUBSCRIBE}), None, START_MS)
    await store.create_token(token)


async def test_a_session_is_found_and_outlives_the_store(stores: Stores, store: Store) -> None:
    session = await begin(store, "one")
    store = await stores.reopen(store)

    assert await store.session(b"one", START_MS) == session
    assert await store.session(b"two", START_MS) is None


async def test_a_session_ends_unused_and_in_any_case(store: Store) -> None:
    await begin(store, "one")
    assert await store.session(b"one", START_MS + UNUSED_SESSION_MS)
    assert await store.session(b"one", START_MS + UNUSED_SESSION_MS + 1) is None

    for used in range(START_MS, START_MS + SESSION_MS, UNUSED_SESSION_MS):
        await store.use_session(b"one", "203.0.113.10", used)
        assert await store.session(b"one", used)
    assert await store.session(b"one", START_MS + SESSION_MS + 1) is None
    assert await store.sessions(START_MS + SESSION_MS + 1) == []


async def test_logging_out_ends_one_and_is_told(store: Store) -> None:
    told = list[Change]()
    store.feed.listen(SessionEnded, told.append)
    await begin(store, "one")
    other = await begin(store, "two")

    assert await store.end_session(b"one")
    assert not await store.end_session(b"one")
    assert told[0] == SessionEnded(b"one")
    assert await store.sessions(START_MS) == [other]


async def test_a_session_ends_with_its_token(store: Store) -> None:
    await make_token(store)
    await begin(store, "hers", token="ana")
    host = await begin(store, "hosts")
    await store.revoke_token("ana")

    assert await store.sessions(START_MS) == [host]


async def test_of_too_many_that_used_longest_ago_ends(store: Store) -> None:
    await make_token(store)
    host = await begin(store, "hosts")
    for number in range(MAX_SESSIONS + 1):
        await begin(store, f"{number}", START_MS + number, "ana")
    found = await store.sessions(START_MS + MAX_SESSIONS)

    assert len(found) == MAX_SESSIONS + 1
    assert [s.digest for s in found][-2:] == [b"1", host.digest]
