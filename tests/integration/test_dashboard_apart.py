"""A dashboard with a host name or a port of its own: it is there, and nowhere else."""

from __future__ import annotations

from pathlib import Path

from tests.support.processes import free_port
from tests.support.relay import Relay, open_relay
from tests.support.senders import exchange, request


async def status(relay: Relay, port: int, path: str, host: str) -> int:
    """What somebody is answered at a port, by a name; none of them is on this machine."""
    raw = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n"
    return (await exchange(port, raw.encode())).status


async def test_under_a_host_name_of_its_own(tmp_path: Path) -> None:
    urls = {"public_url": "https://relay.example.com", "dashboard_url": "https://desk.example.com"}
    async with open_relay(tmp_path / "relay", **urls) as relay:
        for host, answered in (("desk.example.com", 200), ("relay.example.com", 404)):
            assert await status(relay, relay.port, "/login", host) == answered, host
        sent = request("/webhook", token=relay.send_token)
        assert (await relay.send(sent)).status == 200
        link = (await relay.said("dashboard"))["url"]
        assert link.startswith("https://desk.example.com/login#k=")
        assert (await relay.control("GET", "status"))["dashboard_url"] == urls["dashboard_url"]


async def test_on_a_port_of_its_own(tmp_path: Path) -> None:
    port = free_port()
    settings = {
        "public_url": "https://relay.example.com",
        "dashboard_url": "https://relay.example.com:8443",
        "dashboard_port": str(port),
    }
    async with open_relay(tmp_path / "relay", **settings) as relay:
        name = "relay.example.com:8443"
        for path, on_its_own, on_the_other in (
            ("/login", 200, 404),
            ("/health/live", 200, 200),
            ("/api/v1/status", 404, 401),
            ("/webhook", 404, 401),
            ("/c/chatwoot/webhook", 404, 401),
        ):
            assert await status(relay, port, path, name) == on_its_own, path
            assert await status(relay, relay.port, path, "relay.example.com") == on_the_other, path
        relay.server.terminate()
        assert await relay.server.exit_status() == 0
