"""What the commands do, on the API and the settings; how it is shown is not their matter."""

from __future__ import annotations

import http.client
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from relay_protocol.errors import RelayError
from relay_server.app import prepare_data_dir
from relay_server.clock import SystemClock
from relay_server.control import Api, ApiRefused, run
from relay_server.errors import InvalidValue
from relay_server.settings import ServerSettings, load, save
from relay_server.store.restore import restore as restore_file
from relay_server.store.sqlite import FILE_NAME

Json = dict[str, Any]
Flags = Mapping[str, Any]

SEND_TOKEN = "chatwoot"  # noqa: S105  (the names of the first tokens)
SUBSCRIBE_TOKEN = "developer"  # noqa: S105
HEALTH_TIMEOUT_S = 3.0
MAX_SECRET_BYTES = 1_024


class NotReady(RelayError):
    """The server is not there, or not ready."""

    code = "not_ready"
    hint = "relay-server serve starts it; its log says what is wrong."


def call(flags: Flags, method: str, *path: str, body: Json | None = None) -> Json:
    """Make one request to the API.

    Args:
        flags: Settings that were given as such.
        method: Of the request.
        path: Its parts, as people write them: a name that looks like a path is none.
        body: Sent as JSON.
    """
    target = "/".join(quote(part, safe="") for part in path)

    async def work(api: Api) -> Json:
        return await api.call(method, target, body)

    settings, sources = load(**flags)
    return run(settings, sources, work)


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
    done = restore_file(settings.data_dir / FILE_NAME, file.absolute(), SystemClock().unix_ms())
    return {
        "file": str(file.absolute()),
        "data_dir": str(settings.data_dir),
        "kept": None if done.kept is None else str(done.kept),
        "channels": done.channels,
        "events": done.events,
        "newest_at": done.newest_at,
    }


def subscriptions(flags: Flags) -> Json:
    """Every subscription and what waits for it."""
    return {"subscriptions": call(flags, "GET", "status")["subscriptions"]}


def unsubscribe(flags: Flags, channel: str, name: str) -> None:
    """Forget a subscription."""
    call(flags, "DELETE", "channels", channel, "subscriptions", name)


def events(flags: Flags, channel: str | None, limit: int, before: int | None) -> Json:
    """The newest events of a channel."""
    given = {"limit": limit, "channel": channel, "before": before}
    query = urlencode({name: value for name, value in given.items() if value is not None})

    async def work(api: Api) -> Json:
        return await api.call("GET", f"events?{query}")

    settings, sources = load(**flags)
    return run(settings, sources, work)


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


def channel_fields(
    *,
    hmac_secret_files: Sequence[Path] | None,
    max_body_bytes: int | None,
    allow_from: Sequence[str] | None,
    rate_per_s: float | None = None,
    **simple: object,
) -> Json:
    """What a command sets of a channel, as the API takes it."""
    fields: Json = {name: value for name, value in simple.items() if value is not None}
    if hmac_secret_files is not None:
        fields["hmac_secrets"] = [_secret(path) for path in hmac_secret_files]
    if max_body_bytes is not None:
        fields["max_body_bytes"] = max_body_bytes or None
    if rate_per_s is not None:
        fields["rate_per_s"] = rate_per_s or None
    if allow_from:
        fields["allow_from"] = [network for network in allow_from if network]
    return fields


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


def _secret(path: Path) -> str:
    try:
        secret = sys.stdin.readline() if str(path) == "-" else path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidValue(f"the secret file {path} cannot be read: {exc}") from exc
    if not secret.strip() or len(secret) > MAX_SECRET_BYTES:
        raise InvalidValue(f"{path} holds no secret of 1 to {MAX_SECRET_BYTES} characters")
    return secret.strip()
