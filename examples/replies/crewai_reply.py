"""Answers Chatwoot's customers with a CrewAI crew.

relay-client bot run examples/replies/crewai_reply.py:reply
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

# Read when CrewAI is imported; without them it tells its makers what runs, and offers to tell more.
os.environ |= {"CREWAI_DISABLE_TELEMETRY": "true", "CREWAI_TRACING_ENABLED": "false"}

from crewai import LLM, Agent, Crew, Task

from relay_client.chatwoot import Talk

MODEL = os.environ.get("MODEL", "gpt-5-mini")
MODEL_TIMEOUT_S = 60.0  # of one call; a crew makes one for each step of each agent
CREWS_AT_ONCE = 4
NO_PLACEHOLDERS = str.maketrans("{}", "()")

threads = ThreadPoolExecutor(CREWS_AT_ONCE, thread_name_prefix="crew")


async def reply(talk: Talk) -> str | None:
    """The crew's answer; None leaves the conversation to people."""
    if not talk.text:
        return None  # only files came
    said = "\n".join(f"{line['role']}: {one_line(line['content'])}" for line in talk.chat())
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(threads, ask_crew, said)


def one_line(text: str) -> str:
    """A customer's words, in which no line can begin as one of the assistant's does."""
    return " ".join(text.split())


def ask_crew(said: str) -> str:
    """Run a crew to its end: seconds to minutes, in which it holds its thread."""
    return str(make_crew(said.translate(NO_PLACEHOLDERS)).kickoff().raw)


def make_crew(said: str) -> Crew:
    """A new crew for each answer: several run at once, and a run leaves its traces in a crew."""
    attendant = Agent(
        role="Attendant of a bakery",
        goal="Answer customers briefly, warmly and in their own language",
        backstory="You know the bakery's menu. You never promise a price or a delivery.",
        llm=LLM(model=f"openai/{MODEL}", timeout=MODEL_TIMEOUT_S, max_retries=0),
        max_iter=5,
        max_retry_limit=0,
    )
    answer = Task(
        description=f"This is the conversation with a customer. Answer its end.\n\n{said}",
        expected_output="The text of the answer, ready to be sent, of at most 1,000 characters",
        agent=attendant,
    )
    return Crew(agents=[attendant], tasks=[answer])
