"""Rules of every store, whatever keeps it: bounds, spellings, the meaning of a selection. Pure."""

from __future__ import annotations

import json

import msgspec

from relay_server.values import Selection

SQLITE = "sqlite"  # the URL of a store in one file in the data dir
POSTGRES = "postgresql"  # the scheme of one in a database, which several replicas may share

MAX_SUBSCRIPTIONS = 1_000  # of a channel
MAX_RUNNING_REPLAYS = 16  # of a subscription
MAX_WAITING_EDITED = 64  # edited events of a subscription; one more: 409
MAX_EDITED = 1_000  # edited events of a channel; the oldest that do not wait go first
MAX_EDITED_BYTES = 67_108_864  # bodies and heads of them: the same
MAX_PINNED = 200  # events of a channel; one more: 409
MAX_PINNED_BYTES = 67_108_864  # bodies and heads of them: the same
MAX_AUDITED = 10_000  # entries of the audit log; the oldest go
AUDIT_MS = 7_776_000_000  # 90 days that they are kept
MAX_INVITATIONS = 100  # open at once; one more: 409
INVITATION_KEPT_MS = 604_800_000  # 7 days after its end: who comes late is told what became of it
ACCEPT_AGAIN_MS = 600_000  # for which who accepted one, and lost the answer, may ask again
MAX_SESSIONS = 20  # of a token in the dashboard; one more ends the one used longest ago
MAX_USED_SECRETS = 16  # of a channel, of which is kept when they signed something last
UNUSED_SESSION_MS = 43_200_000  # after which a session of the dashboard that is not used ends
SESSION_MS = 604_800_000  # after which each ends
SAMPLE = 5  # events that a dry run of a replay shows
MAX_LISTED_REPLAYS = 500  # in one answer, the newest
CLOCK_JUMP_MS = 86_400_000  # events need not lie in order of time; further apart they do


def spellings(text: str) -> tuple[bytes, bytes, bytes]:
    """A text as it is, and in both ways that JSON is written: all in ASCII, and not."""
    ascii_, unicode = json.dumps(text), json.dumps(text, ensure_ascii=False)
    return text.encode(), ascii_[1:-1].encode(), unicode[1:-1].encode()


def meant(body: bytes) -> bytes:
    r"""A body of JSON as it would be written anew, so that each text in it has one spelling.

    Senders write `&` as `\u0026`, and `/` as `\/`, wherever they like. Empty where it is no JSON.
    """
    try:
        return msgspec.json.encode(msgspec.json.decode(body))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return b""


def has_text(body: bytes, text: str) -> bool:
    """Whether a text is in a body, as sent or in any spelling of JSON; the empty one always is."""
    spelled = spellings(text)
    return any(one in body for one in spelled) or (b"\\" in body and spelled[-1] in meant(body))


def of_any_account(key: str) -> str | None:
    """How the keys end that a conversation's number means, behind an account's number.

    `318` means itself and `2/318`, the conversation of whichever Chatwoot account; what names an
    account means nothing else.
    """
    return None if "/" in key else f"/{key}"


def bounds(selection: Selection, last: int, *starts: int) -> tuple[int, int]:
    """Between which sequences a selection can lie: after the first, up to the second.

    Args:
        selection: Which events are meant.
        last: The newest sequence.
        starts: Sequences that it cannot begin before, as the store knows.
    """
    named = selection.sequences
    start = max(0, (selection.first or 1) - 1, min(named, default=1) - 1, *starts)
    until = min(last, max(named, default=last), last if selection.last is None else selection.last)
    return min(start, max(until, 0)), max(until, 0)
