"""A model that thinks nothing, behind OpenAI's API: to try a bot without a key, or to test one.

python examples/fake_model.py
export OPENAI_BASE_URL=http://127.0.0.1:8010/v1 OPENAI_API_KEY=none
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Any

from aiohttp import web

HOST = "127.0.0.1"


class FakeModel:
    """Answers each chat completion with how much it was sent; keeps what that was.

    Attributes:
        think_s: How long an answer takes.
        asked: The messages of each request, joined.
        at_once: The most requests that it had at the same time.
        hung_up: Requests whose client did not wait for the answer.
    """

    def __init__(self, think_s: float = 0.0) -> None:
        self.think_s = think_s
        self.asked: list[str] = []
        self.at_once = self.hung_up = self._under_way = 0

    def app(self) -> web.Application:
        """Its server."""
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._complete)
        return app

    async def _complete(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append("\n".join(str(message.get("content")) for message in body["messages"]))
        answer = self.answer(body, len(self.asked))
        self._under_way += 1
        self.at_once = max(self.at_once, self._under_way)
        try:
            await asyncio.sleep(self.think_s)
        except asyncio.CancelledError:
            self.hung_up += 1
            raise
        finally:
            self._under_way -= 1
        return web.json_response(completion(body["model"], answer))

    def answer(self, body: dict[str, Any], number: int) -> dict[str, Any]:
        """The message that a request is answered with: the `number`-th, from 1."""
        said = len(body["messages"])
        text = f"Answer {number} of a model that thinks nothing, to {said} messages"
        return {"role": "assistant", "content": text}


def completion(model: str, message: dict[str, Any]) -> dict[str, Any]:
    """What OpenAI's API answers, as far as its clients look."""
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8010)
    parser.add_argument("--think", type=float, default=1.0, metavar="SECONDS")
    given = parser.parse_args()
    web.run_app(FakeModel(given.think).app(), host=HOST, port=given.port, handler_cancellation=True)


if __name__ == "__main__":
    main()
