"""nginx and Caddy before a relay, with the configurations that the documentation gives."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.certificates import make_certificate
from tests.support.needs import need_program
from tests.support.processes import Running, ending, free_port
from tests.support.relay import Relay
from tests.support.waiting import until, until_true

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "proxies.md"
NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    {server}
}}
"""
# Certificates of its own, so that nobody is asked for one. Ports of UDP are taken: no HTTP/3.
CADDY = """
{{
    admin off
    auto_https disable_redirects
    skip_install_trust
    storage file_system {folder}/caddy
    servers {{
        protocols h1 h2
    }}
}}
{server}
"""


def from_page(section: str, language: str) -> str:
    """The configuration that a section of the page gives."""
    [text] = re.findall(
        rf"## {section}\n.*?```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL
    )
    return str(text)


def changed(text: str, changes: Mapping[str, str]) -> str:
    """A text with each of these in it replaced."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


@dataclass(frozen=True, slots=True)
class Proxied:
    """A relay that is reached through a proxy, by TLS.

    Attributes:
        relay: Knows the proxy's URL as its own.
        ca_file: The certificate that the proxy shows, or who signed it.
    """

    relay: Relay
    ca_file: Path


@asynccontextmanager
async def behind_nginx(
    folder: Path, path: str = "", changes: Mapping[str, str] | None = None
) -> AsyncIterator[Proxied]:
    """A relay behind nginx.

    Args:
        folder: For files.
        path: Below which it stands.
        changes: What of the page's configuration is otherwise.
    """
    program, port = need_program("nginx", "nginx"), free_port()
    certificate = make_certificate(folder)
    relay = _relay(folder, port, path)
    server = changed(
        from_page("nginx", "nginx"),
        {
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            "server_name relay.example.com": "server_name localhost",
            "/etc/letsencrypt/live/relay.example.com/fullchain.pem": str(certificate.cert),
            "/etc/letsencrypt/live/relay.example.com/privkey.pem": str(certificate.key),
            "127.0.0.1:8802": f"127.0.0.1:{relay.port}",
            "location / {": f"location {path}/ {{",
            **(changes or {}),
        },
    )
    file = folder / "nginx.conf"
    file.write_text(NGINX.format(folder=folder, server=server))
    command = [program, "-p", str(folder), "-c", str(file)]
    async with _running(relay, command, port):
        yield Proxied(relay, certificate.cert)


@asynccontextmanager
async def behind_caddy(folder: Path, path: str = "") -> AsyncIterator[Proxied]:
    """A relay behind Caddy."""
    program, port = need_program("caddy", "caddy"), free_port()
    relay = _relay(folder, port, path)
    matcher = f"{path}/* " if path else ""
    server = changed(
        from_page("Caddy", "text"),
        {
            "relay.example.com {": f"https://localhost:{port} {{",
            "reverse_proxy 127.0.0.1:8802": f"reverse_proxy {matcher}127.0.0.1:{relay.port}",
        },
    )
    file = folder / "Caddyfile"
    file.write_text(CADDY.format(folder=folder, server=server))
    command = [program, "run", "--adapter", "caddyfile", "--config", str(file)]
    async with _running(relay, command, port):
        root = folder / "caddy" / "pki" / "authorities" / "local" / "root.crt"
        await until(root.exists)
        yield Proxied(relay, root)


def _relay(folder: Path, port: int, path: str) -> Relay:
    url = f"https://localhost:{port}{path}"
    return Relay(folder / "relay", public_url=url, trusted_proxies="127.0.0.1")


@asynccontextmanager
async def _running(relay: Relay, command: list[str], port: int) -> AsyncIterator[None]:
    """The proxy, and behind it the relay."""
    relay.folder.mkdir()
    proxy = Running(command, relay.folder.parent / "proxy", {"HOME": str(relay.folder)})
    relay.processes.append(proxy)
    with ending(relay.processes):
        await relay.start()
        relay.send_token = await relay.make_token("sender", "send")

        async def listens() -> bool:
            assert proxy.alive, proxy.errors
            try:
                _reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return False
            writer.close()
            return True

        await until_true(listens)
        yield
