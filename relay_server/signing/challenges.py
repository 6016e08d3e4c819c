"""What a provider asks of a URL before it posts there: to say back what only it knows. Pure.

It is answered at the door and stored nowhere. What is said back is a word of plain characters, so
that nothing a stranger chose is ever a page.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qs

import msgspec

MAX_CHALLENGE_BYTES = 512  # of what is said back; a longer one is no challenge
MAX_ASKING_BYTES = 4_096  # of a body, or a query, that has one; a larger one is none

_WORD = re.compile(rf"[\x21-\x7e]{{1,{MAX_CHALLENGE_BYTES}}}")


class Challenge(NamedTuple):
    """What is to be said back.

    Attributes:
        answer: Plain characters without spaces.
        token: What it shows in place of a signature; None where it must be signed.
    """

    answer: bytes
    token: bytes | None = None


class _Slack(msgspec.Struct):
    type: str = ""
    challenge: str = ""


_slack = msgspec.json.Decoder(_Slack)


def challenge_of(scheme: str, method: str, request_target: str, body: bytes) -> Challenge | None:
    """What a request asks to be said back; None for one that is to be stored as any other."""
    if scheme == "slack" and method == "POST":
        return _of_slack(body)
    if scheme == "meta" and method == "GET":
        return _of_meta(request_target.partition("?")[2])
    return None


def _of_slack(body: bytes) -> Challenge | None:
    """`url_verification` of its Events API."""
    if len(body) > MAX_ASKING_BYTES or b"url_verification" not in body:
        return None
    try:
        asked = _slack.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return _said(asked.challenge) if asked.type == "url_verification" else None


def _of_meta(query: str) -> Challenge | None:
    """`hub.challenge` of its Graph API's webhooks."""
    if len(query) > MAX_ASKING_BYTES or "hub.challenge=" not in query:
        return None
    fields = parse_qs(query, errors="replace", max_num_fields=MAX_ASKING_BYTES)
    if fields.get("hub.mode") != ["subscribe"]:
        return None
    [token, *_] = fields.get("hub.verify_token", [""])
    challenge = _said(fields.get("hub.challenge", [""])[0])
    return challenge and challenge._replace(token=token.encode(errors="replace"))


def _said(word: str) -> Challenge | None:
    return Challenge(word.encode()) if _WORD.fullmatch(word) else None
