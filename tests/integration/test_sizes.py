"""What the processes cost while nothing happens."""

from __future__ import annotations

import os
import subprocess

from tests.support.chatwoot import message
from tests.support.processes import CLIENT, clean_environment
from tests.support.relay import Relay
from tests.support.target import Target

SERVER_MIB, CLIENT_MIB = 80, 60
HELP_CPU_S = 0.4


async def test_idle_processes_are_small(relay: Relay, target: Target) -> None:
    client = await relay.connect(await relay.make_token("ana", "subscribe"), "--to", target.address)
    await relay.send(message(relay.send_token, 1, 1))
    await target.received(1)

    assert relay.server.resident_mib() <= SERVER_MIB
    assert client.resident_mib() <= CLIENT_MIB


def test_help_answers_quickly() -> None:
    assert min(cpu_seconds_of_help() for _ in range(3)) < HELP_CPU_S


def cpu_seconds_of_help() -> float:
    """CPU time of one `relay-client --help`."""
    process = subprocess.Popen(
        [CLIENT, "--help"], stdout=subprocess.DEVNULL, env=clean_environment({})
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return used.ru_utime + used.ru_stime
