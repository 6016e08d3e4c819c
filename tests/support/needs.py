"""What a test needs of the machine: said by name where it is missing, and demanded in CI."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def lacks(what: str) -> NoReturn:
    """Skip the test for want of something; in CI, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must have it: {what}")
    pytest.skip(f"missing: {what}")


def need_program(name: str, package: str) -> str:
    """The path of a program, whose Debian package is named when it is missing."""
    found = shutil.which(name)
    if found is None:
        lacks(f"{name} (on Debian: apt install {package})")
    return found
