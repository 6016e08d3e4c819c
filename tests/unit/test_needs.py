"""What tests need of the machine, and where they find it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import needs
from tests.support.needs import find_program


def test_a_program_is_found_beside_the_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A user's path leads to no administrator's program, such as nginx or mkfs.ext4."""
    program = tmp_path / "sbin" / "mkfs.none"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(needs, "BESIDE_THE_PATH", (str(program.parent),))
    assert find_program("mkfs.none") is None, "it cannot be executed"
    program.chmod(0o755)
    assert find_program("mkfs.none") == str(program)
