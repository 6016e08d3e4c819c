"""The server as a whole: made, looked at, asked whether it is ready."""

from __future__ import annotations

import http.client
from pathlib import Path
from urllib.parse import urlsplit

from relay_protocol.errors import RelayError
from relay_server.app import prepare_data_dir
from relay_server.clock import SystemClock
from relay_server.commands.calls import Flags, Json
from relay_server.control import Api, ApiRefused, run
from relay_server.settings import ServerSettings, load, save
from relay_server.store.opening import restore_store

SEND_TOKEN = "chatwoot"  # noqa: S105  (the names of the first tokens)
SUBSCRIBE_TOKEN = "developer"  # noqa: S105
HEALTH_TIMEOUT_S = 3.0


class NotReady(RelayError):
    """The server is not there, or not ready."""

    code = "not_ready"
    hint = "relay-server serve starts it; its log says what is wrong."


def init(flags: Flags, public_url: str | None) -> Json:
    """Make whatever is missing: data dir, channel, tokens. What exists stays as it is."""
    settings, _ = load(**flags, public_url=public_url)
    prepare_data_dir(settings.data_dir)
    if public_url is not None:
        save(settings.data_dir, "public_url", settings.public_url)
    settings, sources = load(**flags)

    async def work(api: Api) -> Json:
        channel = settings.default_channel
        names = {c["name"] for c in (await api.call("GET", "channels"))["channels"]}
        if channel not in names:
            await api.call("POST", "channels", {"name": channel})
        return {
            "send_token": await _token(api, SEND_TOKEN, "send", channel),
            "subscribe_token": await _token(api, SUBSCRIBE_TOKEN, "subscribe", channel),
            "running": api.running,
        }

    return _welcome(settings, run(settings, sources, work, make=True))


def status(flags: Flags) -> Json:
    """How everything is doing."""

    async def work(api: Api) -> Json:
        return {"running": api.running, **(await api.call("GET", "status"))}

    settings, sources = load(**flags)
    return run(settings, sources, work)


def restore(flags: Flags, file: Path) -> Json:
    """Put a backup in the place of the store."""
    settings, _ = load(**flags)
    prepare_data_dir(settings.data_dir)
    now = SystemClock().unix_ms()
    done = restore_store(settings.store_url, settings.data_dir, file.absolute(), now)
    return {
        "file": str(file.absolute()),
        "data_dir": str(settings.data_dir),
        "kept": None if done.kept is None else str(done.kept),
        "channels": done.channels,
        "events": done.events,
        "newest_at": done.newest_at,
    }


def health(flags: Flags) -> str:
    """Ask the ops port.

    Raises:
        NotReady: Nothing answers, or it says no.
    """
    settings, _ = load(**flags)
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
    host = anywhere.get(settings.ops_host, settings.ops_host)
    connection = http.client.HTTPConnection(host, settings.ops_port, timeout=HEALTH_TIMEOUT_S)
    try:
        connection.request("GET", "/health/ready")
        answer = connection.getresponse().status
    except (OSError, http.client.HTTPException) as exc:
        raise NotReady(f"nothing answers on {host} port {settings.ops_port}") from exc
    finally:
        connection.close()
    if answer != 200:
        raise NotReady(f"the server answers {answer}: it starts or stops")
    return "ready"


async def _token(api: Api, name: str, scope: str, channel: str) -> str | None:
    """A new token's secret, or None if a token of that name exists: it is kept nowhere."""
    body = {"name": name, "scopes": [scope], "channels": [channel]}
    try:
        return str((await api.call("POST", "tokens", body))["token"])
    except ApiRefused as exc:
        if exc.code != "token_exists":
            raise
        return None


def _welcome(settings: ServerSettings, made: Json) -> Json:
    url = urlsplit(settings.url)
    token = made["send_token"]
    webhook = f"{url.scheme}://{url.netloc}/webhook"
    return {
        "data_dir": str(settings.data_dir),
        "url": settings.url,
        "channel": settings.default_channel,
        "webhook_url": token and f"{url.scheme}://relay:{token}@{url.netloc}/webhook",
        "webhook_url_query": token and f"{webhook}?token={token}",
        "client_command": (
            f"relay-client login {settings.url} && relay-client connect --to localhost:8000"
        ),
        **made,
    }
