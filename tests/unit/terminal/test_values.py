"""What people write as a value: what is made of it, and what is said where it is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from relay_terminal.values import Secret, read

HIDDEN = "FIXTUREsecret0123456789"


@pytest.mark.parametrize(
    ("written", "kind", "meant"),
    [
        ("8802", int, 8802),
        ("1_000", int, 1_000),
        ("7", float, 7.0),
        (7, float, 7.0),
        ("0.5", float, 0.5),
        *((word, bool, True) for word in ("true", "True", "1", "yes", "on", True)),
        *((word, bool | None, False) for word in ("false", "0", "no", "OFF", False)),
        ("text", str | None, "text"),
        ("a/b", Path, Path("a/b")),
        (Path("a/b"), Path | None, Path("a/b")),
        (["a", "b"], tuple[str, ...], ("a", "b")),
        (("a", "b"), list[Path], [Path("a"), Path("b")]),
        ("ON", Literal["on", "off"], "on"),
        (HIDDEN, Secret | None, Secret(HIDDEN)),
        ("\udcff", Path, Path("\udcff")),
    ],
)
def test_what_is_written_is_read(written: object, kind: Any, meant: object) -> None:
    found = read(written, kind)
    assert (type(found), found) == (type(meant), meant)


@pytest.mark.parametrize(
    ("written", "kind", "bounds", "said"),
    [
        (HIDDEN, int, {}, "a whole number"),
        ("8.5", int, {}, "a whole number"),
        (True, int, {}, "a whole number"),
        ("9" * 5_000, int, {}, "a whole number"),
        ("\udcff", int, {}, "a whole number"),
        ("65536", int, {"le": 65_535}, "at most 65535"),
        ("0", int, {"ge": 1}, "at least 1"),
        ("-1", float, {"gt": 0.5}, "more than 0.5"),
        ("nan", float, {"gt": 0.5}, "more than 0.5"),
        ("9", float, {"lt": 9.0}, "less than 9.0"),
        (HIDDEN, float, {}, "a number"),
        (HIDDEN, bool, {}, "true or false"),
        (5, str, {}, "text"),
        (5, Path | None, {}, "text"),
        (5, Secret, {}, "text"),
        (5, tuple[str, ...], {}, "a list"),
        (["a", 5], tuple[str, ...], {}, "text"),
        (HIDDEN, Literal["auto", "console", "json"], {}, "auto, console or json"),
        (True, Literal["on", "off"] | None, {}, "on or off"),
    ],
)
def test_what_is_none_is_told_and_not_quoted(
    written: object, kind: Any, bounds: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=f"^must be {said}$") as caught:
        read(written, kind, msgspec.Meta(**bounds))
    assert HIDDEN not in str(caught.value)


def test_it_is_told_in_a_language() -> None:
    with pytest.raises(ValueError, match=r"^¡must be at most 5!$"):
        read("6", int, msgspec.Meta(le=5), lambda text: f"¡{text}!")


def test_a_secret_is_seen_where_it_is_asked_for_alone() -> None:
    secret = Secret(HIDDEN)
    assert HIDDEN not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == HIDDEN
    assert secret == Secret(HIDDEN)
    assert secret != Secret("other")
    assert len({secret, Secret(HIDDEN)}) == 1
