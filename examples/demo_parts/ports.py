"""The ports that the demo needs, found before anything starts."""

from __future__ import annotations

import argparse
import contextlib
import errno
import platform
import shlex
import socket
import sys
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from examples.demo_parts.errors import DemoFailed

LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
NO_IPV6 = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
LAST_PORT = 65_535
USES = {
    "port": "the relay, where webhooks come in and clients connect",
    "ops_port": "the relay's health and metrics",
    "app_port": "the bot, which stands for your app",
}


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the programs listen, on this machine alone."""

    port: int = 8802
    ops_port: int = 8803
    app_port: int = 8000


def choose(arguments: Sequence[str]) -> Ports:
    """Read the command line; 0 stands for any free port.

    Raises:
        DemoFailed: A port is in use.
        SystemExit: The arguments are not the demo's, or only help was wanted.
    """
    parser = _parser()
    wanted: dict[str, int] = vars(parser.parse_args(arguments))
    fixed = [port for port in wanted.values() if port]
    if len(set(fixed)) < len(fixed):
        parser.error("the three ports must differ")
    if reasons := {name: why for name, port in wanted.items() if (why := obstacle(port))}:
        raise DemoFailed(_advice(wanted, reasons))
    return Ports(**_with_free_ports(wanted))


def free_port_above(port: int, taken: Collection[int]) -> int:
    """The next port that nothing uses, and that is not among those `taken`."""
    above = range(port + 1, LAST_PORT + 1)
    found = (number for number in above if number not in taken and not obstacle(number))
    return next(found, 0)


def obstacle(port: int) -> str | None:
    """Why a program of the demo cannot listen on a port, e.g. `"is in use"`."""
    return next(filter(None, (_refusal(port, *loopback) for loopback in LOOPBACK)), None)


def _refusal(port: int, family: socket.AddressFamily, host: str) -> str | None:
    try:
        with socket.socket(family) as probe:
            # as servers do: connections that ended a moment ago are no obstacle
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as exc:
        if exc.errno in NO_IPV6:
            return None
        return "is in use" if exc.errno == errno.EADDRINUSE else f"cannot be had: {exc.strerror}"
    return None


def _with_free_ports(wanted: dict[str, int]) -> dict[str, int]:
    """The same with a free port for each 0."""
    with contextlib.ExitStack() as probes:  # open together, so that no port comes twice
        return {name: port or _free_port(probes) for name, port in wanted.items()}


def _free_port(probes: contextlib.ExitStack) -> int:
    probe = probes.enter_context(socket.socket())
    probe.bind(("127.0.0.1", 0))
    port: int = probe.getsockname()[1]
    return port


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="demo.py",
        description="Show a sample webhook going through a relay to an app, all on this machine.",
    )
    for name, port in asdict(Ports()).items():
        parser.add_argument(
            _flag(name),
            type=_port,
            default=port,
            metavar="PORT",
            help=f"for {USES[name]} (default: {port}; 0 for any free one)",
        )
    return parser


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= LAST_PORT:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no port: a number up to {LAST_PORT} is expected")


def _advice(wanted: dict[str, int], reasons: dict[str, str]) -> str:
    """Name each port, say what the demo wants it for, how to find its user, and what else to do."""
    named = [
        f"Port {wanted[name]} {why}. The demo wants it for {USES[name]}."
        for name, why in reasons.items()
    ]
    return "\n".join(
        [
            *named,
            "Stop the program that has it, perhaps an earlier demo or an app of yours. To find it:",
            f"  {_finder([wanted[name] for name in reasons])}",
            "Or start the demo on other ports:",
            f"  {_other_ports(wanted, reasons)}",
        ]
    )


def _finder(ports: Sequence[int]) -> str:
    if platform.system() == "Linux":
        return f"ss -ltnp | grep -E ':({'|'.join(map(str, ports))}) '"
    return f"lsof -nP {' '.join(f'-iTCP:{port}' for port in ports)} -sTCP:LISTEN"


def _other_ports(wanted: dict[str, int], reasons: Collection[str]) -> str:
    """The demo's command line with free ports in place of those that cannot be had."""
    better = dict(wanted)
    for name in reasons:
        better[name] = free_port_above(wanted[name], set(better.values()))
    defaults = asdict(Ports())
    flags = [f"{_flag(name)} {port}" for name, port in better.items() if port != defaults[name]]
    return " ".join([shown_path(Path(sys.executable)), "examples/demo.py", *flags])


def shown_path(path: Path) -> str:
    """A path for people to copy: short where it lies in this folder, and quoted for a shell."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
