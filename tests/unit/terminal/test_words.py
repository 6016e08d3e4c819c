"""The catalogue: which language it is in, and what becomes of a template."""

from __future__ import annotations

import pytest

from relay_terminal import words


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, []),
        ({"LANG": "C.UTF-8"}, []),
        ({"LANG": "pt_BR.UTF-8"}, ["pt_BR.UTF-8"]),
        ({"LANG": "pt_BR.UTF-8", "LC_ALL": "C"}, []),
        ({"LANG": "de_DE", "LC_MESSAGES": "pt_BR"}, ["pt_BR"]),
        ({"LANGUAGE": "pt_BR:de", "LC_ALL": "C"}, ["pt_BR", "de"]),
        # Whoever prefers English gets no other language, though there is a catalogue of it.
        ({"LANGUAGE": "en_US:pt_BR", "LANG": "pt_BR"}, []),
    ],
)
def test_the_language_is_the_environments(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: list[str]
) -> None:
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert words.languages() == expected


@pytest.mark.parametrize(
    ("number", "expected"), [(0, "0 events"), (1, "1 event"), (10_001, "10,001 events")]
)
def test_a_number_of_things(number: int, expected: str) -> None:
    assert words.plural("{number} event", "{number} events", number) == expected


def test_a_sentence_without_a_translation_is_english() -> None:
    assert words._("nobody has {name} translated") == "nobody has {name} translated"
    assert not words._(""), "the catalogue's own head must not be shown"
