"""Answers Chatwoot's customers with the OpenAI Agents SDK.

relay-client bot run examples/replies/openai_agents_reply.py:reply
"""

from __future__ import annotations

import functools
import os

from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    RunConfig,
    RunContextWrapper,
    Runner,
    function_tool,
)
from openai import AsyncOpenAI

from relay_client.chatwoot import Talk

MODEL = os.environ.get("MODEL", "gpt-5-mini")
MODEL_TIMEOUT_S = 60.0
TURNS = 6  # calls of the model in one run, its tools' included
RULES = """You answer the customers of a bakery, briefly and in their own language.
You never promise a price or a delivery. If you do not know, fetch a person."""


@function_tool
async def fetch_person(run: RunContextWrapper[Talk], reason: str) -> str:
    """Hand the conversation to a person of the team, and tell them why."""
    run.context.hand_over(reason)
    return "A person of the team will go on."


async def reply(talk: Talk) -> str | None:
    """The agent's answer; None leaves the conversation to people."""
    if not talk.text:
        return None  # only files came
    ended = await Runner.run(
        agent(),
        talk.chat(),
        context=talk,
        max_turns=TURNS,
        run_config=RunConfig(
            tracing_disabled=True,  # else OpenAI is sent all that is said
            group_id=f"{talk.key.account}:{talk.key.conversation}",
        ),
    )
    return str(ended.final_output or "") or None  # empty where the model refuses


@functools.cache
def agent() -> Agent[Talk]:
    """The agent, once made. An error, or no answer in time, is tried again later."""
    client = AsyncOpenAI(timeout=MODEL_TIMEOUT_S, max_retries=0)
    return Agent(
        name="Attendant of a bakery",
        instructions=RULES,
        model=OpenAIChatCompletionsModel(MODEL, client),
        tools=[fetch_person],
    )
