"""The programs that the demo runs: started, watched line by line, and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from examples.demo_parts.errors import DemoFailed

ROOT = Path(__file__).parents[2]
STOP_S = 5.0
MAX_LINE_BYTES = 1_048_576
# What would change the demo: Relay's settings, the bot's (it could really answer), and proxies.
DISTURBING = ("RELAY_", "CHATWOOT_", "BOT_")

Sighting = asyncio.Future[float]


class Program:
    """A process, and what it prints.

    Attributes:
        ended: Done once the process is gone and its last line was shown; gives its exit status.
    """

    def __init__(self, name: str, show: Callable[[str, str], None]) -> None:
        self.name = name
        self._show = show
        self._sought: list[tuple[Sequence[str], Sighting]] = []
        self._said_something = False

    async def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it from the repository's root.

        It has a session of its own, so that Ctrl-C reaches the demo alone, which then stops
        the programs in order.
        """
        self._process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
            cwd=ROOT,
            start_new_session=True,
            limit=MAX_LINE_BYTES,
        )
        self.ended = asyncio.create_task(self._watch())

    def seek(self, *words: str) -> Sighting:
        """Look out for a line with all these words; gives when it came, in monotonic seconds."""
        sighting = asyncio.get_running_loop().create_future()
        self._sought.append((words, sighting))
        return sighting

    async def sees(self, sighting: Sighting, within_s: float) -> float:
        """Wait for a line that was sought.

        Raises:
            DemoFailed: The program ended first, or the time is over.
        """
        either: list[asyncio.Future[Any]] = [sighting, self.ended]
        await asyncio.wait(either, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        if sighting.done():
            return sighting.result()
        if self.ended.done():
            raise DemoFailed(self.epitaph())
        raise DemoFailed(f"The {self.name} did not get that far within {within_s:.0f} s.")

    def epitaph(self) -> str:
        """How it ended; what it said is on the screen already."""
        said = "Its last lines are above." if self._said_something else "It said nothing."
        return f"The {self.name} ended by itself, with status {self.ended.result()}. {said}"

    async def stop(self) -> None:
        """Ask it to end, and make it when it does not."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        await asyncio.wait({self.ended}, timeout=STOP_S)
        if not self.ended.done():
            self._process.kill()
            await self.ended

    async def _watch(self) -> int:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self._take(line.decode(errors="replace").rstrip())
        return await self._process.wait()

    def _take(self, line: str) -> None:
        self._show(self.name, line)
        self._said_something = True
        for words, sighting in self._sought:
            if not sighting.done() and all(word in line for word in words):
                sighting.set_result(time.monotonic())


async def output_of(command: Sequence[str], environment: Mapping[str, str], stdin: str = "") -> str:
    """Run a command to its end; gives what it printed.

    Raises:
        DemoFailed: It failed; with what it said.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        out, err = await process.communicate(stdin.encode())
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        said = (err + out).decode(errors="replace").rstrip()
        name = Path(command[0]).name
        raise DemoFailed(f"{name} ended with status {process.returncode}:\n{said}")
    return out.decode()


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without what would change the demo."""
    kept = {
        name: value
        for name, value in environment.items()
        if not name.upper().startswith(DISTURBING) and not name.lower().endswith("_proxy")
    }
    return kept | {"PYTHONIOENCODING": "utf-8"}


def beside_python(name: str) -> str:
    """A command that was installed with this Python's packages."""
    return str(Path(sys.executable).parent / name)
