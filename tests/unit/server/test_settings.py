"""Where settings come from, which of them wins, and what is said when one is impossible."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest

from relay_server.files import PREFIX, NoHome, named_data_dir
from relay_server.settings import (
    ServerSettings,
    SettingsError,
    load,
    save,
    settings_file,
)

SECRET = "FIXTUREsecret0123456789"
Environment = Callable[..., None]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Environment:
    """Sets settings in the environment; the data dir is the test's own."""

    def given(**values: object) -> None:
        for name, value in values.items():
            monkeypatch.setenv(PREFIX + name.upper(), str(value))

    given(data_dir=tmp_path)
    return given


def file(folder: Path, name: str, content: str) -> Path:
    """Write a file and return its path."""
    path = folder / name
    path.write_text(content, "utf-8")
    return path


def refused(**flags: object) -> str:
    """The message that stops the start."""
    with pytest.raises(SettingsError) as caught:
        load(**flags)
    assert caught.value.code == "invalid_setting"
    return str(caught.value)


def test_defaults(environment: Environment, tmp_path: Path) -> None:
    settings, sources = load()
    assert (settings.host, settings.port) == ("127.0.0.1", 8802)
    assert (settings.ops_host, settings.ops_port) == ("127.0.0.1", 8803)
    assert settings.default_channel == "chatwoot"
    assert settings.max_body_bytes == 1_048_576
    assert settings.trusted_proxies == ()
    assert settings.data_dir == tmp_path
    assert sources.of("port") == "default"
    assert sources.of("data_dir") == "RELAY_SERVER_DATA_DIR"


def test_flags_win_over_environment_over_named_files_over_the_file(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def port() -> tuple[int, str]:
        settings, sources = load()
        return settings.port, sources.of("port")

    file(tmp_path, "settings.toml", "port = 1\nhost = '::'")
    assert port() == (1, "settings.toml")

    environment(port_file=file(tmp_path, "port", "2\n"))
    assert port() == (2, "RELAY_SERVER_PORT_FILE")

    monkeypatch.delenv("RELAY_SERVER_PORT_FILE")
    environment(port=3)
    assert port() == (3, "RELAY_SERVER_PORT")

    settings, sources = load(port=4, host=None)
    assert (settings.port, sources.of("port")) == (4, "flag")
    assert (settings.host, sources.of("host")) == ("::", "settings.toml")


def test_a_flag_may_name_the_data_dir(environment: Environment, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    file(other, "settings.toml", "port = 5")
    settings, sources = load(data_dir=other)
    assert (settings.port, settings.data_dir) == (5, other)
    assert sources.of("data_dir") == "flag"


def test_a_file_may_name_the_data_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file(tmp_path, "settings.toml", "port = 5")
    monkeypatch.setenv("RELAY_SERVER_DATA_DIR_FILE", str(file(tmp_path, "where", f"{tmp_path}\n")))
    assert load()[0].port == 5


def test_a_setting_whose_name_ends_in_file(environment: Environment, tmp_path: Path) -> None:
    named = file(tmp_path, "where", "/etc/cert.pem")
    environment(tls_cert_file="/etc/c.pem", tls_key_file_file=named)
    settings, sources = load()
    assert (settings.tls_cert_file, settings.tls_key_file) == (
        Path("/etc/c.pem"),
        Path("/etc/cert.pem"),
    )
    assert sources.of("tls_key_file") == "RELAY_SERVER_TLS_KEY_FILE_FILE"


@pytest.mark.parametrize("name", ["prot", "port_files", "file", "token", "_port", ""])
def test_unknown_names_stop_the_start(environment: Environment, name: str) -> None:
    environment(**{name: "1"})
    assert f"RELAY_SERVER_{name.upper()} is not a setting" in refused()


def test_unknown_names_in_the_file_stop_the_start(environment: Environment, tmp_path: Path) -> None:
    file(tmp_path, "settings.toml", "prot = 1")
    assert "RELAY_SERVER_PROT" in refused()


def test_a_value_and_its_file_are_not_both_taken(environment: Environment) -> None:
    environment(port=1, port_file="/nowhere")
    assert "RELAY_SERVER_PORT_FILE and RELAY_SERVER_PORT are both given" in refused()


def test_a_named_file_that_cannot_be_read(environment: Environment, tmp_path: Path) -> None:
    environment(secret_key_file=tmp_path / "nowhere")
    assert f"RELAY_SERVER_SECRET_KEY_FILE names {tmp_path / 'nowhere'}" in refused()

    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    environment(secret_key_file=binary)
    assert "RELAY_SERVER_SECRET_KEY_FILE" in refused()


@pytest.mark.parametrize("content", [b"port = ", b"caf\xe9 = 1", b"port = 'x", b"[", b"\x00"])
def test_a_settings_file_that_is_none(
    environment: Environment, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "settings.toml").write_bytes(content)
    assert "settings.toml in the data dir cannot be read" in refused()


def test_a_settings_file_that_is_a_folder(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").mkdir()
    message = refused()
    assert "settings.toml" in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", SECRET),
        ("port", "65536"),
        ("port", "-1"),
        ("max_body_bytes", "0"),
        ("max_body_bytes", "26214401"),
        ("default_channel", f"/{SECRET}"),
        ("default_channel", "chat\nwoot"),
        ("host", "0.0.0.0:8802"),
        ("host", "http://0.0.0.0"),
        ("ops_host", "[::1]:8803"),
        ("ops_host", "a b"),
        ("public_url", SECRET),
        ("public_url", f"ftp://{SECRET}"),
        ("public_url", f"https://relay:{SECRET}@relay.example.com"),
        ("public_url", f"https://relay.example.com/../{SECRET}"),
        ("public_url", f"https://relay.example.com/%2f{SECRET}"),
        ("public_url", f"https://relay.example.com?token={SECRET}"),
        ("public_url", f"https://[{SECRET}"),
        ("dashboard_url", f"https://desk.example.com/{SECRET}"),
        ("dashboard_url", SECRET),
        ("dashboard_port", "65536"),
        ("trusted_proxies", "10.0.0.1/8"),
        ("trusted_proxies", "traefik"),
        ("forward_allow", "bot, 10.0.0.1/8"),
        ("forward_allow", "http://bot:8001"),
        ("forward_allow", "2130706433"),
        ("log_format", SECRET),
        ("log_level", "loud"),
        ("store_url", f"postgres://{SECRET}"),
        ("store_url", f"postgresql://ana:{SECRET}@db/relay"),
        ("store_url", f"postgresql://{SECRET}"),
        ("tls_cert_file", f"/{SECRET}"),
    ],
)
def test_an_impossible_value_is_named_and_never_quoted(
    environment: Environment, name: str, value: str
) -> None:
    environment(**{name: value})
    message = refused()
    assert name in message.lower()
    assert SECRET not in message


@pytest.mark.parametrize("empty", ["", " ", "\r\n"])
def test_what_is_empty_is_not_set(environment: Environment, tmp_path: Path, empty: str) -> None:
    """As a line `NAME=` in a file for the environment leaves it, or one of Windows."""
    names = [name for name in ServerSettings.declared() if name != "data_dir"]
    environment(**dict.fromkeys(names, empty))
    environment(secret_key_file=empty, host_file=empty)
    file(tmp_path, "settings.toml", f"ops_host = {json.dumps(empty)}\nlog_level = 'debug'")

    settings, sources = load()

    assert settings == ServerSettings(data_dir=tmp_path, log_level="debug")
    assert (settings.host, settings.ops_host) == ("127.0.0.1", "127.0.0.1")
    assert (sources.of("host"), sources.of("log_level")) == ("default", "settings.toml")


def test_without_a_data_dir_the_users_own_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RELAY_SERVER_DATA_DIR", "")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert load()[0].data_dir == tmp_path / "relay-server"
    assert named_data_dir() is None


def test_what_kubernetes_says_of_a_service_of_this_name_is_no_setting(
    environment: Environment,
) -> None:
    environment(
        port="tcp://10.0.0.1:8802",
        service_host="10.0.0.1",
        service_port="8802",
        service_port_http="8802",
        port_8802_tcp="tcp://10.0.0.1:8802",
        port_8802_tcp_addr="10.0.0.1",
    )
    settings, sources = load()
    assert (settings.port, sources.of("port")) == (8802, "default")


def test_blanks_around_a_value_are_no_part_of_it(environment: Environment, tmp_path: Path) -> None:
    environment(data_dir=f" {tmp_path}\r\n", port=" 4\r", host="10.0.0.1 ", log_format="json ")
    settings, _ = load()
    assert (settings.data_dir, settings.port) == (tmp_path, 4)
    assert (settings.host, settings.log_format) == ("10.0.0.1", "json")


def test_words_are_taken_in_any_case(environment: Environment) -> None:
    known = ServerSettings.declared().items()
    words = {n: get_args(one.kind) for n, one in known if get_origin(one.kind) is Literal}
    assert "log_level" in words
    for case in (str.upper, str.title):
        environment(**{name: case(choices[-1]) for name, choices in words.items()})
        settings = load()[0]
        assert {name: getattr(settings, name) for name in words} == {
            name: choices[-1] for name, choices in words.items()
        }


@pytest.mark.parametrize(
    ("written", "host", "url"),
    [
        ("::", "::", "http://localhost:8802"),
        ("*", "::", "http://localhost:8802"),
        ("[::]", "::", "http://localhost:8802"),
        ("0.0.0.0", "0.0.0.0", "http://localhost:8802"),
        ("[fd00::1]", "fd00::1", "http://[fd00::1]:8802"),
        ("fe80::1%eth0", "fe80::1%eth0", "http://[fe80::1%eth0]:8802"),
        ("relay_1.internal", "relay_1.internal", "http://relay_1.internal:8802"),
    ],
)
def test_an_address_to_listen_on(
    environment: Environment, written: str, host: str, url: str
) -> None:
    environment(host=written, ops_host=written)
    settings, _ = load()
    assert (settings.host, settings.ops_host, settings.url) == (host, host, url)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_files_with_a_mark(environment: Environment, tmp_path: Path, newline: str) -> None:
    """As editors of Windows leave them; what they call Unicode is named."""
    secret, toml = tmp_path / "key", tmp_path / "settings.toml"
    secret.write_text(f"{SECRET}{newline}", "utf-8-sig", newline="")
    toml.write_text(f"port = 5{newline}host = '::1'{newline}", "utf-8-sig", newline="")
    environment(secret_key_file=secret)
    settings, _ = load()
    assert settings.secret_key is not None
    assert settings.secret_key.reveal() == SECRET
    assert (settings.port, settings.host) == (5, "::1")

    secret.write_text(SECRET, "utf-16")
    assert "RELAY_SERVER_SECRET_KEY_FILE" in refused()
    assert "it is UTF-16" in refused()
    secret.write_text("\n")
    assert "which is empty" in refused()


@pytest.mark.parametrize("folder", [None, "~/data", "~nobody-here/data"])
def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch, folder: str | None) -> None:
    """It is needed where a folder in it is meant, and nowhere else."""
    for name in ("HOME", "XDG_DATA_HOME", "RELAY_SERVER_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 54_321)
    with pytest.raises(NoHome, match="this user has no home"):
        load(data_dir=folder and Path(folder))


def test_a_network_that_is_none_is_named_as_it_should_be(environment: Environment) -> None:
    environment(trusted_proxies="127.0.0.1, 10.0.0.1/8")
    assert "RELAY_SERVER_TRUSTED_PROXIES: of a network the first address is given: 10.0.0.0/8" in (
        refused()
    )
    environment(trusted_proxies="traefik")
    assert "must be addresses and networks, such as 10.0.0.0/8" in refused()
    environment(trusted_proxies="fd00::1, fd00::/8, FD00:0::/16, 10.0.0.0/255.0.0.0")
    assert list(map(str, load()[0].trusted_proxies)) == [
        *("fd00::1/128", "fd00::/8", "fd00::/16", "10.0.0.0/8")
    ]


def test_all_that_is_wrong_is_said_at_once(environment: Environment) -> None:
    environment(port="x", ops_port="y")
    message = refused()
    assert "RELAY_SERVER_PORT" in message
    assert "RELAY_SERVER_OPS_PORT" in message


@pytest.mark.parametrize(
    ("name", "value", "items"),
    [
        ("trusted_proxies", "", []),
        ("trusted_proxies", " 10.0.0.0/8 ,, ::1/128,", ["10.0.0.0/8", "::1/128"]),
        ("forward_allow", "", []),
        ("forward_allow", " bot_1, 10.0.0.0/8,, ::1 ", ["bot_1", "10.0.0.0/8", "::1"]),
    ],
)
def test_a_list_is_written_with_commas(
    environment: Environment, tmp_path: Path, name: str, value: str, items: list[str]
) -> None:
    """In the environment; in the file it is one of TOML's."""
    file(tmp_path, "settings.toml", f"{name} = ['10.0.0.0/8']")
    assert list(map(str, getattr(load()[0], name))) == ["10.0.0.0/8"]
    environment(**{name: value})
    assert list(map(str, getattr(load()[0], name))) == items


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "http://localhost:8802"),
        ({"host": "0.0.0.0"}, "http://localhost:8802"),
        ({"host": "relay.internal", "port": 1}, "http://relay.internal:1"),
        ({"public_url": "https://relay.example.com/"}, "https://relay.example.com"),
        ({"public_url": "https://example.com/relay/"}, "https://example.com/relay"),
        ({"tls_cert_file": "/c", "tls_key_file": "/k"}, "https://localhost:8802"),
    ],
)
def test_the_url_that_others_are_told(
    environment: Environment, given: dict[str, object], url: str
) -> None:
    environment(**given)
    assert load()[0].url == url


def test_secrets_do_not_print(environment: Environment) -> None:
    environment(secret_key=SECRET)
    settings, _ = load()
    assert SECRET not in repr(settings) + str(settings)
    assert settings.secret_key is not None
    assert settings.secret_key.reveal() == SECRET


def test_a_relative_data_dir_is_where_the_command_ran(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(data_dir=Path("data"))[0].data_dir == tmp_path / "data"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load(data_dir=Path("~/data"))[0].data_dir == tmp_path / "data"


def test_saving_keeps_what_is_there(environment: Environment, tmp_path: Path) -> None:
    save(tmp_path, "public_url", "https://relay.example.com/ü")
    save(tmp_path, "public_url", "https://relay.example.com/ü")
    before = settings_file(tmp_path).read_bytes()

    with pytest.raises(SettingsError, match="set public_url in it yourself"):
        save(tmp_path, "public_url", "https://other.example.com")

    assert settings_file(tmp_path).read_bytes() == before


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"dashboard_url": "https://relay.example.com"}, "another host name"),
        ({"dashboard_url": "https://relay.example.com:8443"}, "a port of its own"),
        (
            {"dashboard_url": "https://relay.example.com", "dashboard_port": 8804},
            "another origin",
        ),
        ({"dashboard_port": 8804}, "RELAY_SERVER_DASHBOARD_URL: where people reach"),
        ({"dashboard_url": "https://desk.example.com", "dashboard_port": 8802}, "another than"),
    ],
)
def test_a_dashboard_that_would_share_an_origin_stops_the_start(
    environment: Environment, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        load(public_url="https://relay.example.com", **given)


@pytest.mark.parametrize(
    ("given", "dashboard"),
    [
        ({}, "http://localhost:8802"),
        ({"dashboard_port": 8804}, "http://localhost:8804"),
        ({"public_url": "https://example.com/relay"}, "https://example.com/relay"),
        ({"dashboard_url": "https://desk.example.com/"}, "https://desk.example.com"),
        (
            {
                "public_url": "https://relay.example.com",
                "dashboard_url": "https://relay.example.com:8443",
                "dashboard_port": 8804,
            },
            "https://relay.example.com:8443",
        ),
    ],
)
def test_where_the_dashboard_is(
    environment: Environment, given: dict[str, Any], dashboard: str
) -> None:
    assert load(**given)[0].dashboard == dashboard


def test_every_setting_is_described() -> None:
    undescribed = [n for n, s in ServerSettings.declared().items() if not s.meta.description]
    assert undescribed == []
