"""Which checkout's code Relay's commands run, and how to have them run another one's."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from bench.errors import BenchError
from bench.processes import clean_environment

ROOT = Path(__file__).parents[1]  # the checkout that this bench belongs to
COMMANDS = {"relay-server": "relay_server", "relay-client": "relay_client"}
PACKAGES = frozenset(
    {
        *("relay_server", "relay_client", "relay_protocol"),
        *("relay_http", "relay_terminal", "relay_chatwoot"),
    }
)
START_S = 60.0
# What Python says of each module it imports when it is to be verbose: with bytecode, without.
SOURCE = re.compile(r"^# (?:.* matches|code object from) '?(/.*\.py)'?$", re.MULTILINE)


def relay_command(name: str) -> str:
    """The path of one of Relay's commands, first beside this Python.

    Raises:
        BenchError: It is not installed.
    """
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        raise BenchError(f"{name} is not installed here. Install the project: pip install -e .")
    return found


def in_tree(tree: Path) -> dict[str, str]:
    """The environment in which the installed commands import a checkout's packages."""
    return {"PYTHONPATH": str(tree)}


def check_tree(tree: Path) -> None:
    """See that the commands really run a checkout's code, by the files that they import.

    Raises:
        BenchError: They do not, or there is no code of Relay's.
    """
    for command, package in COMMANDS.items():
        if not (tree / package / "__init__.py").is_file():
            raise BenchError(f"{tree} is no checkout of Relay: it has no {package}.")
        found = _sources(command, tree)
        if not any(path.is_relative_to(tree / package) for path in found):
            raise BenchError(f"{command} does not import {package} from {tree}. {_instead(found)}")
        strangers = [path for path in found if not path.is_relative_to(tree)]
        if strangers:
            raise BenchError(f"{command} mixes the code of {tree} with {strangers[0]}.")


def _sources(command: str, tree: Path) -> list[Path]:
    """Every file of Relay's that a command imports to print its help."""
    environment = clean_environment() | in_tree(tree) | {"PYTHONVERBOSE": "1"}
    done = subprocess.run(
        [relay_command(command), "--help"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=START_S,
    )
    return relay_sources(done.stderr)


def relay_sources(verbose: str) -> list[Path]:
    """The files of Relay's packages among those that a verbose Python names."""
    paths = [Path(found).resolve() for found in SOURCE.findall(verbose)]
    return [path for path in paths if PACKAGES.intersection(path.parts[-4:-1])]


def _instead(found: list[Path]) -> str:
    if not found:
        return "Where it imports it from cannot be told: does it ignore PYTHONPATH?"
    return f"It runs {found[0]} instead: does something else come before PYTHONPATH?"
