"""Runs each fuzz target for a while, from its seeds: `python -m tests.fuzz.run [SECONDS] [NAME…]`.

What a target finds is kept under `found/`, so that the next run begins there.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.fuzz.running import CORPUS

FOLDER = Path(__file__).parent
FOUND = FOLDER / "found"
DEFAULT_SECONDS = 60
MAX_INPUT_BYTES = 65_536
ONE_INPUT_S = 10  # what takes longer is a finding
MEMORY_MIB = 1024  # and so is what takes more


def main(arguments: list[str]) -> int:
    """Run the targets that are named, or all; how many of them found something."""
    seconds = int(arguments[0]) if arguments else DEFAULT_SECONDS
    names = arguments[1:] or [path.stem.removeprefix("fuzz_") for path in targets()]
    failed = [name for name in names if not fuzz(name, seconds)]
    for name in failed:
        print(f"fuzz: {name} found something: see {FOUND / name}-crash-*")
    print(f"fuzz: {len(names)} targets, {seconds} s each, {len(failed)} found something")
    return len(failed)


def targets() -> list[Path]:
    """The modules that hold a target."""
    return sorted(FOLDER.glob("fuzz_*.py"))


def fuzz(name: str, seconds: int) -> bool:
    """Run one target; whether it found nothing."""
    grown = FOUND / name
    grown.mkdir(parents=True, exist_ok=True)
    print(f"fuzz: {name} for {seconds} s", flush=True)
    limits = [
        f"-max_total_time={seconds}",
        f"-max_len={MAX_INPUT_BYTES}",
        f"-timeout={ONE_INPUT_S}",
        f"-rss_limit_mb={MEMORY_MIB}",
        f"-artifact_prefix={grown}-",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    words = FOLDER / "dictionaries" / f"{name}.dict"
    if words.exists():
        limits.append(f"-dict={words}")
    folders = [str(grown), str(CORPUS / name)]
    command = [sys.executable, "-m", f"tests.fuzz.fuzz_{name}", *limits, *folders]
    return subprocess.run(command, cwd=FOLDER.parents[1]).returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
