"""Asks whether somebody is sure, before what cannot be taken back or is for many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from aiohttp import web

from relay_server.dashboard.events import number
from relay_server.dashboard.rendering import render
from relay_server.dashboard.visit import Fields, Visitor

MANY = 100  # things above which their number is to be typed


class Question(NamedTuple):
    """What somebody is to be sure of.

    Attributes:
        title: The question.
        about: What it is about: foreign texts, one beside the other.
        text: What comes of it.
        action: Where the form goes.
        fields: That it brings, beside what is typed.
        do: The value of its button.
        button: What that says.
        keep: The same of the link back.
        back: Where that leads.
        things: How many things it is about.
    """

    title: str
    about: list[str]
    text: str
    action: str
    fields: Mapping[str, str]
    do: str
    button: str
    keep: str
    back: str
    things: int


def is_sure(fields: Fields, count: int) -> bool:
    """True if a form comes from such a question, and the number was typed that is right now."""
    return "sure" in fields and (count <= MANY or number(fields.get("count", "")) == count)


def ask(request: web.Request, visitor: Visitor, question: Question, fields: Fields) -> web.Response:
    """Ask, once more where another number was typed."""
    return render(
        request,
        "sure.html",
        visitor=visitor,
        question=question,
        many=question.things > MANY,
        mistyped="sure" in fields,
    )
