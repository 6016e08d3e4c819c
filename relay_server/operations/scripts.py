"""Events as scripts that send them: secrets masked, unless an administrator asks for them."""

from __future__ import annotations

import asyncio
import re

import msgspec

from relay_server.bodies.masking import masked_event
from relay_server.bodies.scripts import Language, Sent, script, script_of_many, without_secrets
from relay_server.errors import InvalidValue
from relay_server.operations import Caller
from relay_server.operations.audit import audited
from relay_server.operations.conversations import find_conversation
from relay_server.operations.events import Download, check_kept, look_up, shown_body
from relay_server.values import Event

MAX_SCRIPT_BYTES = 1_048_576  # of a body that a script is made of; a larger one: 422
MAX_NAME_CHARS = 60  # of a conversation's key in the name of a file


class ScriptPage(msgspec.Struct):
    """How a script is made: with secrets, which takes the scope admin."""

    secrets: bool = False


class Script(msgspec.Struct, frozen=True):
    """An event as a script that sends it.

    Attributes:
        language: `curl`, `httpie`, `pytest` or `json`.
        masked: Secrets are left out: it is not quite what was sent.
    """

    id: str
    language: str
    text: str
    masked: bool


async def show_script(who: Caller, id_: str, language: str, page: ScriptPage) -> Script:
    """An event as a script for curl or HTTPie, as a test for pytest, or as JSON.

    Its secrets are masked. With them it is for administrators, and noted.
    """
    if language not in set(Language):
        raise InvalidValue(f"there are scripts for {', '.join(Language)}")
    if page.secrets:
        who.check_admin()
    if page.secrets:
        return await _with_secrets(who, (await _sent(who, id_)).id, language)
    sent = await _sent(who, id_, masks=True)
    # In a thread: a body may have 1 MiB.
    clean = await asyncio.to_thread(without_secrets, sent)
    return Script(sent.id, language, script(clean, Language(language)), clean.masked)


async def show_conversation_test(who: Caller, channel: str, key: str, as_of: int = 0) -> Download:
    """A conversation's webhooks, as a test for pytest that sends them in their order.

    Args:
        who: May read the channel.
        channel: Its name.
        key: Of the conversation.
        as_of: Only what came up to this moment, in Unix milliseconds; 0 for all.
    """
    of = who.channel(channel)
    found = await find_conversation(who, of, key)
    left, complete, left_out = MAX_SCRIPT_BYTES, found.complete, list[str]()

    def take(event: Event) -> Sent | None:
        nonlocal left, complete
        if as_of and event.head.received_at > as_of:
            return None
        if not event.kept:
            complete = False
            return None
        if len(event.body) > left:
            left_out.append(event.head.id)
            return None
        left -= len(event.body)
        shown = masked_event(event, of.config.mask)
        masked = shown.body != event.body
        return without_secrets(Sent(event.head.id, event.head.request, shown.body, masked=masked))

    newest_first = sorted(found.sequences, reverse=True)
    taken = await who.store.examine(of.number, newest_first, take)
    sent = [one for one in reversed(taken) if one is not None]
    if not sent:
        raise InvalidValue("none of its webhooks is there, or each is too large for a test")
    complete = complete and found.scanned_to <= 1
    text = script_of_many(key, sent, left_out, complete=complete)
    name = re.sub(r"[^0-9A-Za-z]+", "_", key)[:MAX_NAME_CHARS]
    return Download(f"test_conversation_{name}.py", text.encode())


@audited("secrets.show")
async def _with_secrets(who: Caller, id_: str, language: str) -> Script:
    text = script(await _sent(who, id_), Language(language))
    return Script(id_, language, text, masked=False)


async def _sent(who: Caller, id_: str, *, masks: bool = False) -> Sent:
    channel, event = await look_up(who, id_)
    check_kept(event)
    if len(event.body) > MAX_SCRIPT_BYTES:
        raise InvalidValue(f"no script is made of a body of more than {MAX_SCRIPT_BYTES} bytes")
    body = await shown_body(channel, event) if masks else event.body
    return Sent(event.head.id, event.head.request, body, masked=body != event.body)
