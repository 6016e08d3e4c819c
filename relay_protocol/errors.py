"""The root of Relay's errors, shared by both ends of the tunnel."""

from __future__ import annotations

from typing import ClassVar


class RelayError(Exception):
    """Anything Relay refuses or cannot do, with what an HTTP answer needs to say so.

    Attributes:
        code: Stable name for programs, documented in `docs/reference/errors.md`.
        status_hint: HTTP status that fits, for the surface that answers with it.
        hint: What to do about it, for people; empty when the message says it all.
        message: What is said, with a place for each fact that is given.
        facts: What is filled in there.
    """

    code: ClassVar[str] = "error"
    status_hint: ClassVar[int] = 500
    hint: str = ""
    message: ClassVar[str] = "{}"

    def __init_subclass__(cls, *, code: str = "", status: int = 0) -> None:
        """Have the code and the status in the head of a class; what is left out is its parent's."""
        super().__init_subclass__()
        if code:
            cls.code = code
        if status:
            cls.status_hint = status

    def __init__(self, *facts: object) -> None:
        super().__init__(self.message.format(*facts))
        self.facts = facts


class ProtocolError(RelayError):
    """The other end sent something that `relay.v1` does not allow here."""

    code = "protocol_error"
    status_hint = 400
