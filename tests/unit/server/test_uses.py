"""When tokens and signing secrets were used last: known after a restart, and rarely written."""

from __future__ import annotations

import pytest

from relay_server.configs import HmacAuth
from relay_server.errors import StoreUnavailable
from relay_server.people import LastUses
from relay_server.uses import WRITE_S, Uses
from relay_server.values import Scope
from tests.support.clock import VirtualClock
from tests.unit.server.support import Served


class Counted:
    """A server's store, and what was noted in it."""

    def __init__(self, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store, self.noted = served.store, list[LastUses]()
        note = self.store.note_uses

        async def counted(uses: LastUses) -> None:
            self.noted.append(uses)
            await note(uses)

        monkeypatch.setattr(self.store, "note_uses", counted)


@pytest.fixture
def counted(served: Served, monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(served, monkeypatch)


async def test_what_was_used_is_known_after_a_restart(served: Served) -> None:
    sealed = served.context.sealer.seal(b"secret")
    await served.configure(hmac=HmacAuth("chatwoot", (sealed,)))
    number = served.store.catalog.channels["chatwoot"].number
    await served.make_token("ana", Scope.SUBSCRIBE)
    uses = served.context.uses
    uses.tokens["ana"], uses.tokens["root"] = 7, 8
    uses.verified(number, sealed, 9)
    await uses.write()

    again = Uses(served.store, served.context.clock)
    again.tokens["ana"] = 99
    await again.learn()

    assert again.tokens["ana"] == 99
    assert again.last_verified(number, sealed) == 9
    await served.store.revoke_token("ana")
    await again.learn()
    assert "ana" not in again.tokens


async def test_uses_are_written_together_once_in_five_minutes_and_only_what_is_new(
    served: Served, counted: Counted
) -> None:
    for name in ("ana", "bia"):
        await served.make_token(name, Scope.SEND)
    clock = VirtualClock()
    uses, used = Uses(counted.store, clock), 0
    while clock.monotonic() < WRITE_S - 1:
        clock.advance(1)
        uses.tokens["ana"] = uses.tokens["bia"] = used = clock.unix_ms()
        await uses.write_if_due()
    assert counted.noted == []
    clock.advance(1)
    uses.tokens["canary-1"] = clock.unix_ms()
    await uses.write_if_due()
    assert counted.noted == [LastUses({"ana": used, "bia": used}, {})]
    clock.advance(WRITE_S)
    await uses.write_if_due()
    assert len(counted.noted) == 1
    uses.tokens["bia"] = clock.unix_ms()
    await uses.close()
    assert counted.noted[1:] == [LastUses({"bia": clock.unix_ms()}, {})]


async def test_a_store_that_takes_nothing_is_asked_again_the_next_time(
    served: Served, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served.make_token("ana", Scope.SEND)
    uses = served.context.uses
    uses.tokens["ana"] = 5
    space = counted.store.space
    for name, value in (("away", True), ("taking", False)):
        with monkeypatch.context() as patch:
            patch.setattr(space, name, value)
            await uses.write()
    assert counted.noted == []

    async def away(*_: object) -> LastUses:
        raise StoreUnavailable("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(counted.store, "note_uses", away)
        patch.setattr(counted.store, "last_uses", away)
        await uses.write()
        await uses.learn()
    assert uses.tokens["ana"] == 5
    await uses.write()
    assert (await counted.store.last_uses()).tokens["ana"] == 5
