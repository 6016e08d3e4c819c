"""A new forward is tried once: who makes it is told what came of that, and nothing is posted."""

from __future__ import annotations

from pathlib import Path

from tests.support.processes import free_port
from tests.support.relay import open_relay
from tests.support.target import Target


async def test_a_new_forward_says_whether_its_target_is_there(
    target: Target, tmp_path: Path
) -> None:
    async with open_relay(tmp_path / "relay", forward_allow="127.0.0.1") as relay:
        made = await relay.said("forward", "create", "chatwoot", f"http://{target.address}/hook")
        assert (made["tried"], made["target_down"], target.arrivals) == (True, False, [])

        nobody = f"http://127.0.0.1:{free_port()}/hook"
        moved = await relay.said("forward", "set", "chatwoot", "forward", "--url", nobody)
        assert (moved["tried"], moved["target_down"]) == (True, True)
        assert "does not take connections" in moved["waits_for"]

        refused = await relay.refused("forward", "create", "chatwoot", "http://10.0.0.1:1/")
        assert "that RELAY_SERVER_FORWARD_ALLOW does not name" in refused
        assert "Add 10.0.0.1 to RELAY_SERVER_FORWARD_ALLOW" in refused
