"""Commands for the store as a whole, whichever keeps it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from relay_http.files import read_text
from relay_server.cli.command import command, load_settings
from relay_server.cli.growing import NOTHING_HALF_DONE, growing
from relay_server.cli.options import Json, Yes
from relay_server.cli.text import lines
from relay_server.files import size_of
from relay_terminal.program import confirmed
from relay_terminal.progress import progress
from relay_terminal.usage import App
from relay_terminal.words import _, plural

_MIB = 1_048_576

app = App("Bring the store into another database, or write it anew.")


def show_copied(result: Json) -> None:
    """What is there now, and how the server is told of it."""
    count = result["rows"]["events"]
    lines(
        plural(
            "{count} event is in {target}, with all that belongs to it.",
            "{count} events are in {target}, with all that belongs to them.",
            count,
        ).format(count=count, target=result["target"]),
        _("What it was copied from is as it was. To use the copy, start the server with"),
        f"  RELAY_SERVER_STORE_URL={result['to']}",
    )
    if result["secret_key_file"] is not None:
        lines(
            f"  RELAY_SERVER_SECRET_KEY_FILE={result['secret_key_file']}",
            _("Each server of it needs that key: it opens what another one sealed."),
        )


def show_rebuilt(result: Json) -> None:
    """How large it was and is, and what else shows bodies."""
    lines(
        _("The store was written anew: {before:.1f} MiB before, {after:.1f} MiB now.").format(
            before=result["bytes_before"] / _MIB, after=result["bytes_after"] / _MIB
        ),
        _("It shows nothing of bodies that were dropped, deleted, or stored otherwise before."),
    )
    if result["kept"]:
        lines(_("Delete these if they are not to show any either:"))
        lines(*(f"  {file}" for file in result["kept"]))


@command(app, "rebuild", show_rebuilt)
def rebuild(ctx: typer.Context) -> Json:
    """Write the store's file anew without what was deleted, with the server stopped."""
    from relay_server.app import prepare_data_dir
    from relay_server.store.opening import kept_stores, rebuild_store, store_files

    settings, _sources = load_settings(ctx.obj)
    prepare_data_dir(settings.data_dir)
    store, new = store_files(settings.data_dir)
    title = _("Writing the store anew, MiB")
    with growing(title, new, lambda: size_of(store), _(NOTHING_HALF_DONE)):
        before, after = rebuild_store(settings.store_url, settings.data_dir)
    kept = [str(file) for file in kept_stores(settings.data_dir)]
    return {"bytes_before": before, "bytes_after": after, "kept": kept}


@command(app, "copy", show_copied)
def copy(
    ctx: typer.Context,
    to: Annotated[
        str, typer.Option(help="Where: postgresql://user@host/database, or sqlite for a file.")
    ],
    to_password_file: Annotated[
        Path | None, typer.Option(help="Holds the password of the database there.")
    ] = None,
    yes: Yes = False,
) -> Json:
    """Copy the whole store, with the server stopped. What was interrupted goes on by itself."""
    from relay_server.app import body_keys, prepare_data_dir
    from relay_server.sealing import FILE_NAME, Sealer
    from relay_server.store.copying import copy_store
    from relay_server.store.opening import open_side
    from relay_server.store.rules import SQLITE

    settings, _sources = load_settings(ctx.obj)
    confirmed(_("Copy the store to {target}?").format(target=to), yes=yes)
    prepare_data_dir(settings.data_dir)
    password = None if to_password_file is None else read_text(to_password_file).strip()
    mine = settings.store_url, settings.data_dir, settings.store_secret
    with (
        open_side(*mine, target=False) as source,
        open_side(to, settings.data_dir, password, target=True) as target,
    ):
        [(total,)] = source.rows("SELECT count(*) FROM events")
        goes_on = _("The same command goes on with the rest.")
        with progress(_("Copying events"), total, goes_on) as reach:
            rows = copy_store(source, target, reach, body_keys(settings))
    file = None if settings.secret_key or to == SQLITE else settings.data_dir / FILE_NAME
    if file is not None:
        Sealer(settings.data_dir).seal(b"")  # makes it, if nothing was sealed yet
    return {
        "target": target.name,
        "to": to,
        "rows": rows,
        "secret_key_file": None if file is None else str(file),
    }
