"""Commands for the server as a whole: run it, make it, look at it, copy it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay_http.addresses import is_in_clear
from relay_http.tls import trusting_nobody
from relay_server.cli.command import Work, ask, command, load_settings
from relay_server.cli.growing import NOTHING_HALF_DONE, growing
from relay_server.cli.options import DataDir, Json, Yes
from relay_server.cli.status import NotReady, index, show_index, show_status, status
from relay_server.cli.text import lines, when
from relay_server.cli.urls import client_command, show_login, show_webhook_urls, webhook_urls
from relay_server.errors import InvalidValue
from relay_server.files import SOCKET_NAME, explained, size_of, write_whole
from relay_server.health import READY, STATES, state
from relay_terminal.program import confirmed
from relay_terminal.retold import retold
from relay_terminal.usage import App
from relay_terminal.words import _, plural

if TYPE_CHECKING:
    from relay_server.control import Api
    from relay_server.settings import ServerSettings

FIRST_TOKENS_FILE = "first-tokens.json"  # of `serve --init`, in the data dir
# The names of the first tokens, and their scopes: of Chatwoot, and of whoever develops the bot.
FIRST_TOKENS = {"send": "chatwoot", "subscribe": "developer"}

app = App("Takes webhooks, stores them, and pushes them to whoever reads.", completes=True)


def show_init(result: Json) -> None:
    """The next steps, from nothing to a webhook on a laptop."""
    lines(_("Relay's data is in {data_dir}.").format(data_dir=result["data_dir"]), "")
    if not result["running"]:
        lines(_("Start the server:"), "  relay-server serve", "")
    if result["needs_restart"]:
        text = _("Restart the server, which hands out its former URL until then: {url}")
        lines(text.format(url=result["served_url"]), "")
    if result["in_clear"]:
        text = _("Warning: {url} is without TLS: anyone on the way can read tokens and webhooks.")
        lines(text.format(url=result["url"]), "")
    _show_sender(result)
    _show_client(result)
    if result["send_token"] or result["subscribe_token"]:
        lines(_("Tokens are shown this once: only a digest of them is kept."))


def _show_sender(result: Json) -> None:
    if result["webhook_url"] is None:
        lines(
            _("The sender's token exists already, and was printed when it was made. The URL:"),
            f"  {webhook_urls(result['url'], '/webhook', 'TOKEN')['webhook_url']}",
            _("Lost it? This makes another, and the old one is good no more:"),
            f"  relay-server token revoke {FIRST_TOKENS['send']} && relay-server init",
            "",
        )
        return
    lines(_("Paste into Chatwoot, under Settings → Integrations → Webhooks:"))
    show_webhook_urls(result)
    if not result["has_public_url"]:
        lines(
            _("Chatwoot must reach that address. Where it runs elsewhere, say once how it does:"),
            "  relay-server init --public-url https://relay.example.com",
            "",
        )


def _show_client(result: Json) -> None:
    show_login(result["url"], result["subscribe_token"])
    lines(
        _("For one more developer, a line to send:"),
        f"  relay-server invite NAME --channel {result['channel']}",
        "",
    )


def show_backup(result: Json) -> None:
    """Where it went."""
    lines(
        _("Written to {file}. It holds customers' data: keep it like the database.").format(
            file=result["file"]
        ),
        _(
            "Keep secret.key of the data dir too, if there is one, and apart from it: it opens"
            " the HMAC secrets and the forwards' headers in it."
        ),
    )
    if keys := result["body_keys"]:
        lines(
            _(
                "No body in it opens without the keys of RELAY_SERVER_BODY_KEYS. Keep them, too,"
                " apart from it: {keys}"
            ).format(keys=", ".join(keys))
        )


def show_restore(result: Json) -> None:
    """The store's contents now, and the place of the former one."""
    lines(
        _("Restored {events} of {channels} to {data_dir}; the newest is of {time}.").format(
            events=plural("{number} event", "{number} events", result["events"]),
            channels=plural("{number} channel", "{number} channels", result["channels"]),
            data_dir=result["data_dir"],
            time=when(result["newest_at"], zoned=True),
        ),
    )
    if result["kept"]:
        lines(_("The store that was there is kept: {kept}").format(kept=result["kept"]))
    lines(
        _(
            "secret.key must be that of the backup, or channels with signatures take nothing,"
            " and forwards with headers post nothing."
        ),
    )


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    data_dir: DataDir = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    ctx.obj = {"data_dir": data_dir}
    if version:
        from importlib.metadata import version as version_of

        typer.echo(f"relay-server {version_of('relay-tunnel')}")
        raise typer.Exit


@app.command()
def serve(
    ctx: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    ops_port: Annotated[int | None, typer.Option(help="Port of readiness and metrics.")] = None,
    public_url: Annotated[
        str | None, typer.Option(help="Where senders and clients reach this server.")
    ] = None,
    init: Annotated[
        bool,
        typer.Option(
            "--init",
            help="Make the data dir, the channel and, in a file there, its tokens, if need be.",
        ),
    ] = False,
) -> None:
    """Run the server until it is stopped."""
    import asyncio

    from relay_server import log

    with trusting_nobody():  # aiohttp makes no connection here
        from relay_server.app import serve as serve_app
    from relay_server.settings import load
    from relay_server.stopping import no_more_signals

    flags = {**ctx.obj, "host": host, "port": port, "ops_port": ops_port}
    if init:
        made = make_missing(flags, public_url)
        if made["send_token"] or made["subscribe_token"]:
            _keep_tokens(made)
    settings, sources = load(**flags, public_url=public_url)
    log.set_up(settings.log_format, settings.log_level)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        status = runner.run(serve_app(settings, sources))
    no_more_signals()
    raise typer.Exit(status)


def _keep_tokens(made: Json) -> None:
    """Put what `init` prints into a file: what a server prints is kept in logs, read by others."""
    file = Path(made["data_dir"]) / FIRST_TOKENS_FILE
    try:
        write_whole(file, json.dumps(made, indent=2).encode() + b"\n")
    except OSError as exc:
        why = explained(exc, file.parent)
        raise InvalidValue(
            _("{file} cannot be written: {reason}").format(file=file, reason=why)
        ) from exc
    lines(
        _("The first tokens, and the URL for Chatwoot, are in {file}.").format(file=file),
        _("Its owner alone can read it. Delete it once you have what is in it."),
    )


@command(app, "init", show_init)
def init(
    ctx: typer.Context,
    public_url: Annotated[
        str | None,
        typer.Option(help="Where senders and clients reach this server; kept in settings.toml."),
    ] = None,
) -> Json:
    """Make the data dir, the channel and its tokens; safe to repeat."""
    return make_missing(ctx.obj, public_url)


command(app, "status", show_status)(status)
command(app, "index", show_index)(index)


def show_link(result: Json) -> None:
    lines(_("Open this link within a minute; it works once:"), f"  {result['url']}")


@command(app, "dashboard", show_link)
def dashboard() -> Work:
    """Print a link that logs you in to the dashboard: once, and within a minute."""

    async def made(api: Api) -> Json:
        if not api.running:
            raise NotReady(_("there is no dashboard: the server does not run"))
        return await api.call("POST", "login-links")

    return made


@command(app, "health", lambda _result: lines("ready"))
def health(ctx: typer.Context) -> Json:
    """Ask the running server whether it is ready; exit status 0 when it is."""
    # Mostly it is, and `__main__` has said so.
    data_dir = load_settings(ctx.obj)[0].data_dir
    found = state(data_dir)
    if found is None:
        raise NotReady(_("nothing answers on {socket}").format(socket=data_dir / SOCKET_NAME))
    if found != READY:
        raise NotReady(
            _("the server is not ready: {why}").format(why=retold(STATES.get(found, str(found))))
        )
    return {"status": READY}


@command(app, "backup", show_backup)
def backup(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="A file that does not exist yet.")],
) -> Work:
    """Copy the whole store to a file, whether or not the server runs."""
    copy = ask("POST", "backup", body={"file": str(file.absolute())})

    async def shown(api: Api) -> Json:
        from relay_server.store.opening import store_files

        whole = store_files(load_settings(ctx.obj)[0].data_dir)[0]
        title, goes_on = _("Copying the store, MiB"), _("The copy is made to its end.")
        with growing(title, file, lambda: size_of(whole), goes_on):
            return await copy(api)

    return shown


@command(app, "restore", show_restore)
def restore(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="A file that backup wrote.")],
    yes: Yes = False,
) -> Json:
    """Put a backup in the place of the store, which is kept beside it; with the server stopped."""
    from relay_server.app import prepare_data_dir
    from relay_server.clock import SystemClock
    from relay_server.store.opening import restore_store, store_files

    confirmed(_("Replace the store by {file}?").format(file=file), yes=yes)
    settings, _sources = load_settings(ctx.obj)
    prepare_data_dir(settings.data_dir)
    now = SystemClock().unix_ms()
    copy = store_files(settings.data_dir)[1]
    title = _("Copying the backup, MiB")
    with growing(title, copy, lambda: size_of(file), _(NOTHING_HALF_DONE)):
        done = restore_store(settings.store_url, settings.data_dir, file.absolute(), now)
    return {
        "file": str(file.absolute()),
        "data_dir": str(settings.data_dir),
        "kept": None if done.kept is None else str(done.kept),
        "channels": done.channels,
        "events": done.events,
        "newest_at": done.newest_at,
    }


def make_missing(flags: Json, public_url: str | None) -> Json:
    """Make whatever is missing: data dir, channel, tokens. What exists stays as it is."""
    from relay_server.app import prepare_data_dir
    from relay_server.control import run
    from relay_server.settings import save

    settings, _ = load_settings(flags, public_url=public_url)
    prepare_data_dir(settings.data_dir)
    if public_url is not None:
        save(settings.data_dir, "public_url", settings.public_url)
    settings, sources = load_settings(flags)
    made = run(settings, sources, lambda api: _make(api, settings.default_channel), make=True)
    return _welcome(settings, made)


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _make(api: Api, channel: str) -> Json:
    """Make the channel and its tokens; the secret of one that exists is kept nowhere: None."""
    from relay_server.control import ApiRefused

    served_url = (await api.call("GET", "status"))["public_url"] if api.running else None
    made: Json = {"running": api.running, "served_url": served_url}
    names = {c["name"] for c in (await api.call("GET", "channels"))["channels"]}
    if channel not in names:
        await api.call("POST", "channels", {"name": channel})
    for scope, name in FIRST_TOKENS.items():
        body = {"name": name, "scopes": [scope], "channels": [channel]}
        try:
            made[f"{scope}_token"] = (await api.call("POST", "tokens", body))["token"]
        except ApiRefused as exc:
            if exc.code != "token_exists":
                raise
            made[f"{scope}_token"] = None
    return made


def _welcome(settings: ServerSettings, made: Json) -> Json:
    url, token = settings.url, made["send_token"]
    urls = webhook_urls(url, "/webhook", token or "")
    return {
        "data_dir": str(settings.data_dir),
        "url": url,
        "in_clear": is_in_clear(url),
        "has_public_url": bool(settings.public_url),
        "needs_restart": made["running"] and made["served_url"] != url,
        "channel": settings.default_channel,
        **(urls if token else dict.fromkeys(urls)),
        "client_command": client_command(url),
        **made,
    }
