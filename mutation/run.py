"""`python -m mutation.run [MODULE[::FUNCTION] …]`: try every mutant, name those that survive."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mutation.copies import MEMORY
from mutation.mutants import Mutant, mutants_of
from mutation.trial import Copy, load_libraries

HERE = Path(__file__).parent
ROOT = HERE.parent
LEAST_TIMEOUT_S = 20.0
TIMEOUT = 5.0  # times what the tests take without a change

Name = tuple[str, str, str, str, str]
ANY = "*"  # in a name: whatever the operator makes of that line


@dataclass(frozen=True, slots=True)
class Module:
    """A module and the tests that are to notice every change of it."""

    path: str
    tests: tuple[str, ...]


def main() -> int:
    """Exit status: 0 when every mutant was killed or is named as equivalent."""
    asked, equivalent = _arguments(), _equivalent()
    load_libraries()
    memory = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="relay-mutants-", dir=memory) as folder:
        copy = Copy(ROOT, Path(folder))
        return 1 if sum(_try(copy, module, asked, equivalent) for module in _modules()) else 0


def _try(copy: Copy, module: Module, asked: list[str], equivalent: list[Name]) -> int:
    """Try the mutants of a module and say how that went; return how many need a look."""
    mutants = list(_wanted(module, asked))
    if not mutants:
        return 0
    began = time.monotonic()
    timeout_s = max(LEAST_TIMEOUT_S, TIMEOUT * copy.time_s(module.tests))
    named: set[Name] = set()
    killed = survived = 0
    for mutant in mutants:
        if not copy.survives(module.path, mutant.code, module.tests, timeout_s):
            killed += 1
        elif names := {name for name in equivalent if _is_named(mutant, name)}:
            named |= names
        else:
            survived += 1
            _tell(mutant)
    _say(
        f"{module.path}: {len(mutants)} mutants, {killed} killed, {survived} survived,"
        f" {len(mutants) - killed - survived} equivalent, {time.monotonic() - began:.0f} s"
    )
    return survived + _tell_stale(module, asked, [n for n in equivalent if n not in named])


def _is_named(mutant: Mutant, name: Name) -> bool:
    return all(part in (ANY, own) for part, own in zip(name, mutant.name, strict=True))


def _tell_stale(module: Module, asked: list[str], names: list[Name]) -> int:
    """What is named, but killed, or not there any more."""
    stale = [n for n in names if n[0] == module.path and _is_asked(n[0], n[1], asked)]
    for name in stale:
        _say(f"named as equivalent, but no survivor: {name}")
    return len(stale)


def _tell(mutant: Mutant) -> None:
    _say(f"\n{mutant.module}:{mutant.number} survived: {mutant.operator} in {mutant.function!r}")
    _say(f"  - {mutant.line}\n  + {mutant.becomes}")


def _modules() -> Iterator[Module]:
    for module in tomllib.loads((HERE / "modules.toml").read_text())["module"]:
        yield Module(module["path"], tuple(module["tests"]))


def _equivalent() -> list[Name]:
    named = tomllib.loads((HERE / "equivalent.toml").read_text())["equivalent"]
    assert all(each["reason"] for each in named)
    return [(e["module"], e["function"], e["operator"], e["line"], e["becomes"]) for e in named]


def _wanted(module: Module, asked: list[str]) -> Iterator[Mutant]:
    paths = [prefix.partition("::")[0] for prefix in asked] or [""]
    if any(module.path.startswith(path) for path in paths):
        for mutant in mutants_of(module.path, (ROOT / module.path).read_text()):
            if _is_asked(mutant.module, mutant.function, asked):
                yield mutant


def _is_asked(path: str, function: str, asked: list[str]) -> bool:
    return not asked or any(f"{path}::{function}".startswith(prefix) for prefix in asked)


def _arguments() -> list[str]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", help="what paths, or path::function, begin with")
    return list(parser.parse_args().only)


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
