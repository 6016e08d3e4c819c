"""Answers Chatwoot's customers with one call of a model, and no framework.

relay-client bot run examples/replies/plain_reply.py:reply
"""

from __future__ import annotations

import os

import aiohttp

from relay_client.chatwoot import Talk

API = os.environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1")
KEY = os.environ["OPENAI_API_KEY"]
MODEL = os.environ.get("MODEL", "gpt-5-mini")
MODEL_TIMEOUT_S = 60.0
PERSON = "PERSON"
RULES = f"""You answer the customers of a bakery, briefly and in their own language.
You never promise a price or a delivery.
If you do not know, or they ask for a person, answer {PERSON} alone."""


async def reply(talk: Talk) -> str | None:
    """The model's answer; None leaves the conversation to people."""
    if not talk.text:
        return None  # only files came
    answer = await ask([{"role": "system", "content": RULES}, *talk.chat()])
    return None if answer.strip() == PERSON else answer


async def ask(messages: list[dict[str, str]]) -> str:
    """What the model says next. An error, or no answer in time, is tried again later."""
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=MODEL_TIMEOUT_S)) as session,
        session.post(
            f"{API}/chat/completions",
            json={"model": MODEL, "messages": messages},
            headers={"Authorization": f"Bearer {KEY}"},
            raise_for_status=True,
        ) as response,
    ):
        answer = await response.json()
    return str(answer["choices"][0]["message"]["content"] or PERSON)  # null where it refuses
