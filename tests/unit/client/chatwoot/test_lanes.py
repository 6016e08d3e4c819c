"""Who works when, whatever the clock says and however many wait."""

from __future__ import annotations

import asyncio

from relay_client.chatwoot import Key, Ledger, State, Turn
from relay_client.chatwoot.lanes import Lanes
from tests.support.waiting import until


async def test_a_clock_that_is_set_back_keeps_nobody_waiting() -> None:
    clock, served, ledger = [1_000_000.0], asyncio.Event(), Ledger(":memory:")

    async def serve(turn: Turn) -> None:
        ledger.settle(turn, State.SENT, "", clock[0])
        served.set()

    ledger.take(Key(2, 318), 1, b"{}", now=clock[0], due_at=clock[0] + 0.02)
    lanes = Lanes(ledger, serve, 1, lambda: clock[0])
    lanes.wake(Key(2, 318))
    await asyncio.sleep(0)
    clock[0] -= 600
    await until(served.is_set)
    await lanes.stop(0)


async def test_who_waits_for_room_is_held_as_well() -> None:
    """Of thousands that wait, none asks the model once Chatwoot does not take the token."""
    served, free, ledger = list[Key](), asyncio.Event(), Ledger(":memory:")

    async def serve(turn: Turn) -> None:
        served.append(turn.key)
        await free.wait()
        ledger.settle(turn, State.SENT, "", 0)

    keys = [Key(2, 318), Key(2, 319), Key(3, 318)]
    lanes = Lanes(ledger, serve, 1, lambda: 1.0)
    for number, key in enumerate(keys):
        ledger.take(key, number, b"{}", now=0, due_at=0)
        lanes.wake(key)
    await until(lambda: served)
    lanes.hold(2)
    free.set()
    await until(lambda: len(served) == 2)
    assert served == [keys[0], keys[2]]
    lanes.let_go(2)
    await until(lambda: not ledger.open_turns())
    assert served == [keys[0], keys[2], keys[1]]
    await lanes.stop(0)
