"""The logins that `relay-client login` keeps in the user's config directory."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from relay_client.errors import ClientError, UsageError
from relay_client.files import write_whole
from relay_terminal.words import _

_PROFILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_NONCE = "invitation.nonce"
_KEYS = ("url", "token", "ca_file")


def default_folder() -> Path:
    """The folder that this system keeps a user's configuration in."""
    import platformdirs

    return users_folder(platformdirs.user_config_dir, "RELAY_CLIENT_CONFIG_DIR")


def users_folder(find: Callable[..., str], variable: str) -> Path:
    """The folder of this program that the system keeps for a user, or that a variable names.

    Raises:
        UsageError: This user has no home.
    """
    try:
        return Path(find("relay-client", appauthor=False))
    except RuntimeError as exc:
        raise UsageError(
            _("this user has no home to keep anything in"),
            _("Set {variable}, or HOME.").format(variable=variable),
        ) from exc


def file_of(folder: Path, profile: str | None = None) -> Path:
    """Where a login is kept.

    Raises:
        UsageError: No profile can have this name.
    """
    if profile is None:
        return folder / "login.json"
    if not _PROFILE.fullmatch(profile):
        raise UsageError(
            _("{profile!r} is no profile").format(profile=profile),
            _("Its name takes letters, digits, '.', '_' and '-'."),
        )
    return folder / f"login-{profile}.json"


def of_relay(folder: Path, url: str) -> dict[str, str]:
    """The login of a relay, under whatever name it is kept; nothing without one.

    Raises:
        UsageError: A file is damaged or cannot be read.
    """
    for file in sorted(folder.glob("login*.json")):
        login = _read(file)
        if login.get("url") == url:
            return login
    return {}


def load(folder: Path, profile: str | None = None) -> dict[str, str]:
    """Give `url`, `token` and, where there is one, `ca_file`; nothing without a login.

    Raises:
        UsageError: The file is damaged or cannot be read; or there is none of a profile.
    """
    file = file_of(folder, profile)
    found = _read(file)
    if profile is not None and not found:
        raise UsageError(
            _("there is no login {profile}").format(profile=profile),
            _("relay-client login URL --profile {profile} makes it.").format(profile=profile),
        )
    return found


def _read(file: Path) -> dict[str, str]:
    try:
        saved = json.loads(file.read_bytes())
        return {key: str(saved[key]) for key in _KEYS if saved.get(key)}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as exc:
        raise UsageError(
            _("the saved login {file} cannot be read: {why}").format(
                file=file, why=getattr(exc, "strerror", None) or exc
            ),
            _("Run relay-client logout, then relay-client login URL."),
        ) from exc


def save(folder: Path, login: dict[str, str], profile: str | None = None) -> Path:
    """Keep a login so that only its owner can read it; an earlier one is replaced whole.

    Returns:
        The file.

    Raises:
        ClientError: It cannot be written.
    """
    file = file_of(folder, profile)
    _write(folder, file, json.dumps(login, indent=2) + "\n")
    return file


def keep_nonce(folder: Path) -> str:
    """What an invitation is accepted with: kept until the login is, lest a kill in between lose it.

    Raises:
        ClientError: It cannot be kept.
    """
    file = folder / _NONCE
    try:
        return file.read_text("ascii")
    except (OSError, UnicodeDecodeError):
        nonce = secrets.token_urlsafe(32)
        _write(folder, file, nonce)
        return nonce


def forget_nonce(folder: Path) -> None:
    """The login is kept: the next invitation is accepted with another."""
    with suppress(OSError):
        (folder / _NONCE).unlink()


def forget(folder: Path, profile: str | None = None) -> bool:
    """Remove the login, and say whether there was one.

    Raises:
        ClientError: It cannot be removed.
    """
    file = file_of(folder, profile)
    try:
        file.unlink()
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise ClientError(
            _("{file} cannot be removed: {why}").format(file=file, why=exc.strerror or exc)
        ) from exc
    return True


def _write(folder: Path, file: Path, content: str) -> None:
    try:
        if not folder.exists():
            folder.mkdir(mode=0o700, parents=True)
        write_whole(file, content)
    except OSError as exc:
        raise ClientError(
            _("the login cannot be kept in {file}: {why}").format(
                file=file, why=exc.strerror or exc
            )
        ) from exc
