"""Settings as both programs declare and read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from relay_terminal.settings import Impossible, Settings, of_environment, setting


def _even(value: int) -> int:
    if value % 2:
        raise ValueError("must be even")
    return value


@dataclass(frozen=True, kw_only=True)
class Some(Settings):
    """Settings of no program."""

    CHECKS = {"port": _even, "hosts": str.upper}  # noqa: RUF012

    port: int = setting(2, ge=0, le=9, description="Where.")
    hosts: tuple[str, ...] = setting((), description="Whose.")
    folder: Path | None = setting(None, description="In what.")

    def __post_init__(self) -> None:
        if self.port == 4 and not self.hosts:
            raise ValueError("4 takes hosts")


def test_what_is_written_becomes_settings() -> None:
    assert Some.read({}) == Some()
    assert Some.read({"port": "6", "hosts": "a, b,,", "folder": "x"}) == Some(
        port=6, hosts=("A", "B"), folder=Path("x")
    )
    assert Some.read({"hosts": ["a", " b ", ""], "folder": None}).hosts == ("A", "B")


@pytest.mark.parametrize(
    ("written", "problems"),
    [
        ({"hosts": 5, "port": "3"}, [("port", "must be even"), ("hosts", "must be a list")]),
        ({"hosts": ["a", 5]}, [("hosts", "must be text")]),
        ({"prot": 1, "port": 10}, [("port", "must be at most 9"), ("prot", "is not known")]),
        ({"port": 4}, [("", "4 takes hosts")]),
    ],
)
def test_all_that_is_wrong_is_named(
    written: dict[str, object], problems: list[tuple[str, str]]
) -> None:
    with pytest.raises(Impossible) as caught:
        Some.read(written)
    assert caught.value.problems == problems


def test_a_setting_says_what_it_takes() -> None:
    declared = Some.declared()
    assert [(name, one.kind, one.default) for name, one in declared.items()] == [
        ("port", int, 2),
        ("hosts", tuple[str, ...], ()),
        ("folder", Path, None),
    ]
    assert declared["port"].meta.le == 9
    assert declared["port"].meta.description == "Where."


def test_variables_are_read_in_upper_and_lower_case() -> None:
    environment = {"X_PORT": "1", "x_hosts": "a", "X_OTHER": "b", "PORT": "5"}
    assert of_environment(Some, "X_", environment) == {"port": "1", "hosts": "a"}
