"""The ways a webhook can take to the target: straight, through `ssh -R`, viaduct, or Relay."""

import base64
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import BenchError
from bench.processes import (
    Process,
    clean_environment,
    free_port,
    http_get,
    listens,
    running,
    wait_until,
)
from bench.trees import in_tree, relay_command
from tests.support.postgres import Cluster, programs

UNWATCHED = """
from unittest import mock
with mock.patch("relay_server.drift.MAX_KINDS", 0):
    with mock.patch("relay_server.chatwoot.messages.MAX_BODY_BYTES", -1):
        from relay_server.__main__ import main
        main()
"""
PRIVILEGE_SEPARATION = Path("/run/sshd")  # sshd started by root wants this empty folder


@dataclass
class Way:
    """Where to post, and the processes that a webhook passes between sender and target."""

    url: str
    processes: dict[str, Process] = field(default_factory=dict)


@contextmanager
def direct(folder: Path, target_port: int) -> Iterator[Way]:
    """No tunnel at all: what generator and target can do."""
    del folder
    yield Way(f"http://127.0.0.1:{target_port}/webhook")


@contextmanager
def ssh(folder: Path, target_port: int) -> Iterator[Way]:
    """A private sshd on a high port, and one `ssh -R` as this user with a key of its own.

    It runs a command instead of `-N`: only with a session does sshd set TCP_NODELAY, and without
    that each new connection waits 40 ms for a delayed acknowledgement, which would flatter Relay.
    """
    sshd, port, entrance = ssh_server_command(), free_port(), free_port()
    log, tunnel_log = folder / "sshd.log", folder / "ssh.log"
    config = _write_ssh_files(folder, port)
    with ExitStack() as stack:
        server = stack.enter_context(running([sshd, "-D", "-e", "-f", config], log))
        wait_until(lambda: listens(port), "sshd", server, log)
        command = _ssh_command(folder, port, f"127.0.0.1:{entrance}:127.0.0.1:{target_port}")
        tunnel = stack.enter_context(running(command, tunnel_log, stdin=subprocess.PIPE))
        wait_until(lambda: listens(entrance), "ssh -R", tunnel, tunnel_log)
        yield Way(f"http://127.0.0.1:{entrance}/webhook", {"sshd": server, "ssh": tunnel})


def ssh_server_command() -> str:
    """The path of sshd, which must be absolute.

    Raises:
        BenchError: OpenSSH's server or client is missing.
    """
    found = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found and shutil.which("ssh") and shutil.which("ssh-keygen"):
        return str(Path(found).resolve())
    raise BenchError(
        "OpenSSH's server (sshd) or client (ssh) is missing, so there is nothing to compare with.\n"
        "Install both (Debian: apt-get install openssh-server openssh-client; it need not run as\n"
        "a service), or leave ssh out: python -m bench.run --ways direct,relay"
    )


def _write_ssh_files(folder: Path, port: int) -> Path:
    """Keys and configuration of the private sshd; the path of its configuration."""
    for name in ("host_key", "user_key"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench"]
        subprocess.run([*command, "-f", folder / name], check=True)
    host = (folder / "host_key.pub").read_text()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host}")
    if os.getuid() == 0:
        PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
    config = folder / "sshd_config"
    config.write_text(
        f"Port {port}\n"
        "ListenAddress 127.0.0.1\n"
        f"HostKey {folder / 'host_key'}\n"
        f"AuthorizedKeysFile {folder / 'user_key.pub'}\n"
        "PidFile none\n"
        "StrictModes no\n"
        "UsePAM no\n"
        "PasswordAuthentication no\n"
        "PermitRootLogin prohibit-password\n"
        "AllowTcpForwarding remote\n"
        "UseDNS no\n"
    )
    return config


def _ssh_command(folder: Path, port: int, forward: str) -> list[str | Path]:
    options = {
        "IdentityFile": folder / "user_key",
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": folder / "known_hosts",
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        "ExitOnForwardFailure": "yes",
    }
    flags = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    user = pwd.getpwuid(os.getuid()).pw_name
    session = [f"{user}@127.0.0.1", "cat"]  # lives as long as its standard input
    return ["ssh", "-F", "none", "-T", *flags, "-p", str(port), "-R", forward, *session]


@contextmanager
def viaduct(folder: Path, target_port: int) -> Iterator[Way]:
    """The other tunnel in Python: it passes bytes over connections that it keeps in reserve."""
    entrance, port = free_port(), free_port()
    log, client_log = folder / "viaductd.log", folder / "viaduct.log"
    server_command = [viaduct_command("viaductd"), "--public-port", str(entrance)]
    home = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_STATE_HOME": str(folder)}
    client_command = [viaduct_command("viaduct"), "http", str(target_port), "--no-tls"]
    client_command += ["--server", f"127.0.0.1:{port}", "--name", "bench"]
    with ExitStack() as stack:
        server = stack.enter_context(
            running([*server_command, "--tunnel-port", str(port)], log, home)
        )
        wait_until(lambda: listens(port), "viaductd", server, log)
        client = stack.enter_context(running(client_command, client_log, home))
        wait_until(lambda: b"bench.localhost" in client_log.read_bytes(), "viaduct", client, log)
        url = f"http://bench.localhost:{entrance}/webhook"
        yield Way(url, {"viaductd": server, "viaduct": client})


def viaduct_command(name: str) -> str:
    """The path of one of viaduct's commands.

    Raises:
        BenchError: It is not installed.
    """
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        raise BenchError(
            f"{name} is not installed here: make bench does it (requirements/bench.txt); or leave\n"
            "it out: python -m bench.run --ways direct,ssh,relay"
        )
    return found


@dataclass
class RelayWay(Way):
    """Relay's server and client; the client can be away for a while."""

    folder: Path = Path()
    client_environment: Mapping[str, str] = field(default_factory=dict)
    target_port: int = 0
    port: int = 0
    subscribe_token: str = ""
    _client: ExitStack = field(default_factory=ExitStack)

    def start_client(self) -> None:
        """Connect the client; returns once it says that it is ready."""
        log = self.folder / "client.log"
        command = [relay_command("relay-client"), "connect"]
        command += ["--to", f"127.0.0.1:{self.target_port}", "--output", "json"]
        client = self._client.enter_context(running(command, log, self.client_environment))
        self.processes["client"] = client
        wait_until(lambda: _says_ready(log), "relay-client connect", client, log)

    def stop_client(self) -> None:
        self._client.close()
        self.processes.pop("client", None)


@contextmanager
def relay(
    folder: Path, target_port: int, tree: Path | None = None, **settings: str
) -> Iterator[RelayWay]:
    """`relay-server serve` on a new data dir, and `relay-client connect` to the target."""
    with relay_server(folder, target_port, tree, **settings) as way:
        way.start_client()
        yield way


@contextmanager
def unindexed(folder: Path, target_port: int) -> Iterator[RelayWay]:
    """Relay without its search index, which is what sealing bodies is to be compared with."""
    with relay(folder, target_port, RELAY_SERVER_SEARCH="off") as way:
        yield way


@contextmanager
def sealed(folder: Path, target_port: int) -> Iterator[RelayWay]:
    """Relay that seals stored bodies, and so has no search index."""
    key = base64.b64encode(os.urandom(32)).decode()
    with relay(folder, target_port, RELAY_SERVER_BODY_KEYS=key) as way:
        yield way


@contextmanager
def postgres(folder: Path, target_port: int) -> Iterator[RelayWay]:
    """Relay with its store in a PostgreSQL of its own, on the same disk."""
    with _cluster(folder) as settings, relay(folder, target_port, None, **settings) as way:
        yield way


@contextmanager
def postgres_standby(folder: Path, target_port: int) -> Iterator[RelayWay]:
    """The same with a standby on the same disk, for which each commit waits."""
    with (
        _cluster(folder, standby=True) as settings,
        relay(folder, target_port, None, **settings) as way,
    ):
        yield way


@contextmanager
def postgres_pair(folder: Path, target_port: int) -> Iterator[RelayWay]:
    """Two servers on such a pair: webhooks come to one, and the client is at the other."""
    with ExitStack() as stack:
        settings = stack.enter_context(_cluster(folder, standby=True))
        way = stack.enter_context(relay_server(folder, target_port, None, **settings))
        other = _settings(folder, "other", **settings)
        way.processes["other"] = stack.enter_context(_serving(folder / "other.log", other))
        there = {"RELAY_CLIENT_URL": other["RELAY_SERVER_PUBLIC_URL"]}
        way.client_environment = {**way.client_environment, **there}
        stack.callback(way.stop_client)
        way.start_client()
        yield way


@contextmanager
def _cluster(folder: Path, *, standby: bool = False) -> Iterator[dict[str, str]]:
    """A PostgreSQL on the disk of a folder, and what a server is told of it.

    Raises:
        BenchError: There is no PostgreSQL here.
    """
    if programs() is None:
        raise BenchError("PostgreSQL is missing (Debian: apt-get install postgresql)")
    key = base64.urlsafe_b64encode(os.urandom(32)).decode()
    with ExitStack() as stack:
        # Beside the bench's own, where it may look: it runs as another user.
        disk = folder.parents[2]
        cluster, second = (
            Cluster(folder=Path(tempfile.mkdtemp(prefix="relay-postgres-", dir=disk))) for _ in "12"
        )
        stack.callback(second.__exit__)
        stack.enter_context(cluster)
        if standby:
            second.follow(cluster)
        yield {"RELAY_SERVER_STORE_URL": cluster.url(), "RELAY_SERVER_SECRET_KEY": key}


@contextmanager
def mortal(folder: Path, target_port: int) -> Iterator[RelayWay]:
    """Relay whose events all have a time to live."""
    with relay(folder, target_port) as way:
        command = [relay_command("relay-server"), "channel", "set", "chatwoot", "--ttl", "*=30m"]
        environment = {"RELAY_SERVER_DATA_DIR": str(folder / "data")}
        subprocess.run(
            command, env=clean_environment() | environment, capture_output=True, check=True
        )
        yield way


@contextmanager
def unwatched(folder: Path, target_port: int) -> Iterator[RelayWay]:
    """Relay that looks neither for drift nor at messages, which it always does."""
    with relay(folder, target_port, BENCH_UNWATCHED="1") as way:
        yield way


@contextmanager
def relay_server(
    folder: Path, target_port: int, tree: Path | None = None, **others: str
) -> Iterator[RelayWay]:
    """`relay-server serve` on a new data dir, without a client as yet.

    Args:
        folder: For data and logs.
        target_port: Where a client is to replay to.
        tree: The checkout whose code runs; None means whatever is installed.
        others: Settings by their variables.
    """
    code = in_tree(tree) if tree else {}
    settings = _settings(folder, "data", **code, **others)
    base, port = settings["RELAY_SERVER_PUBLIC_URL"], int(settings["RELAY_SERVER_PORT"])
    made = _init_relay(settings)
    with _serving(folder / "server.log", settings) as server:
        client = {"RELAY_CLIENT_URL": base, "RELAY_CLIENT_TOKEN": made["subscribe_token"]}
        client |= {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config"), **code}
        client |= {"XDG_STATE_HOME": str(folder / "state")}
        way = RelayWay(
            made["webhook_url"],
            {"server": server},
            folder,
            client,
            target_port,
            port,
            made["subscribe_token"],
        )
        try:
            yield way
        finally:
            way.stop_client()


def _settings(folder: Path, data_dir: str, **others: str) -> dict[str, str]:
    """What a server is told, on ports of its own."""
    port = free_port()
    return {
        "RELAY_SERVER_DATA_DIR": str(folder / data_dir),
        "RELAY_SERVER_HOST": "127.0.0.1",
        "RELAY_SERVER_PORT": str(port),
        "RELAY_SERVER_OPS_PORT": str(free_port()),
        "RELAY_SERVER_PUBLIC_URL": f"http://127.0.0.1:{port}",
        **others,
    }


@contextmanager
def _serving(log: Path, settings: dict[str, str]) -> Iterator[Process]:
    """A server for as long as the block, from when it is ready."""
    serve = [relay_command("relay-server"), "serve"]
    if settings.pop("BENCH_UNWATCHED", None):
        serve = [sys.executable, "-c", UNWATCHED, "serve"]
    health = f"http://127.0.0.1:{settings['RELAY_SERVER_OPS_PORT']}/health/ready"
    with running(serve, log, settings) as server:
        wait_until(lambda: http_get(health) is not None, "relay-server serve", server, log)
        yield server


def _init_relay(settings: Mapping[str, str]) -> dict[str, str]:
    command = [relay_command("relay-server"), "init", "--json"]
    environment = clean_environment() | dict(settings)
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=30
    )
    if done.returncode != 0:
        raise BenchError(f"relay-server init ended with status {done.returncode}:\n{done.stderr}")
    made: dict[str, str] = json.loads(done.stdout)
    return made


def _says_ready(log: Path) -> bool:
    with log.open("rb") as lines:
        return any(b'"ready"' in line for line in lines)
