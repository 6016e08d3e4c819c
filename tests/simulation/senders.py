"""Senders: each sends the events of its conversation one after another, until each is answered."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable

from relay_server.values import Appended
from tests.simulation.judge import Judge, Sent
from tests.simulation.kernel import Kernel
from tests.simulation.plan import PICKS, Plan, Talk

ANSWER_S = 5.0  # a sender waits no longer
MOST_TRIES = 12
AGAIN_S = 3.0

Post = Callable[[Sent, str], Awaitable[Appended | int]]


class Sender:
    """One conversation.

    Attributes:
        stopped: It begins no other event.

    Args:
        kernel: Of this run.
        judge: Learns what is sent, and what was answered.
        plan: For the sizes of bodies.
        talk: What to send.
        post: Takes a webhook to the server, or raises ConnectionError.
    """

    def __init__(self, kernel: Kernel, judge: Judge, plan: Plan, talk: Talk, post: Post) -> None:
        self.poison: dict[bytes, int] = {}
        self.long: set[bytes] = set()
        self.stopped = False
        self._kernel = kernel
        self._judge = judge
        self._talk = talk
        self._post = post
        self._number = kernel.number()
        self._rng = kernel.rng(f"sender {self._number}")
        self._all = [self._make(n, plan.sizes) for n in range(1, talk.count + 1)]

    async def run(self) -> None:
        """Send all of them."""
        await asyncio.sleep(self._talk.first_at)
        for sent in self._all:
            if self.stopped:
                return
            self._judge.will_send(sent)
            await self._send(sent)
            if self._talk.gap_s:
                await asyncio.sleep(self._rng.uniform(0, 2 * self._talk.gap_s))

    async def _send(self, sent: Sent) -> None:
        target = "/webhook?a=1" if sent.channel == "chatwoot" else f"/c/{sent.channel}/hook?a=1"
        for _ in range(MOST_TRIES):
            try:
                async with asyncio.timeout(ANSWER_S):
                    answer = await self._post(sent, target)
            except (ConnectionError, TimeoutError):
                answer = 0
            if isinstance(answer, Appended):
                self._answered(sent, answer)
                return
            self._kernel.note(f"webhook answered {answer}")
            await asyncio.sleep(self._rng.uniform(0.5, 1.5) * AGAIN_S)
        self._kernel.note("sender gave up")

    def _answered(self, sent: Sent, answer: Appended) -> None:
        if answer.duplicate:
            self._kernel.note("webhook known already")
        self._kernel.note("webhook answered 200", sequence=answer.sequence, key=sent.key)
        sent.answered = answer.id, answer.sequence

    def _make(self, number: int, sizes: tuple[int, ...]) -> Sent:
        talk = self._talk
        name = f"s{self._number}-{number}"
        body = _body(talk, name, self._rng.choice(sizes), self._rng)
        if number == talk.poison:
            self.poison[body] = talk.poison_status
        if number == talk.long:
            self.long.add(body)
        headers = (
            (b"Content-Type", b"application/json"),
            (b"X-Chatwoot-Delivery", name.encode()),
            (b"X-Twice", b"1"),
            (b"x-twice", b"2"),
        )
        return Sent(talk.channel, talk.key, body, headers)


def _body(talk: Talk, name: str, size: int, rng: random.Random) -> bytes:
    content: dict[str, object] = {"event": "message_created", "name": name, "pad": "x" * size}
    content["pick"] = rng.randrange(PICKS)
    if talk.key:
        if talk.channel == "chatwoot":
            content["conversation"] = {"id": talk.key}
        else:
            content["who"] = talk.key
    return json.dumps(content, indent=rng.choice([None, 1])).encode()
