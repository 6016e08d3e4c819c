"""What a test needs of the machine: said by name where it is missing, and demanded in CI."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

# Where a path need not lead: Debian's of a user has none of what is an administrator's.
BESIDE_THE_PATH = ("/usr/local/bin", "/usr/local/sbin", "/usr/sbin", "/sbin")


def lacks(what: str) -> NoReturn:
    """Skip the test for want of something; in CI, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must have it: {what}")
    pytest.skip(f"missing: {what}")


def find_program(name: str) -> str | None:
    """The path of a program, also of one that a user's own path does not lead to."""
    folders = [os.environ.get("PATH", os.defpath), *BESIDE_THE_PATH]
    return shutil.which(name, path=os.pathsep.join(folders))


def need_program(name: str, package: str) -> str:
    """The path of a program, whose Debian package is named when it is missing."""
    found = find_program(name)
    if found is None:
        lacks(f"{name} (on Debian: apt install {package})")
    return found
