"""Targets of a project's file that are not on this machine: taken once somebody said so.

Whoever may write to a repository could have a customer's webhooks sent anywhere. What was said
holds for the file at its path with the targets that it had then; others are asked about anew.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from relay_client.errors import UsageError
from relay_client.files import write_whole
from relay_client.routes import Route
from relay_client.settings import PROJECT, Configuration
from relay_http.addresses import is_loopback_host
from relay_terminal.console import Console
from relay_terminal.program import confirmed
from relay_terminal.words import _


def settle_trust(configuration: Configuration, console: Console, *, trusts: bool) -> None:
    """See that somebody wants webhooks sent where a project's file has them sent.

    Raises:
        UsageError: Nobody said so, and nobody is there to be asked.
        typer.Abort: The answer to the question was no.
    """
    if configuration.sources["to"] != PROJECT:
        return
    targets = [Route.parse(text).target for text in configuration.settings.to]
    urls = sorted({one.url for one in targets if not is_loopback_host(one.host)})
    known = _record(configuration, urls)
    if not urls or known.exists():
        return
    said = _("{file} has webhooks sent to {url}, which is not this machine")
    said = said.format(file=configuration.project, url=", ".join(urls))
    if not trusts and not console.asks:
        hint = _("If that is meant, say --trust once; or say where: --to HOST:PORT.")
        raise UsageError(said, hint)
    confirmed(f"{said}. {_('Is that meant?')}", yes=trusts)
    with contextlib.suppress(OSError):  # it is asked again, then
        known.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(known, f"{configuration.project}\n")


def _record(configuration: Configuration, urls: list[str]) -> Path:
    """Where it is noted that these targets of this file are meant."""
    meant = "\0".join([str(configuration.project), *urls]).encode("utf-8", "surrogateescape")
    return configuration.folder / "trusted" / hashlib.sha256(meant).hexdigest()
