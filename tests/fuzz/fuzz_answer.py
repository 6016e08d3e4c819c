"""What a target answers to a webhook, and what the next webhook on the same connection gets.

The first byte says how: whether the target then closes, whether the request was a HEAD, and in
pieces of how many bytes the rest comes.
"""

from __future__ import annotations

import asyncio

from tests.fuzz.running import run
from tests.support.answers import understood


def consider(data: bytes) -> None:
    """An answer within its bounds, or none; nothing of it is left for the next request."""
    how, answer = data[0] if data else 0, data[1:]
    size = max(how & 0x3F, len(answer) // 200, 1)
    pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
    LOOP.run_until_complete(understood(pieces, ends=bool(how & 0x80), bodiless=bool(how & 0x40)))


LOOP = asyncio.new_event_loop()  # one for all inputs: opening one costs more than an answer


if __name__ == "__main__":
    run(consider)
