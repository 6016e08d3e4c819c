"""The client's configuration, and the only reader of the environment."""

from __future__ import annotations

import os
import ssl
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from relay_client import saved_login
from relay_client.errors import UsageError
from relay_client.project import FILE, KEYS, read_project
from relay_client.relay import Relay, parse_url
from relay_http.files import read_text, why_not
from relay_http.target import Target
from relay_http.tls import target_context
from relay_protocol.limits import WINDOW_DELIVERIES
from relay_protocol.text import trimmed
from relay_terminal.settings import Impossible, Settings, of_environment, setting
from relay_terminal.values import Secret
from relay_terminal.words import N_, _

_PREFIX = "RELAY_CLIENT_"
_EMPTY_COUNTS = ("filter",)  # the settings that say something when they are empty
_FLAGS = {
    "name": "--as",
    "timeout_s": "--timeout",
    "since": "--from",
}  # where it is not the setting's name

DEFAULT = "default"
LOGIN, PROJECT = N_("saved login"), FILE  # as sources
_SOURCES = (N_("environment"), N_("flag"))  # the others that are shown


def is_token(text: str) -> bool:
    """Say whether a text can be sent as a token: one word of visible ASCII characters."""
    return bool(text) and all("!" <= char <= "~" for char in text)


def _page(value: str) -> str:
    parts = urllib.parse.urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise ValueError(_("it is not like https://chat.example.com"))
    return value.rstrip("/")


def _sendable(value: Secret) -> Secret:
    if not is_token(value.reveal()):
        raise ValueError(_("a token is one word of ASCII characters"))
    return value


_CHECKS: dict[str, Callable[[Any], object]] = {
    "url": parse_url,
    "chatwoot_url": _page,
    "token": _sendable,
    "send_token": _sendable,
}


@dataclass(frozen=True, kw_only=True)
class ClientSettings(Settings):
    """All of the client's configuration; no other module reads the environment."""

    CHECKS = _CHECKS

    url: str | None = setting(None, description="The relay, e.g. https://relay.example.com.")
    profile: str | None = setting(
        None, description="Which of several saved logins, as `login --profile` named it."
    )
    token: Secret | None = setting(None, description="Token with the scope subscribe.")
    token_file: Path | None = setting(None, description="File with the token, instead of `token`.")
    ca_file: Path | None = setting(
        None, description="More certificates to trust towards the relay, in PEM."
    )
    config_dir: Path | None = setting(
        None, description="Where the login is kept, instead of the user's config directory."
    )
    state_dir: Path | None = setting(
        None,
        description="Where the journal of delivered webhooks is kept, instead of the user's state "
        "directory.",
    )
    send_token: Secret | None = setting(
        None,
        description="Token with the scope send, for `send`; by default `token`, where it has that.",
    )
    send_token_file: Path | None = setting(
        None, description="File with the token, instead of `send_token`."
    )
    webhook_secret: Secret | None = setting(
        None, description="Secret that `send --signed` signs with, as Chatwoot shows it."
    )
    webhook_secret_file: Path | None = setting(
        None, description="File with the secret, instead of `webhook_secret`."
    )
    chatwoot_url: str | None = setting(
        None, description="Where `open` finds conversations, e.g. https://chat.example.com."
    )
    to: tuple[str, ...] = setting(
        (),
        description="Targets, [CHANNEL=][https://]HOST:PORT[/path]; several are separated by"
        " commas.",
    )
    target_ca: Path | None = setting(
        None, description="More certificates to trust towards targets by https://, in PEM."
    )
    insecure_target: bool = setting(
        False, description="Take any certificate of a target by https://, and so anybody for it."
    )
    channel: str | None = setting(None, description="Channel of the target that names none.")
    name: str | None = setting(
        None,
        description="Name of the subscription, 1 to 63 of a-z, 0-9, ., _ and -; the token's by"
        " default.",
    )
    share: bool = setting(
        False,
        description="Share the subscription's webhooks with the other clients of its name that say "
        "so, instead of taking over.",
    )
    filter: str | None = setting(
        None,
        description="Which webhooks the subscription gets from now on, e.g. kind:message_*; empty "
        "for all. As it is set by default.",
    )
    since: str = setting(
        "cursor",
        description="Where a new subscription starts: now, beginning, 2h, 3d, an RFC 3339 time or"
        " an event; cursor goes on where it was.",
    )
    temporary: bool = setting(
        False, description="The subscription goes with the connection, under a name of its own."
    )
    resign: bool | None = setting(
        None,
        description="Whether webhooks are signed anew, so that an app that looks at the time of a"
        " signature takes late ones. As it is set by default.",
    )
    timeout_s: float = setting(
        30.0, gt=0, le=3_600, description="Seconds that a target may take to answer."
    )
    concurrency: int = setting(
        8,
        ge=1,
        le=WINDOW_DELIVERIES,  # the relay sends no more than these at once
        description="How many webhooks a client's targets get at the same time.",
    )
    output: Literal["pretty", "plain", "json"] | None = setting(
        None, description="What connect prints; pretty on a terminal, otherwise plain."
    )

    def target_tls(self, targets: Iterable[Target]) -> ssl.SSLContext | None:
        """Whom to trust of these targets; None where none speaks TLS.

        Raises:
            UsageError: `target_ca` cannot be used.
        """
        if not any(target.secure for target in targets):
            return None
        try:
            return target_context(self.target_ca, verify=not self.insecure_target)
        except (OSError, ValueError) as exc:
            raise UsageError(
                f"--target-ca {exc}", _("It must be a readable file of certificates in PEM.")
            ) from exc


@dataclass(frozen=True)
class Configuration:
    """Settings, and where each came from.

    Attributes:
        sources: By setting: `"flag"`, `"environment"`, `"relay.toml"`, `"saved login"` or
            `"default"`.
        colour: The user does not mind colours (no-color.org).
        project: The project's file, if there is one.
        withheld: Why the token is not sent to the relay; empty where it is.
    """

    settings: ClientSettings
    sources: Mapping[str, str]
    folder: Path
    colour: bool
    project: Path | None = None
    withheld: str = ""

    @property
    def state_folder(self) -> Path:
        return self.settings.state_dir or _default_state_folder()

    def relay(self) -> Relay:
        """The relay to speak to.

        Raises:
            UsageError: There is no URL or no token.
        """
        url, token = self.settings.url, self.settings.token
        if url is None:
            raise UsageError(_("no relay is set"), _("Run relay-client login URL, or give --url."))
        if self.withheld:
            raise UsageError(
                self.withheld,
                _(
                    "If you trust {url}, run relay-client login {url}, with --profile NAME to keep "
                    "the other login, or give --url."
                ).format(url=url),
            )
        if token is None:
            raise UsageError(
                _("no token is set"),
                _(
                    "Run relay-client login {url}, or give RELAY_CLIENT_TOKEN or --token-file."
                ).format(url=url),
            )
        return Relay(url, token.reveal(), self.settings.ca_file)

    def described(self) -> dict[str, dict[str, object]]:
        """Every setting's value and source, the token hidden."""
        values = msgspec.to_builtins(self.settings, enc_hook=str)  # which masks the token
        return {
            name: {"value": value, "source": self.sources[name]} for name, value in values.items()
        }


def load(flags: Mapping[str, object], *, with_login: bool = True) -> Configuration:
    """Put the layers together: flags, environment, relay.toml, saved login, defaults, by weight.

    Args:
        flags: By setting; None stands for a flag that was not given.
        with_login: Whether to read the saved login; without, a damaged one does no harm, and of the
            project's file the profile alone counts.

    Raises:
        UsageError: A setting is unknown or impossible; the message names it.
    """
    _refuse_unknown(os.environ)
    given = {name: value for name, value in flags.items() if value not in (None, [], ())}
    environment = trimmed(of_environment(ClientSettings, _PREFIX, os.environ), _EMPTY_COUNTS)
    named = environment.get("config_dir")
    folder = Path(str(named)) if named else saved_login.default_folder()
    project = read_project(_home())
    of_project = project.settings if with_login else _only(project.settings, "profile")
    layers: dict[str, dict[str, object]] = {
        LOGIN: {},
        PROJECT: of_project,
        "environment": _with_secrets_read(environment, "environment"),
        "flag": _with_secrets_read(given, "flag"),
    }
    if with_login:
        layers[LOGIN] = {**saved_login.load(folder, _profile(layers))}
    sources = dict.fromkeys(ClientSettings.declared(), DEFAULT)
    values: dict[str, object] = {}
    for source, layer in layers.items():
        values |= layer
        sources |= dict.fromkeys(layer, source)
    withheld = _bind(values, sources, layers[LOGIN].get("url"), folder)
    colour, settings = not os.environ.get("NO_COLOR"), _validated(values, sources)
    return Configuration(settings, sources, folder, colour, project.file, withheld)


def _bind(values: dict[str, object], sources: dict[str, str], got_for: object, folder: Path) -> str:
    """See that a relay which a project's file names gets no token that was got for another.

    Of all saved logins that of this relay is taken.

    Returns:
        Why there is no token for it; empty where that is no matter.
    """
    secrets = [name for name in ("token", "send_token") if name in values]
    if sources["url"] != PROJECT or not secrets:
        return ""
    try:
        url = parse_url(str(values["url"]))
    except ValueError:
        return ""  # it is refused as any that cannot be
    if url == got_for:
        return ""
    if any(sources[name] != LOGIN for name in secrets):
        return _(
            "{file} alone names {url}: a token that is not of a login is not sent there"
        ).format(file=FILE, url=url)
    for name in ("token", "ca_file"):
        if sources[name] == LOGIN:
            values.pop(name, None)
    if own := saved_login.of_relay(folder, url):
        values |= own
        return ""
    return _("{file} names {url}; your token is for {got_for}, and is not sent there").format(
        file=FILE, url=url, got_for=got_for
    )


def _profile(layers: Mapping[str, Mapping[str, object]]) -> str | None:
    """The saved login that is meant, by the layer of most weight that says one."""
    named = [layer["profile"] for layer in layers.values() if layer.get("profile")]
    return str(named[-1]) if named else None


def _only(layer: Mapping[str, object], *names: str) -> dict[str, object]:
    return {name: value for name, value in layer.items() if name in names}


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:  # this user has none
        return None


def read_token(file: Path) -> str:
    """Read a token from a file.

    Raises:
        UsageError: There is none in it.
    """
    try:
        token = read_text(file).strip()
    except (OSError, ValueError) as exc:
        raise UsageError(
            _("the token file {file} cannot be read: {why}").format(file=file, why=why_not(exc))
        ) from exc
    if not is_token(token):
        raise UsageError(
            _("the token file {file} holds no token: one word is expected").format(file=file)
        )
    return token


def _default_state_folder() -> Path:
    """The folder that this system keeps a user's state in."""
    import platformdirs

    return saved_login.users_folder(platformdirs.user_state_dir, "RELAY_CLIENT_STATE_DIR")


def _with_secrets_read(layer: dict[str, object], source: str) -> dict[str, object]:
    """The same with what stands in the files that it names."""
    read = dict[str, object]()
    for name, reader in _SECRETS.items():
        file = layer.get(f"{name}_file")
        if file is not None and name in layer:
            names = _called(name, source), _called(f"{name}_file", source)
            raise UsageError(
                _("{name} and {other} are both set").format(name=names[0], other=names[1]),
                _("Give one of them."),
            )
        if file is not None:
            read[name] = reader(Path(str(file)))
    return {**layer, **read}


def _read_secret(file: Path) -> str:
    try:
        return read_text(file).strip()
    except (OSError, ValueError) as exc:
        raise UsageError(
            _("the secret's file {file} cannot be read: {why}").format(file=file, why=why_not(exc))
        ) from exc


_SECRETS = {"token": read_token, "send_token": read_token, "webhook_secret": _read_secret}


def _validated(values: dict[str, object], sources: Mapping[str, str]) -> ClientSettings:
    try:
        return ClientSettings.read(values)
    except Impossible as exc:
        name, message = exc.problems[0]
        raise UsageError(f"{_called(name, sources[name])}: {message}") from exc


def _called(name: str, source: str) -> str:
    """The name that the user knows a setting by."""
    if source == "flag":
        return _FLAGS.get(name, "--" + name.replace("_", "-"))
    if source == "environment":
        return _PREFIX + name.upper()
    if source == PROJECT:
        called = next(key for key, (setting, _types) in KEYS.items() if setting == name)
        return f"{called} in {PROJECT}"
    return _("{name} of the {source}").format(name=name, source=source)


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    import difflib

    known = [_PREFIX + name.upper() for name in ClientSettings.declared()]
    for name in environment:
        if name.upper().startswith(_PREFIX) and name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), known, 1)
            hint = (
                _("Did you mean {name}?").format(name=near[0])
                if near
                else _("There are: {known}.").format(known=", ".join(known))
            )
            raise UsageError(_("{name} is no setting of relay-client").format(name=name), hint)
