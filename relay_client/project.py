"""A project's `relay.toml`: what of the client's settings goes with a repository.

It is found in the current folder, or above it as far as the repository's root or the user's home;
where neither is above, only in the current folder. Whoever may write to a repository writes it: it
holds no secret, and no path that one is read from. Which token goes to the relay that it names is
for `settings` to say.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from relay_client.errors import UsageError
from relay_http.files import read_text, why_not
from relay_terminal.words import _

FILE = "relay.toml"
# What the file calls each setting, and the types that it may have there.
KEYS: dict[str, tuple[str, tuple[type, ...]]] = {
    "relay": ("url", (str,)),
    "profile": ("profile", (str,)),
    "channel": ("channel", (str,)),
    "subscription": ("name", (str,)),
    "to": ("to", (str, list, dict)),
    "filter": ("filter", (str,)),
    "timeout": ("timeout_s", (int, float)),
}
_SECRET_WORDS = ("token", "secret", "password")


@dataclass(frozen=True)
class Project:
    """What a project's file says, by setting; nothing where there is none."""

    file: Path | None = None
    settings: dict[str, object] = field(default_factory=dict)


def read_project(home: Path | None = None) -> Project:
    """Find and read the file of the project that the current folder belongs to, not above `home`.

    Raises:
        UsageError: It cannot be read, or says what it may not.
    """
    try:
        here = Path.cwd()
    except OSError:  # deleted meanwhile
        return Project()
    file = next((file for file in _candidates(here, home) if file.is_file()), None)
    if file is None:
        return Project()
    return Project(file, {KEYS[key][0]: value for key, value in _read(file).items()})


def _candidates(here: Path, home: Path | None) -> Iterator[Path]:
    folders = [here, *here.parents]
    ends = [n for n, one in enumerate(folders) if one == home or (one / ".git").exists()]
    yield from (folder / FILE for folder in folders[: ends[0] + 1 if ends else 1])


def _read(file: Path) -> dict[str, object]:
    try:
        said = tomllib.loads(read_text(file))
    except (OSError, ValueError) as exc:
        text = _("{file} cannot be read: {why}").format(file=file, why=why_not(exc))
        raise UsageError(text) from exc
    return {key: _checked(file, key, value) for key, value in said.items()}


def _checked(file: Path, key: str, value: object) -> object:
    if any(word in key.lower() for word in _SECRET_WORDS):
        raise UsageError(
            _("{file} has {key}: whoever has the repository would have it, too").format(
                file=file, key=key
            ),
            _("Take it out, and run relay-client login URL."),
        )
    if key not in KEYS:
        near = difflib.get_close_matches(key, KEYS, 1)
        hint = _("Did you mean {key}?").format(key=near[0]) if near else ""
        known = _("There are: {keys}.").format(keys=", ".join(KEYS))
        raise UsageError(
            _("{file}: {key} is no key of it").format(file=file, key=key), hint or known
        )
    if isinstance(value, bool) or not isinstance(value, KEYS[key][1]):
        raise UsageError(
            _("{file}: {key} has no value that it can have").format(file=file, key=key)
        )
    return _targets(file, value) if key == "to" else value


def _targets(file: Path, value: object) -> object:
    """Targets as `--to` takes them: one, several, or one for each channel."""
    if isinstance(value, dict):
        value = [f"{channel}={target}" for channel, target in value.items()]
    targets = [value] if isinstance(value, str) else list(value) if isinstance(value, list) else []
    if not all(isinstance(target, str) for target in targets):
        raise UsageError(
            _("{file}: {key} has no value that it can have").format(file=file, key="to")
        )
    return tuple(targets)
