"""The ledger that judges faults sees each way in which the promise can be broken."""

from __future__ import annotations

import itertools

import pytest

from tests.support.ledger import Ledger, Said, Verdict
from tests.support.processes import Json
from tests.support.target import BROKEN, OK, Arrival

TARGET = "/webhook?x=1"
FIELDS = ((b"X-Chatwoot-Delivery", b"one"), (b"x-note", b"\xc3\xa9"))


class Story:
    """A ledger whose webhooks are made and arrive as a test tells it."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self._times = itertools.count()

    def say(self, number: int, *, key: str = "a", status: int | None = 200) -> Said:
        """A webhook that was answered so, before the next is said; None for no answer."""
        name = f"{key}-{number}"
        fields = ((b"X-Chatwoot-Delivery", name.encode()), *FIELDS[1:])
        began = float(next(self._times))
        said = Said(key, number, name.encode(), TARGET, fields, name, began)
        self.ledger.say(said)
        if status is not None:
            self.ledger.answered(said, status, f"evt_{name}" if status == 200 else None)
        if said.answered is not None:
            said.answered = float(next(self._times))
        return said

    async def comes(self, said: Said, *, raw: bytes = OK, changed: Json | None = None) -> None:
        """It comes to the target, with something changed."""
        fields: Json = {
            "request_target": said.target,
            "body": said.body,
            "headers": (*said.fields, (b"Relay-Event-Id", f"evt_{said.delivery_id}".encode())),
            **(changed or {}),
        }

        async def answer(_: Arrival) -> bytes:
            return raw

        arrival = Arrival("POST", at=0.0, **fields)
        await self.ledger.reader("ana").listening(answer)(arrival)

    def judge(self, *, strict: bool = True, **outstanding: set[str]) -> Verdict:
        return self.ledger.judge(self.ledger.reader("ana"), strict=strict, **outstanding)


@pytest.fixture
def story() -> Story:
    return Story()


def broken(verdict: Verdict) -> set[str]:
    """What a verdict complains of."""
    kinds = ("lost", "ghost", "mutated", "out_of_order", "stored_twice")
    return {kind for kind in kinds if verdict.counts[kind]}


async def test_what_came_in_order_as_it_was_sent_is_kept(story: Story) -> None:
    for said in [story.say(1), story.say(2), story.say(1, key="b")]:
        await story.comes(said)
    verdict = story.judge()
    assert verdict.kept
    assert (verdict.accepted, verdict.taken, verdict.duplicates) == (3, 3, 0)


async def test_accepted_and_nowhere_is_lost(story: Story) -> None:
    said = story.say(1)
    assert broken(story.judge()) == {"lost"}
    assert story.judge(dead={f"evt_{said.delivery_id}"}).kept
    assert story.judge(pending={f"evt_{said.delivery_id}"}).kept


async def test_what_the_target_failed_with_is_not_taken(story: Story) -> None:
    await story.comes(story.say(1), raw=BROKEN)
    assert broken(story.judge()) == {"lost"}


async def test_not_accepted_is_not_lost_and_may_come(story: Story) -> None:
    story.say(1, status=None)
    await story.comes(story.say(2, status=None))
    await story.comes(story.say(3, status=503))
    assert story.judge().kept


async def test_what_nobody_sent_is_a_ghost(story: Story) -> None:
    said = story.say(1, status=None)
    await story.comes(said, changed={"headers": ((b"Relay-Event-Id", b"evt_x"),)})
    assert broken(story.judge()) == {"ghost"}


async def test_what_was_refused_for_good_is_a_ghost(story: Story) -> None:
    await story.comes(story.say(1, status=401))
    assert broken(story.judge()) == {"ghost"}


@pytest.mark.parametrize(
    "changed",
    [
        {"body": b"a-1 "},
        {"request_target": "/webhook"},
        {"headers": ((b"Relay-Event-Id", b"evt_a-1"), (b"X-Chatwoot-Delivery", b"a-1"))},
        {"headers": ((b"Relay-Event-Id", b"evt_a-1"), (b"x-note", b"\xc3\xa9"), FIELDS[0])},
    ],
    ids=["body", "path", "a field less", "fields in another order"],
)
async def test_other_bytes_are_mutated(story: Story, changed: Json) -> None:
    await story.comes(story.say(1), changed=changed)
    assert broken(story.judge()) == {"mutated"}


async def test_a_later_one_first_is_out_of_order(story: Story) -> None:
    first, second = story.say(1), story.say(2)
    await story.comes(second)
    await story.comes(first)
    assert broken(story.judge()) == {"out_of_order"}


async def test_keys_have_no_order_between_them(story: Story) -> None:
    first, second = story.say(1), story.say(2, key="b")
    await story.comes(second)
    await story.comes(first)
    assert story.judge().kept


async def test_what_got_no_answer_has_no_order(story: Story) -> None:
    """It may have been stored after the next one."""
    first, second = story.say(1, status=None), story.say(2)
    await story.comes(second)
    await story.comes(first)
    assert story.judge().kept


async def test_strict_order_waits_for_what_fails(story: Story) -> None:
    first, second = story.say(1), story.say(2)
    await story.comes(first, raw=BROKEN)
    await story.comes(second)
    await story.comes(first)
    assert broken(story.judge()) == {"out_of_order"}
    assert story.judge(strict=False).kept


async def test_strict_order_does_not_wait_for_the_dead(story: Story) -> None:
    first, second = story.say(1), story.say(2)
    await story.comes(first, raw=BROKEN)
    await story.comes(second)
    assert story.judge(dead={f"evt_{first.delivery_id}"}).kept


async def test_two_events_of_one_webhook_were_stored_twice(story: Story) -> None:
    said = story.say(1)
    await story.comes(said)
    other = (*said.fields, (b"Relay-Event-Id", b"evt_other"))
    await story.comes(said, changed={"headers": other})
    assert broken(story.judge()) == {"stored_twice"}


async def test_what_was_taken_again_is_a_duplicate(story: Story) -> None:
    said = story.say(1)
    for _ in range(3):
        await story.comes(said)
    verdict = story.judge()
    assert verdict.kept
    assert verdict.duplicates == 2
