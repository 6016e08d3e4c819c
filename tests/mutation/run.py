"""Mutation tests of a part of the code: `python -m tests.mutation.run MODULE TEST…`.

cosmic-ray writes each mutant into the module's own file, so it works on a copy of the tree. The
exit status is 0 when every mutant was killed; see README.md for what to do about one that was not.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
ONE_MUTANT_S = 60  # a test that runs for longer has noticed
CONFIG = """\
[cosmic-ray]
module-path = {module!r}
timeout = {timeout}
excluded-modules = []
test-command = {command!r}
distributor.name = "local"

# What mypy sees and no test can: annotations such as `int | None`.
[cosmic-ray.filters.operators-filter]
exclude-operators = ["core/ReplaceBinaryOperator_BitOr_.*"]
"""


def main(module: str, tests: list[str]) -> int:
    """Try every mutant of a module, or of each in a folder; how many survived."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Path(folder)
        _copy_tree(copy)
        command = f"{sys.executable} -m pytest -q -x -p no:cacheprovider {' '.join(tests)}"
        settings = CONFIG.format(module=module, timeout=ONE_MUTANT_S, command=command)
        (copy / "mutants.toml").write_text(settings)
        _run(copy, "cosmic-ray", "init", "mutants.toml", "mutants.sqlite")
        _run(copy, "cr-filter-operators", "mutants.sqlite", "mutants.toml")
        _run(copy, "cosmic-ray", "exec", "mutants.toml", "mutants.sqlite")
        report = _run(copy, "cr-report", "--surviving-only", "--show-diff", "mutants.sqlite")
    sys.stdout.write(report)
    return int(re.findall(r"^surviving mutants: (\d+)", report, re.MULTILINE)[-1])


def _copy_tree(target: Path) -> None:
    """Copy what git knows of the tree, and what is new in it."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.check_output(listed, cwd=ROOT, text=True).split("\0")
    for name in names:
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def _run(folder: Path, program: str, *arguments: str) -> str:
    """Run a program of this environment; what it printed."""
    path = Path(sys.executable).with_name(program)
    # The same examples of hypothesis for every mutant, and no bytecode of the one before.
    environment = os.environ | {"CI": "true", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.check_output([path, *arguments], cwd=folder, env=environment, text=True)


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1], sys.argv[2:]), 1))
