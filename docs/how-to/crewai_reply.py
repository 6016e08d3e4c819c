"""Answers Chatwoot's customers with a CrewAI crew.

python -m examples.chatwoot_bot --reply docs/how-to/crewai_reply.py:reply
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from crewai import Agent, Crew, Task

from examples.chatwoot_bot.events import Conversation

CREWS_AT_ONCE = 4
CREW_TIMEOUT_S = 100  # below the --timeout of relay-client, so that Relay hears how it ended

threads = ThreadPoolExecutor(CREWS_AT_ONCE, thread_name_prefix="crew")


async def reply(conversation: Conversation) -> str | None:
    """The crew's answer. A TimeoutError makes the webhook fail, and Relay brings it again."""
    if not conversation.message:
        return None  # only attachments: a person looks at those
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(CREW_TIMEOUT_S):
        return await loop.run_in_executor(threads, ask_crew, conversation)


def ask_crew(conversation: Conversation) -> str:
    """Run a crew to its end: seconds to minutes, in which it holds its thread."""
    inputs = {"customer": conversation.customer, "message": conversation.message}
    return str(make_crew().kickoff(inputs=inputs).raw)


def make_crew() -> Crew:
    """A new crew for each message: a run writes its inputs into the agents and tasks."""
    attendant = Agent(
        role="Attendant of a bakery",
        goal="Answer customers briefly, warmly and in their own language",
        backstory="You know the bakery's menu. You never promise a price or a delivery.",
        max_execution_time=CREW_TIMEOUT_S - 10,
    )
    answer = Task(
        description="{customer} wrote: {message}",
        expected_output="The text of the answer, ready to be sent",
        agent=attendant,
    )
    return Crew(agents=[attendant], tasks=[answer])
