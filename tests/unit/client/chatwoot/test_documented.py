"""Whoever uses the library finds each of its names documented, with examples that are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest

import relay_chatwoot
import relay_client.chatwoot as library
from relay_client.chatwoot import testing

PAGE = Path(__file__).parents[4] / "docs" / "reference" / "bot-library.md"

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
    assert doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8").failed == 0


@pytest.mark.parametrize("package", [library, testing], ids=["library", "testing"])
def test_each_public_name_has_an_example_on_the_page(package: ModuleType) -> None:
    """And words of its own: a dataclass would give its signature."""
    examples = doctest.DocTestParser().get_examples(PAGE.read_text("utf-8"))
    used = set(re.findall(r"\w+", "".join(example.source for example in examples)))
    said = {name: getattr(package, name).__doc__ or "" for name in package.__all__}

    assert set(package.__all__) - used == set()
    assert [name for name, doc in said.items() if not doc or doc.startswith(f"{name}(")] == []
