"""Each kind of what does not fit, as msgspec finds it, in words."""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from relay_server.web.misfits import misfit


class Word(enum.StrEnum):
    SEND = "send"
    ADMIN = "admin"


class Fields(msgspec.Struct, forbid_unknown_fields=True):
    must: int = 0
    words: list[Word] | None = None
    word: Word | None = None
    by_name: dict[str, Word] | None = None
    number: Annotated[int, Meta(ge=1, le=5)] = 1
    above: Annotated[float, Meta(gt=0, lt=9)] = 1
    text: Annotated[str, Meta(min_length=1, max_length=3)] = "x"


class Needed(msgspec.Struct):
    name: str


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"words": ["read"]}', "words[0]: must be send or admin, not 'read'"),
        ('{"word": "read"}', "word: must be send or admin, not 'read'"),
        ('{"by_name": {"x": "read"}}', "by_name[...]: must be send or admin, not 'read'"),
        ('{"words": "send"}', "words: must be a list or null, not text"),
        ('{"number": 0}', "number: must be at least 1"),
        ('{"number": 6}', "number: must be at most 5"),
        ('{"number": 1.5}', "number: must be a whole number, not a number"),
        ('{"above": 0}', "above: must be more than 0.0"),
        ('{"above": 9}', "above: must be less than 9.0"),
        ('{"above": true}', "above: must be a number, not true or false"),
        ('{"text": ""}', "text: must not be shorter than 1"),
        ('{"text": "long"}', "text: must not be longer than 3"),
        ('{"txt": "x"}', "there is no txt"),
        ("[]", "must be an object, not a list"),
    ],
)
def test_what_does_not_fit(body: str, said: str) -> None:
    with pytest.raises(msgspec.ValidationError) as wrong:
        msgspec.json.decode(body, type=Fields)
    assert misfit(wrong.value, Fields) == said


def test_what_is_missing() -> None:
    with pytest.raises(msgspec.ValidationError) as wrong:
        msgspec.json.decode("{}", type=Needed)
    assert misfit(wrong.value, Needed) == "name must be given"
