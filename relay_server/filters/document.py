"""An event as filters and the index see it. Each side is worked out once, if somebody asks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import msgspec

from relay_server.filters.facts import MAX_TEXT_CHARS, Facts, facts_of, fold, text_of
from relay_server.filters.secrets import masked_text
from relay_server.values import Event

MAX_PARSED_BYTES = 1_048_576  # of a body; a larger one has neither facts nor text


class Document:
    """What a stored webhook says.

    Attributes:
        event: As it is stored.
    """

    def __init__(self, event: Event) -> None:
        self.event = event

    @cached_property
    def json(self) -> object:
        """The body, decoded; None where it is no JSON, or too large."""
        if len(self.event.body) > MAX_PARSED_BYTES:
            return None
        try:
            return msgspec.json.decode(self.event.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    @cached_property
    def facts(self) -> Facts:
        """Who wrote what to whom."""
        head = self.event.head
        return facts_of(head.kind, head.key, self.json)

    @cached_property
    def text(self) -> str:
        """What is searched: of JSON its values, of anything else all that is text."""
        body = self.event.body
        if self.json is not None:
            return text_of(self.json)
        if len(body) > MAX_PARSED_BYTES:
            return ""
        return fold(masked_text(body[:MAX_TEXT_CHARS].decode("utf-8", "replace"), " "))

    @cached_property
    def words(self) -> str:
        """The text, folded: a filter looks through it."""
        return fold(self.text)


class Documents:
    """Events that several filters are asked about: each is worked out once, if at all."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._events = events

    @cached_property
    def all(self) -> Sequence[Document]:
        """Each of them."""
        return [Document(event) for event in self._events]
