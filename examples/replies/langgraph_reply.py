"""Answers Chatwoot's customers with a graph of LangGraph's.

relay-client bot run examples/replies/langgraph_reply.py:reply
"""

from __future__ import annotations

import functools
import operator
import os
from typing import Annotated, TypedDict

from langchain_openai import ChatOpenAI
from langgraph.channels import UntrackedValue
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph

from relay_client.chatwoot import Talk

MODEL = os.environ.get("MODEL", "gpt-5-mini")
MODEL_TIMEOUT_S = 60.0
THREADS = "threads.sqlite3"  # what the graph keeps of each conversation
ANSWERS = 10  # then people go on
RULES = """You answer the customers of a bakery, briefly and in their own language.
You never promise a price or a delivery."""


class State(TypedDict):
    """What the graph knows.

    Attributes:
        said: The conversation, as Chatwoot shows it: of this run alone.
        answer: Of this run.
        answers: How many there were: the thread keeps that.
    """

    said: Annotated[list[dict[str, str]], UntrackedValue]
    answer: Annotated[str, UntrackedValue]
    answers: Annotated[int, operator.add]


async def reply(talk: Talk) -> str | None:
    """The graph's answer; None leaves the conversation to people."""
    if not talk.text:
        return None  # only files came
    thread = {"configurable": {"thread_id": f"{talk.key.account}:{talk.key.conversation}"}}
    async with AsyncSqliteSaver.from_conn_string(THREADS) as saver:
        graph = builder.compile(checkpointer=saver)
        end = await graph.ainvoke({"said": talk.chat()}, thread, durability="exit")
    return end.get("answer") or None  # empty where the model refuses


async def ask_model(state: State) -> dict[str, object]:
    """What the model says next. An error, or no answer in time, is tried again later."""
    answer = await model().ainvoke([{"role": "system", "content": RULES}, *state["said"]])
    return {"answer": answer.text, "answers": 1}


@functools.cache
def model() -> ChatOpenAI:
    """The model's client, which is slow to make."""
    return ChatOpenAI(model=MODEL, timeout=MODEL_TIMEOUT_S, max_retries=0)


def goes_on(state: State) -> str:
    """Where from the beginning: nowhere, if people are to go on."""
    return "ask_model" if state.get("answers", 0) < ANSWERS else END


builder = StateGraph(State)
builder.add_node(ask_model)
builder.add_conditional_edges(START, goes_on, ["ask_model", END])
