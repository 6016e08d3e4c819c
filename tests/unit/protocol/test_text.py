"""Text that does no harm, and says plainly what is wrong."""

from __future__ import annotations

import pytest

from relay_protocol.text import harmless, one_of, plainly


@pytest.mark.parametrize("char", list("\x00\x07\x1b\x7f\x85\x9b\n\r\t\u2028\u202e\u200b\ufeff"))
def test_what_steers_a_terminal_is_replaced(char: str) -> None:
    """Escapes, new lines, direction overrides and what cannot be seen."""
    assert harmless(f"a{char}b") == "a\ufffdb"


def test_ordinary_text_stays() -> None:
    """Accents, other scripts and emoji families."""
    text = "João 会話 👨\u200d👩\u200d👧 ação"

    assert harmless(text) == text
    assert harmless("x" * 200) == "x" * 200
    assert harmless("x" * 201) == "x" * 199 + "…"
    assert [harmless(text, limit=3) for text in ("abc", "abcd")] == ["abc", "ab…"]


@pytest.mark.parametrize(
    ("said", "plain"),
    [
        ("Input should be a valid integer, unable to parse string as an integer", "a whole number"),
        ("Input should be a valid integer, got a number with a fractional part", "a whole number"),
        ("Input should be a valid number, unable to parse string as a number", "a number"),
        ("Input should be a finite number", "a number"),
        ("Input should be a valid boolean, unable to interpret input", "true or false"),
        ("Input should be a valid string", "text"),
        ("Input should be a valid list", "a list"),
        ("Input should be a valid dictionary or instance of Account", "an object"),
        ("Input is not a valid path", "a path"),
        ("Input should be greater than 0", "more than 0"),
        ("Input should be greater than or equal to 1", "at least 1"),
        ("Input should be less than 65536", "less than 65536"),
        ("Input should be less than or equal to 9.5", "at most 9.5"),
        ("Input should be 'console' or 'json'", "'console' or 'json'"),
        ("Expected `int`, got `str`", "a whole number"),
        ("Integer value out of range", "a whole number"),
        ("Expected `float` >= 1.5", "at least 1.5"),
        ("Expected `array`, got `int`", "a list"),
    ],
)
def test_a_librarys_words_are_made_plain(said: str, plain: str) -> None:
    assert plainly(said) == f"must be {plain}"
    assert plainly(said, lambda text: f"¡{text}!") == f"¡must be {plain}!"


def test_what_is_said_already_stays() -> None:
    assert plainly("Value error, that is no host") == "that is no host"


@pytest.mark.parametrize("text", ["json", "JSON", "Json"])
def test_a_word_in_any_case(text: str) -> None:
    assert one_of(text, ("pretty", "plain", "json")) == "json"
    with pytest.raises(ValueError, match="must be pretty, plain or json"):
        one_of("xml", ("pretty", "plain", "json"))
