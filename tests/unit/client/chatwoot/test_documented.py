"""Whoever uses the library finds each of its names documented, with examples that are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import relay_chatwoot
import relay_client.chatwoot as library

MODULES = sorted(
    module.name
    for package in (library, relay_chatwoot)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not module.ispkg
)


@pytest.mark.parametrize("name", [library.__name__, *MODULES])
def test_examples_are_true(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_examples_of_its_page_are_true() -> None:
    page = Path(__file__).parents[4] / "docs" / "reference" / "bot-library.md"
    assert doctest.testfile(str(page), module_relative=False, encoding="utf-8").failed == 0


@pytest.mark.parametrize("name", [name for name in library.__all__ if name != "Reply"])
def test_a_public_name_is_documented(name: str) -> None:
    """In words of its own: a dataclass would give its signature. `Reply` is but a type's name."""
    said = vars(getattr(library, name)).get("__doc__") or getattr(library, name).__doc__
    assert said
    assert not said.startswith(f"{name}(")
