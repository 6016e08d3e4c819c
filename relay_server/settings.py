"""The server's settings: the only module that reads the environment."""

from __future__ import annotations

import functools
import json
import os
import re
import tomllib
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from relay_http.addresses import Network, plain_address
from relay_http.files import read_text, why_not
from relay_protocol.limits import MAX_BODY_BYTES
from relay_protocol.text import plainly, trimmed
from relay_server.channels import NAME_PATTERN
from relay_server.delivery.url.allow import Allowlist
from relay_server.errors import InvalidValue
from relay_server.files import PREFIX, absolute, default_data_dir, explained, size_of, write_whole
from relay_server.store.rules import POSTGRES, SQLITE

FILE_NAME = "settings.toml"
_PORT = f"{PREFIX}PORT"
# Kubernetes tells containers of a Service named relay-server so, and by RELAY_SERVER_PORT=tcp://….
_OF_A_SERVICE = re.compile(rf"{PREFIX}(?:SERVICE_(?:HOST|PORT)|PORT_[0-9]+_(?:TCP|UDP))(?:_\w+)?")
BASE_PATH = re.compile(r"(?:/(?!\.)[\w.~-]+)*", re.ASCII)  # of a public URL below which all stands
EVERYWHERE = "::"  # to listen on: every address of this machine, of IPv4 as well


class SettingsError(InvalidValue, code="invalid_setting"):
    """A setting is unknown or impossible."""

    hint = "docs/reference/settings.md lists every setting and what it takes."


class ServerSettings(BaseSettings):
    """All of the server's configuration. Any of it can be given as `…_FILE`: a file's content."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    data_dir: Path = Field(
        default_factory=default_data_dir,
        description="Folder of the database, its lock, the sealing key and the control socket.",
    )
    host: str = Field(
        "127.0.0.1",
        description="Address to listen on. Behind a proxy on another host 0.0.0.0, for all of"
        " IPv4, or :: or *, for all of IPv4 and IPv6.",
    )
    port: int = Field(8802, ge=0, le=65_535, description="Port to listen on.")
    ops_host: str = Field(
        "127.0.0.1", description="Address of the ops port: readiness and metrics, no token asked."
    )
    ops_port: int = Field(8803, ge=0, le=65_535, description="The ops port.")
    public_url: str = Field(
        "",
        description="Where senders and clients reach this server, e.g. https://relay.example.com;"
        " with a path, e.g. https://example.com/relay, all that it has stands below that.",
    )
    dashboard_url: str = Field(
        "",
        description="Where people reach the dashboard, where that is a host name or a port of its"
        " own, e.g. https://desk.example.com; under no other name there is one then.",
    )
    dashboard_port: int = Field(
        0,
        ge=0,
        le=65_535,
        description="Port that shows the dashboard and nothing else; then no other one shows it.",
    )
    default_channel: str = Field(
        "chatwoot", pattern=NAME_PATTERN, description="The channel behind /webhook."
    )
    store_url: str = Field(
        "sqlite",
        description="Where events are kept: sqlite, a file in the data dir; or"
        " postgresql://user@host/database, which several replicas may share.",
    )
    store_password: SecretStr | None = Field(
        None, description="The database's, which stands in no URL: those are seen."
    )
    store_allow_async: Literal["on", "off"] = Field(
        "off",
        description="Whether a database of several hosts may do without a synchronous standby:"
        " what was answered 2xx may be lost then when one of them takes over.",
    )
    spool_max_bytes: int = Field(
        268_435_456,
        ge=0,
        description="What webhooks may take on this machine's disk while the database of the store"
        " is away, 256 MiB; above it they are refused. 0 for none: then they are refused at once.",
    )
    replica_url: str = Field(
        "",
        description="Where other servers of the same PostgreSQL reach this one, such as"
        " http://10.0.0.7:8802: clients that share a subscription are handed on to the one that"
        " reads it. Without it each server's clients share among themselves.",
    )
    search: Literal["on", "off"] = Field(
        "on",
        description="Whether events are indexed, in search.db in the data dir; without it filters"
        " look at events one by one.",
    )
    max_store_bytes: int = Field(
        10_737_418_240,
        ge=0,
        description="Largest size of the database file, 10 GiB; at it webhooks are refused."
        " 0 for what the disk has. In a PostgreSQL it is what all events take, counted.",
    )
    max_body_bytes: int = Field(
        1_048_576,  # Chatwoot's largest body seen is 6 KB
        gt=0,
        le=MAX_BODY_BYTES,
        description="Largest webhook body accepted, in bytes; above it the answer is 413.",
    )
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = Field(
        (),
        description="Networks whose X-Forwarded-* fields count, with commas between them.",
    )
    forward_allow: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Hosts, addresses and networks that forwards may reach, with commas between.",
    )
    max_connections: int = Field(
        8_192,
        ge=1,
        le=1_000_000,
        description="Connections to the public port at once; fewer where the system allows fewer.",
    )
    max_connections_per_address: int = Field(
        1_024,  # a whole Chatwoot sits behind one
        ge=1,
        le=1_000_000,
        description="Connections from one address (IPv6: one /64); trusted proxies may have all.",
    )
    tls_cert_file: Path | None = Field(
        None, description="Certificate chain (PEM), where no proxy ends TLS; read again if renewed."
    )
    tls_key_file: Path | None = Field(None, description="Its private key (PEM).")
    secret_key: SecretStr | None = Field(
        None,
        description="Seals HMAC secrets and forwards' header values in the database; without it,"
        " secret.key in the data dir.",
    )
    otlp_url: str = Field(
        "",
        description="Collector that traces are sent to (OTLP over HTTP), e.g."
        " http://collector:4318; takes relay-tunnel[otel].",
    )
    trace_ratio: float = Field(
        1.0, ge=0, le=1, description="Share of traces that are kept where the sender does not say."
    )
    body_keys: SecretStr | None = Field(
        None,
        description="Keys that seal stored bodies, 32 bytes in base64 each, with white space"
        " between: the first seals, all open. Without search, whose index would show bodies.",
    )
    seal_bodies: Literal["on", "off"] = Field(
        "on", description="Whether bodies are sealed where keys are given; off opens them again."
    )
    canary_s: int = Field(
        0,
        ge=0,
        le=86_400,
        description="Seconds between two webhooks that the server sends itself, to see them"
        " delivered; 0 for none.",
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="Log lines for people or for machines; auto: console on a terminal."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Log lines below this are left out."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, environment, files that it names, `settings.toml` in the data dir."""
        given = [_trimmed(init_settings()), _variables(), _named_files()]
        given.append(_trimmed(_read_toml(settings_file(_data_dir(*given)))))
        return tuple(InitSettingsSource(settings_cls, values) for values in given)

    @field_validator(
        "search", "store_allow_async", "seal_bodies", "log_format", "log_level", mode="before"
    )
    @classmethod
    def _any_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("host", "ops_host")
    @classmethod
    def _check_host(cls, value: str) -> str:
        host = value[1:-1] if value.startswith("[") and value.endswith("]") else value
        if host == "*":
            return EVERYWHERE
        if plain_address(host) is None and not re.fullmatch(r"[\w.-]+", host):
            raise ValueError("must be an address or a name to listen on, and the port goes apart")
        return host

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(_network(part.strip()) for part in value.split(",") if part.strip())

    @field_validator("forward_allow", mode="before")
    @classmethod
    def _check_allowed(cls, value: object) -> object:
        entries = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
        if not isinstance(entries, (list, tuple)) or not all(isinstance(e, str) for e in entries):
            raise ValueError("must be hosts, addresses and networks")
        allowed = tuple(entry for entry in entries if entry)
        try:
            Allowlist.of(allowed)
        except InvalidValue as exc:
            raise ValueError(str(exc)) from exc
        return allowed

    @field_validator("public_url", "replica_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        if not value:
            return value
        url = urlsplit(value)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("must begin with http:// or https:// and name a host")
        path = url.path.rstrip("/")
        if not BASE_PATH.fullmatch(path) or url.query or url.fragment or url.username:
            raise ValueError(
                "must be scheme, host, port and perhaps a plain path, such as"
                " https://relay.example.com or https://example.com/relay"
            )
        return f"{url.scheme}://{url.netloc}{path}"

    @field_validator("dashboard_url")
    @classmethod
    def _check_dashboard(cls, value: str) -> str:
        if urlsplit(cls._check_url(value)).path:
            raise ValueError("must be scheme, host and port alone: a path shares its host")
        return value.rstrip("/")

    @field_validator("otlp_url")
    @classmethod
    def _check_collector(cls, value: str) -> str:
        url = urlsplit(value)
        if value and (url.scheme not in ("http", "https") or not url.hostname):
            raise ValueError("must begin with http:// or https:// and name a host")
        return value

    @field_validator("store_url")
    @classmethod
    def _check_store(cls, value: str) -> str:
        url = urlsplit(value)
        if value.lower() == SQLITE:
            return SQLITE
        if url.scheme != POSTGRES or not url.hostname or not url.path.strip("/"):
            raise ValueError(f"must be {SQLITE}, or {POSTGRES}://user@host/database")
        if url.password is not None:
            raise ValueError(
                f"must hold no password, which logs and lists of processes would show: put it"
                f" into a file, and name that in {PREFIX}STORE_PASSWORD_FILE"
            )
        return value

    @model_validator(mode="after")
    def _check_shared(self) -> ServerSettings:
        if self.store_url != SQLITE and self.secret_key is None:
            raise ValueError(
                f"{PREFIX}STORE_URL of a database takes {PREFIX}SECRET_KEY (or _FILE): each replica"
                " opens what another one sealed"
            )
        return self

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return absolute(value)

    @model_validator(mode="after")
    def _check_tls(self) -> ServerSettings:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError(f"{PREFIX}TLS_CERT_FILE and {PREFIX}TLS_KEY_FILE go together")
        return self

    @property
    def store_secret(self) -> str | None:
        """The database's password, where it has one."""
        return self.store_password.get_secret_value() if self.store_password else None

    @property
    def seals_bodies(self) -> bool:
        """Whether new bodies are sealed."""
        return self.body_keys is not None and self.seal_bodies == "on"

    @model_validator(mode="after")
    def _check_apart(self) -> ServerSettings:
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
        return self

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
        settings = ServerSettings(**given)
        file = _read_toml(settings_file(settings.data_dir))
    except ValidationError as exc:
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
    for name in ServerSettings.model_fields:
        variable = f"{PREFIX}{name.upper()}_FILE"
        # A setting whose own name ends so holds a path: that is not read here.
        if variable in given and not _is_setting(f"{name}_file"):
            found[name] = _content(variable, Path(os.environ[variable].strip()))
    return found


def _trimmed(values: dict[str, Any]) -> dict[str, Any]:
    """Values as they count: an empty one is none, unless the setting is empty by default."""
    return trimmed(values, _empty_by_default())


def _network(text: str) -> Network:
    try:
        meant = ip_network(text, strict=False)
    except ValueError:
        raise ValueError("must be addresses and networks, such as 10.0.0.0/8") from None
    if ip_address(text.partition("/")[0]) != meant.network_address:
        raise ValueError(f"of a network the first address is given: {meant}")
    return meant


def _variables() -> dict[str, Any]:
    values, given = _trimmed(EnvSettingsSource(ServerSettings)()), _set_variables()
    return {name: v for name, v in values.items() if name != "port" or _PORT in given}


def _set_variables() -> frozenset[str]:
    """The names of all variables that count."""
    empty = {PREFIX + name.upper() for name in _empty_by_default()}
    given = frozenset(n for n, value in os.environ.items() if value.strip() or n in empty)
    return given - {_PORT} if os.environ.get(_PORT, "").startswith("tcp://") else given


@functools.cache
def _empty_by_default() -> frozenset[str]:
    fields = ServerSettings.model_fields.items()
    return frozenset(name for name, field in fields if field.default in ("", ()))


def _is_setting(name: str) -> bool:
    return name in ServerSettings.model_fields


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


def _explain(error: ValidationError) -> str:
    """Name each setting that is wrong; never its value, which may be a secret."""
    lines = []
    for item in error.errors(include_input=False, include_url=False):
        name = str(item["loc"][0]) if item["loc"] else ""
        reason = plainly(item["msg"])
        lines.append(f"{PREFIX}{name.upper()}: {reason}" if name else reason)
    return "; ".join(lines)
