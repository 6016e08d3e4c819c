"""The server's settings: the only module that reads the environment."""

from __future__ import annotations

import functools
import json
import os
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from relay_http.addresses import Network
from relay_http.files import read_text, why_not
from relay_protocol.limits import MAX_BODY_BYTES
from relay_protocol.text import trimmed
from relay_server.checks import CHECKS, EVERYWHERE
from relay_server.errors import InvalidValue
from relay_server.files import PREFIX, absolute, default_data_dir, explained, size_of, write_whole
from relay_server.store.rules import SQLITE
from relay_terminal.settings import Impossible, Settings, of_environment, setting
from relay_terminal.values import Secret

FILE_NAME = "settings.toml"
_PORT = f"{PREFIX}PORT"
# Kubernetes tells containers of a Service named relay-server so, and by RELAY_SERVER_PORT=tcp://….
_OF_A_SERVICE = re.compile(rf"{PREFIX}(?:SERVICE_(?:HOST|PORT)|PORT_[0-9]+_(?:TCP|UDP))(?:_\w+)?")


class SettingsError(InvalidValue, code="invalid_setting"):
    """A setting is unknown or impossible."""

    hint = "docs/reference/settings.md lists every setting and what it takes."


@dataclass(frozen=True, kw_only=True)
class ServerSettings(Settings):
    """All of the server's configuration. Any of it can be given as `…_FILE`: a file's content."""

    CHECKS = CHECKS

    data_dir: Path = setting(
        default_factory=default_data_dir,
        description="Folder of the database, its lock, the sealing key and the control socket.",
    )
    host: str = setting(
        "127.0.0.1",
        description="Address to listen on. Behind a proxy on another host 0.0.0.0, for all of"
        " IPv4, or :: or *, for all of IPv4 and IPv6.",
    )
    port: int = setting(8802, ge=0, le=65_535, description="Port to listen on.")
    ops_host: str = setting(
        "127.0.0.1", description="Address of the ops port: readiness and metrics, no token asked."
    )
    ops_port: int = setting(8803, ge=0, le=65_535, description="The ops port.")
    public_url: str = setting(
        "",
        description="Where senders and clients reach this server, e.g. https://relay.example.com;"
        " with a path, e.g. https://example.com/relay, all that it has stands below that.",
    )
    dashboard_url: str = setting(
        "",
        description="Where people reach the dashboard, where that is a host name or a port of its"
        " own, e.g. https://desk.example.com; under no other name there is one then.",
    )
    dashboard_port: int = setting(
        0,
        ge=0,
        le=65_535,
        description="Port that shows the dashboard and nothing else; then no other one shows it.",
    )
    default_channel: str = setting("chatwoot", description="The channel behind /webhook.")
    store_url: str = setting(
        "sqlite",
        description="Where events are kept: sqlite, a file in the data dir; or"
        " postgresql://user@host/database, which several replicas may share.",
    )
    store_password: Secret | None = setting(
        None, description="The database's, which stands in no URL: those are seen."
    )
    store_allow_async: Literal["on", "off"] = setting(
        "off",
        description="Whether a database of several hosts may do without a synchronous standby:"
        " what was answered 2xx may be lost then when one of them takes over.",
    )
    spool_max_bytes: int = setting(
        268_435_456,
        ge=0,
        description="What webhooks may take on this machine's disk while the database of the store"
        " is away, 256 MiB; above it they are refused. 0 for none: then they are refused at once.",
    )
    replica_url: str = setting(
        "",
        description="Where other servers of the same PostgreSQL reach this one, such as"
        " http://10.0.0.7:8802: clients that share a subscription are handed on to the one that"
        " reads it. Without it each server's clients share among themselves.",
    )
    search: Literal["on", "off"] = setting(
        "on",
        description="Whether events are indexed, in search.db in the data dir; without it filters"
        " look at events one by one.",
    )
    max_store_bytes: int = setting(
        10_737_418_240,
        ge=0,
        description="Largest size of the database file, 10 GiB; at it webhooks are refused."
        " 0 for what the disk has. In a PostgreSQL it is what all events take, counted.",
    )
    max_body_bytes: int = setting(
        1_048_576,  # Chatwoot's largest body seen is 6 KB
        gt=0,
        le=MAX_BODY_BYTES,
        description="Largest webhook body accepted, in bytes; above it the answer is 413.",
    )
    trusted_proxies: tuple[Network, ...] = setting(
        (),
        description="Networks whose X-Forwarded-* fields count, with commas between them.",
    )
    forward_allow: tuple[str, ...] = setting(
        (),
        description="Hosts, addresses and networks that forwards may reach, with commas between.",
    )
    max_connections: int = setting(
        8_192,
        ge=1,
        le=1_000_000,
        description="Connections to the public port at once; fewer where the system allows fewer.",
    )
    max_connections_per_address: int = setting(
        1_024,  # a whole Chatwoot sits behind one
        ge=1,
        le=1_000_000,
        description="Connections from one address (IPv6: one /64); trusted proxies may have all.",
    )
    tls_cert_file: Path | None = setting(
        None, description="Certificate chain (PEM), where no proxy ends TLS; read again if renewed."
    )
    tls_key_file: Path | None = setting(None, description="Its private key (PEM).")
    secret_key: Secret | None = setting(
        None,
        description="Seals HMAC secrets and forwards' header values in the database; without it,"
        " secret.key in the data dir.",
    )
    otlp_url: str = setting(
        "",
        description="Collector that traces are sent to (OTLP over HTTP), e.g."
        " http://collector:4318; takes relay-tunnel[otel].",
    )
    trace_ratio: float = setting(
        1.0, ge=0, le=1, description="Share of traces that are kept where the sender does not say."
    )
    body_keys: Secret | None = setting(
        None,
        description="Keys that seal stored bodies, 32 bytes in base64 each, with white space"
        " between: the first seals, all open. Without search, whose index would show bodies.",
    )
    seal_bodies: Literal["on", "off"] = setting(
        "on", description="Whether bodies are sealed where keys are given; off opens them again."
    )
    canary_s: int = setting(
        0,
        ge=0,
        le=86_400,
        description="Seconds between two webhooks that the server sends itself, to see them"
        " delivered; 0 for none.",
    )
    log_format: Literal["auto", "console", "json"] = setting(
        "auto", description="Log lines for people or for machines; auto: console on a terminal."
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "info", description="Log lines below this are left out."
    )

    def __post_init__(self) -> None:
        """See that they go together.

        Raises:
            ValueError: They do not.
        """
        if self.store_url != SQLITE and self.secret_key is None:
            raise ValueError(
                f"{PREFIX}STORE_URL of a database takes {PREFIX}SECRET_KEY (or _FILE): each replica"
                " opens what another one sealed"
            )
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError(f"{PREFIX}TLS_CERT_FILE and {PREFIX}TLS_KEY_FILE go together")
        self._check_apart()

    @property
    def store_secret(self) -> str | None:
        """The database's password, where it has one."""
        return self.store_password.reveal() if self.store_password else None

    @property
    def seals_bodies(self) -> bool:
        return self.body_keys is not None and self.seal_bodies == "on"

    def _check_apart(self) -> None:
        """A dashboard that is to be apart must not share an origin with anything."""
        if self.dashboard_port and self.dashboard_port == self.port:
            raise ValueError(f"{PREFIX}DASHBOARD_PORT must be another than {PREFIX}PORT")
        if self.dashboard_port and self.public_url and not self.dashboard_url:
            raise ValueError(
                f"{PREFIX}DASHBOARD_PORT takes {PREFIX}DASHBOARD_URL: where people reach that port"
            )
        own, public = urlsplit(self.dashboard_url), urlsplit(self.url)
        if own.hostname == public.hostname and not self.dashboard_port:
            raise ValueError(
                f"{PREFIX}DASHBOARD_URL must be another host name than {PREFIX}PUBLIC_URL, or go"
                f" with a port of its own, {PREFIX}DASHBOARD_PORT"
            )
        if own.netloc == public.netloc:
            raise ValueError(
                f"{PREFIX}DASHBOARD_URL must be another origin than {PREFIX}PUBLIC_URL"
            )

    @property
    def url(self) -> str:
        """Where this server is reached, as far as it knows."""
        return self.public_url or self._own_url(self.port)

    @property
    def base_path(self) -> str:
        """The path of the public URL, below which everything stands; empty for the whole host."""
        return urlsplit(self.public_url).path

    @property
    def dashboard(self) -> str:
        """Where people reach the dashboard, as far as the server knows."""
        own = self._own_url(self.dashboard_port) if self.dashboard_port else self.url
        return self.dashboard_url or own

    @property
    def dashboard_path(self) -> str:
        """The path below which the dashboard stands; empty for the whole host."""
        return urlsplit(self.dashboard).path

    def _own_url(self, port: int) -> str:
        scheme = "https" if self.tls_cert_file else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.host in ("0.0.0.0", EVERYWHERE, "127.0.0.1"):  # noqa: S104
            host = "localhost"
        return f"{scheme}://{host}:{port}"


class Sources:
    """Where each setting's value came from."""

    def __init__(self, flags: Iterable[str], file: Iterable[str]) -> None:
        self._flags = frozenset(flags)
        self._file = frozenset(file)
        self._environ = _set_variables()

    def of(self, name: str) -> str:
        """The source of a setting's value."""
        variable = PREFIX + name.upper()
        if name in self._flags:
            return "flag"
        for given in (variable, f"{variable}_FILE"):
            if given in self._environ:
                return given
        return FILE_NAME if name in self._file else "default"


def load(**flags: Any) -> tuple[ServerSettings, Sources]:
    """Read the settings: flags, environment, `settings.toml` in the data dir, defaults.

    Raises:
        SettingsError: One is unknown or impossible; the message names it.
        InvalidValue: The data dir is another user's.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    _refuse_unknown()
    try:
        layers = [_trimmed(given), _variables(), _named_files()]
        file = _read_toml(settings_file(_data_dir(*layers)))
        settings = ServerSettings.read(_of_most_weight(*layers, _trimmed(file)))
    except Impossible as exc:
        raise SettingsError(_explain(exc)) from exc
    except PermissionError as exc:
        denied = Path(exc.filename)
        raise InvalidValue(f"{denied} cannot be read: {explained(exc, denied.parent)}") from exc
    except (ValueError, OSError) as exc:
        raise SettingsError(f"{FILE_NAME} in the data dir cannot be read: {why_not(exc)}") from exc
    return settings, Sources(given, file)


def settings_file(data_dir: Path) -> Path:
    """Where settings may be kept beside the data."""
    return data_dir / FILE_NAME


def save(data_dir: Path, name: str, value: str) -> None:
    """Write `settings.toml` with one setting, surviving a crash; another one there is an error."""
    path = settings_file(data_dir)
    if not size_of(path):  # an empty one says nothing
        write_whole(path, f"{name} = {json.dumps(value)}\n".encode())
    elif _read_toml(path).get(name) != value:
        raise SettingsError(f"{path} exists already: set {name} in it yourself")


def _named_files() -> dict[str, Any]:
    """Values in files that `RELAY_SERVER_…_FILE` names, such as Docker's secrets."""
    found, given = dict[str, Any](), _set_variables()
    for name in ServerSettings.declared():
        variable = f"{PREFIX}{name.upper()}_FILE"
        # A setting whose own name ends so holds a path: that is not read here.
        if variable in given and not _is_setting(f"{name}_file"):
            found[name] = _content(variable, Path(os.environ[variable].strip()))
    return found


def _trimmed(values: dict[str, Any]) -> dict[str, Any]:
    """Values as they count: an empty one is none, unless the setting is empty by default."""
    return trimmed(values, _empty_by_default())


def _of_most_weight(*layers: dict[str, Any]) -> dict[str, Any]:
    """Each value of the first layer that has one."""
    return functools.reduce(lambda given, layer: layer | given, layers)


def _variables() -> dict[str, Any]:
    values, given = _trimmed(of_environment(ServerSettings, PREFIX, os.environ)), _set_variables()
    return {name: v for name, v in values.items() if name != "port" or _PORT in given}


def _set_variables() -> frozenset[str]:
    """The names of all variables that count."""
    empty = {PREFIX + name.upper() for name in _empty_by_default()}
    given = frozenset(n for n, value in os.environ.items() if value.strip() or n in empty)
    return given - {_PORT} if os.environ.get(_PORT, "").startswith("tcp://") else given


@functools.cache
def _empty_by_default() -> frozenset[str]:
    known = ServerSettings.declared().items()
    return frozenset(name for name, one in known if one.default in ("", ()))


def _is_setting(name: str) -> bool:
    return name in ServerSettings.declared()


def _refuse_unknown() -> None:
    given = _set_variables()
    for variable in os.environ:
        if _OF_A_SERVICE.fullmatch(variable):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if not variable.startswith(PREFIX) or _is_setting(name):
            continue
        base = name.removesuffix("_file")
        if base == name or not _is_setting(base):
            raise SettingsError(f"{variable} is not a setting")
        if {variable, PREFIX + base.upper()} <= given:
            raise SettingsError(f"{variable} and {PREFIX}{base.upper()} are both given")


def _data_dir(*sources: dict[str, Any]) -> Path:
    given = (source["data_dir"] for source in sources if "data_dir" in source)
    return absolute(Path(next(given, None) or default_data_dir()))


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path))
    except (FileNotFoundError, NotADirectoryError):
        return {}


def _content(variable: str, path: Path) -> str:
    try:
        content = read_text(path).strip()
    except (OSError, ValueError) as exc:
        raise SettingsError(
            f"{variable} names {path}, which cannot be read: {why_not(exc)}"
        ) from exc
    if not content:
        raise SettingsError(f"{variable} names {path}, which is empty")
    return content


def _explain(error: Impossible) -> str:
    """Name each setting that is wrong; never its value, which may be a secret."""
    return "; ".join(
        f"{PREFIX}{name.upper()}: {reason}" if name else reason for name, reason in error.problems
    )
