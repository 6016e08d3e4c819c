"""What Dockerfile, docker-stack.yml and the systemd unit promise to whoever runs them."""

import configparser
import json
import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from relay_server.settings import ServerSettings
from tests.support.needs import find_program
from tests.support.pushes import allowing

ROOT = Path(__file__).parents[2]
STACK_FILE = ROOT / "docker-stack.yml"
JOBS_FILE = ROOT / "docker-stack.jobs.yml"  # laid over it
REPLICAS_FILE = ROOT / "docker-stack.postgres.yml"  # laid over it
PUBLISHED_PORT = "8802"
OPS_PORT = "8803"
USER_ID = "10001"


@pytest.fixture(scope="module")
def stack() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(STACK_FILE.read_text())
    return loaded


@pytest.fixture(scope="module")
def server(stack: dict[str, Any]) -> dict[str, Any]:
    """The stack's only service."""
    assert list(stack["services"]) == ["server"]
    service: dict[str, Any] = stack["services"]["server"]
    return service


@pytest.fixture(scope="module")
def image() -> list[tuple[str, str]]:
    """(instruction, arguments) of the Dockerfile's last stage, continuation lines joined."""
    joined = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    instructions = [(name, rest.strip()) for name, _, rest in (s.partition(" ") for s in lines)]
    last = max(i for i, (name, _) in enumerate(instructions) if name == "FROM")
    return instructions[last:]


@pytest.fixture(scope="module")
def unit() -> configparser.SectionProxy:
    """The `[Service]` section of the unit in the how-to."""
    text = (ROOT / "docs/how-to/systemd.md").read_text()
    first_block = text.split("```ini\n")[1].split("```")[0]
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # systemd minds the case
    parser.read_string(first_block)
    return parser["Service"]


def only(image: list[tuple[str, str]], instruction: str) -> str:
    found = [rest for name, rest in image if name == instruction]
    assert len(found) == 1, f"{instruction} stands {len(found)} times in the last stage"
    return found[0]


def deployed_settings() -> set[str]:
    """Every server setting that a deployment file names."""
    files = [
        ROOT / "Dockerfile",
        STACK_FILE,
        JOBS_FILE,
        REPLICAS_FILE,
        *(ROOT / "docs/how-to").glob("*.md"),
    ]
    return {
        name for file in files for name in re.findall(r"\bRELAY_SERVER_[A-Z_]+", file.read_text())
    }


def docker_stack_config(*over: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """What Docker makes of the stack file; needs the command, no engine."""
    docker = find_program("docker")
    if docker is None:
        pytest.skip("there is no docker command here")
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")} | variables
    return subprocess.run(
        [docker, "stack", "config", *(f"--compose-file={file}" for file in (STACK_FILE, *over))],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )


def test_stack_runs_one_server_at_a_time(server: dict[str, Any]) -> None:
    """Two servers never share the data: not when scaled, upgraded or rolled back."""
    deploy = server["deploy"]

    assert deploy["replicas"] == 1
    assert deploy["update_config"]["order"] == "stop-first"
    assert deploy["rollback_config"]["order"] == "stop-first"


def test_stack_on_postgres_runs_two_and_stops_one_at_a_time() -> None:
    """Each with a volume of its own, for what comes while the database is away."""
    stack = yaml.safe_load(REPLICAS_FILE.read_text())
    [(name, server)] = stack["services"].items()
    deploy, environment = server["deploy"], server["environment"]

    assert name == "server"
    assert deploy["replicas"] == 2
    assert deploy["placement"]["max_replicas_per_node"] == 1
    assert (deploy["update_config"]["order"], deploy["update_config"]["parallelism"]) == (
        "stop-first",
        1,
    )
    files = {value for key, value in environment.items() if key.endswith("_FILE")}
    assert files == {f"/run/secrets/{secret['target']}" for secret in server["secrets"]}
    assert all(secret["external"] for secret in stack["secrets"].values())


def test_jobs_are_beside_the_data_and_have_no_way_out(stack: dict[str, Any]) -> None:
    """Where the server's volume is, as locked up as it, and of the same image."""
    jobs, server = yaml.safe_load(JOBS_FILE.read_text()), stack["services"]["server"]
    assert list(jobs["services"]) == ["init", "backup"]
    for job in jobs["services"].values():
        assert job["image"] == server["image"]
        assert job["deploy"]["placement"] == server["deploy"]["placement"]
        assert (job["read_only"], job["cap_drop"], job["networks"]) == (True, ["ALL"], ["internal"])
        assert {"type": "volume", "source": "data", "target": "/data"} in job["volumes"]


def run_job(name: str, folder: Path, programs: dict[str, str]) -> int:
    """What a job's command ends with, its volumes in a folder, among programs that stand in."""
    job = yaml.safe_load(JOBS_FILE.read_text())["services"][name]
    shell = re.sub(r"/(data|backups)\b", rf"{folder}/\1", job["command"][0].replace("$$", "$"))
    shell = shell.replace("${RELAY_BACKUP_DAYS:-14}", "14")
    for program, text in programs.items():
        (folder / program).write_text(f"#!/bin/sh\n{text}\n")
        (folder / program).chmod(0o700)
    for volume in ("data", "backups"):
        (folder / volume).mkdir(exist_ok=True)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run([*job["entrypoint"], shell], env=environment, timeout=60).returncode


def test_the_first_init_is_kept(tmp_path: Path) -> None:
    """One that failed, as while the server starts, leaves nothing, and is tried again."""
    kept = tmp_path / "data" / "init.json"
    assert run_job("init", tmp_path, {"relay-server": "echo half; exit 1"}) == 1
    assert not kept.exists()
    for words in ("made", "another"):
        assert run_job("init", tmp_path, {"relay-server": f"echo {words}"}) == 0
        assert (kept.read_text(), kept.stat().st_mode & 0o777) == ("made\n", 0o600)


def test_a_backup_is_made_once_a_day_and_one_that_failed_an_hour_later(tmp_path: Path) -> None:
    old = tmp_path / "backups" / "relay-2026-01-01.db"
    old.parent.mkdir()
    old.touch()
    os.utime(old, (0, 0))
    hours = f'echo >> "{tmp_path}/hours"; [ "$(wc -l < "{tmp_path}/hours")" -lt 5 ]'
    made = f'echo $1 >> "{tmp_path}/made"; [ "$(wc -l < "{tmp_path}/made")" -gt 1 ] && echo x > $2'
    run_job("backup", tmp_path, {"sleep": hours, "relay-server": made, "date": "echo 2026-11-30"})
    assert (tmp_path / "made").read_text() == "backup\n" * 2
    assert [file.name for file in (tmp_path / "backups").iterdir()] == ["relay-2026-11-30.db"]


def test_stack_gives_the_server_time_to_stop(server: dict[str, Any]) -> None:
    assert server["stop_grace_period"] == "30s"


def test_stack_keeps_the_data_in_a_named_volume(
    stack: dict[str, Any], server: dict[str, Any]
) -> None:
    mounts = [mount for mount in server["volumes"] if mount["type"] == "volume"]

    assert [(mount["source"], mount["target"]) for mount in mounts] == [("data", "/data")]
    assert stack["volumes"] == {"data": {"name": "relay-data"}}


def test_stack_makes_everything_else_read_only(server: dict[str, Any]) -> None:
    written = [mount["target"] for mount in server["volumes"] if mount["type"] == "tmpfs"]

    assert server["read_only"] is True
    assert written == ["/tmp"]
    assert server["cap_drop"] == ["ALL"]


def test_stack_limits_what_the_server_may_take(server: dict[str, Any]) -> None:
    limits = server["deploy"]["resources"]["limits"]

    assert float(limits["cpus"]) > 0
    assert limits["memory"] == "512M"
    assert limits["pids"] >= 128


def test_stack_publishes_no_port(server: dict[str, Any]) -> None:
    """Traefik alone reaches the server, and nothing outside reaches the ops port."""
    assert "ports" not in server
    assert OPS_PORT not in json.dumps(server)


def test_stack_tells_traefik_the_port_and_the_network(server: dict[str, Any]) -> None:
    labels = dict(label.split("=", 1) for label in server["deploy"]["labels"])

    assert labels["traefik.http.services.relay.loadbalancer.server.port"] == PUBLISHED_PORT
    assert labels["traefik.http.routers.relay.rule"] == "Host(`${RELAY_HOST}`)"
    assert labels["traefik.docker.network"] == "${TRAEFIK_NETWORK:-traefik-public}"
    # Traefik 3.2.2 and newer give no route to a service that has these beside traefik.docker
    assert not any(label.startswith("traefik.swarm.") for label in labels)


def test_stack_lets_traefik_bridge_a_restart(server: dict[str, Any]) -> None:
    """Longer than Chatwoot waits, through an address that stays when the container goes."""
    labels = dict(label.split("=", 1) for label in server["deploy"]["labels"])
    retry = "traefik.http.middlewares.relay-retry.retry"

    assert int(labels[f"{retry}.attempts"]) * 0.5 >= 10
    assert labels[f"{retry}.initialinterval"] == "500ms"
    assert labels["traefik.http.routers.relay.middlewares"] == "relay-retry"
    assert labels["traefik.docker.lbswarm"] == "true"


def test_stack_has_traefiks_network_and_one_without_a_way_out(
    stack: dict[str, Any], server: dict[str, Any]
) -> None:
    assert set(server["networks"]) == {"public", "internal"} == set(stack["networks"])
    assert stack["networks"]["public"]["external"] is True
    assert stack["networks"]["internal"]["internal"] is True
    # Chatwoot's forms take no name without a dot.
    assert "relay.internal" in server["networks"]["internal"]["aliases"]


def test_stack_lets_forwards_reach_the_bot_and_nothing_else(server: dict[str, Any]) -> None:
    """Under the name that the how-to posts to."""
    allow = server["environment"]["RELAY_SERVER_FORWARD_ALLOW"]
    assert allow == "${RELAY_FORWARD_ALLOW:-chatwootai_webhook_server}"

    allowlist = allowing("chatwootai_webhook_server")
    for page in ("forwards.md", "from-ngrok.md", "docker-swarm.md"):
        text = (ROOT / "docs/how-to" / page).read_text()
        [url] = set(re.findall(r"forward create chatwoot (\S+)", text))
        assert allowlist.check_url(url).url == url


def test_stack_takes_secrets_from_files(server: dict[str, Any]) -> None:
    """Also where they are only shown as an option; values would be seen in `docker inspect`."""
    named = re.findall(
        r"(RELAY_SERVER_\w*(?:KEY|SECRET|TOKEN|CERT)\w*): (\S+)", STACK_FILE.read_text()
    )

    assert named
    assert all(name.endswith("_FILE") for name, _ in named)
    assert all(value.startswith("/run/secrets/") for _, value in named)
    assert not any("SECRET" in name or "TOKEN" in name for name in server["environment"])


def test_stack_shows_two_hostnames_as_an_option() -> None:
    """With the comment marks taken away, the option is YAML that names both routers."""
    lines = STACK_FILE.read_text().splitlines()
    labels = yaml.safe_load("\n".join(s.strip(" #") for s in lines if "# - traefik" in s))

    rules = [label for label in labels if ".rule=" in label]
    assert len(rules) == 2
    assert "Host(`${RELAY_HOOKS_HOST}`) && (PathPrefix(`/webhook`)" in rules[1]


def test_docker_accepts_the_stack() -> None:
    result = docker_stack_config(RELAY_HOST="relay.example.com")

    assert result.returncode == 0, result.stderr
    assert "https://relay.example.com" in result.stdout


def test_docker_lays_the_stack_on_postgres_over_it_and_names_each_task_for_the_others() -> None:
    """The name is Swarm's to put in, and has the port that the server listens on."""
    variables = {
        "RELAY_HOST": "relay.example.com",
        "RELAY_STORE_URL": "postgresql://relay@db/relay",
    }
    result = docker_stack_config(REPLICAS_FILE, **variables)

    assert result.returncode == 0, result.stderr
    environment = yaml.safe_load(result.stdout)["services"]["server"]["environment"]
    assert environment["RELAY_SERVER_REPLICA_URL"] == f"http://{{{{.Task.Name}}}}:{PUBLISHED_PORT}"


def test_docker_says_what_is_missing_when_no_hostname_is_given() -> None:
    result = docker_stack_config()

    assert result.returncode != 0
    assert "Set RELAY_HOST to the hostname of the relay" in result.stderr


def test_image_runs_as_a_fixed_user_that_is_not_root(image: list[tuple[str, str]]) -> None:
    assert only(image, "USER") == f"{USER_ID}:{USER_ID}"


def test_image_writes_to_its_volume_only(image: list[tuple[str, str]]) -> None:
    assert only(image, "VOLUME") == "/data"
    assert "RELAY_SERVER_DATA_DIR=/data" in only(image, "ENV")
    assert "PYTHONDONTWRITEBYTECODE=1" in only(image, "ENV")


def test_image_offers_the_public_port_alone(image: list[tuple[str, str]]) -> None:
    assert only(image, "EXPOSE") == PUBLISHED_PORT


def test_image_starts_the_server_without_a_shell_between(image: list[tuple[str, str]]) -> None:
    """A shell would keep SIGTERM for itself."""
    assert json.loads(only(image, "ENTRYPOINT")) == ["relay-server"]
    assert json.loads(only(image, "CMD")) == ["serve"]
    assert only(image, "STOPSIGNAL") == "SIGTERM"


def test_image_asks_the_server_for_its_health(image: list[tuple[str, str]]) -> None:
    _, _, command = only(image, "HEALTHCHECK").partition("CMD ")

    assert json.loads(command) == ["relay-server", "health"]


def test_image_installs_nothing_without_a_pin() -> None:
    """The base by its digest, each package by its hash, the wheel from the stage's own folder."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    assert re.search(r"^ARG BASE=python:[\w.-]+@sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"${BASE}"}
    installs = re.findall(r"pip(?: --python \S+)? install\s+(.+)", text)
    steps = [step for line in installs for step in line.split("&&") if " -" in f" {step}"]

    assert len(installs) == 2
    assert all("--require-hashes" in step or "--no-index" in step for step in steps)


def test_image_and_stack_are_of_the_packages_version(server: dict[str, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert f"relay-tunnel=={project['version']}" in (ROOT / "Dockerfile").read_text()
    assert server["image"] == f"${{RELAY_IMAGE:-relay-tunnel:{project['version']}}}"


@pytest.mark.parametrize("name", sorted(deployed_settings()))
def test_deployment_files_name_settings_that_exist(name: str) -> None:
    field = name.removeprefix("RELAY_SERVER_").lower()

    known = set(ServerSettings.declared())
    assert field in known or field.removesuffix("_file") in known


def test_unit_is_locked_up(unit: configparser.SectionProxy) -> None:
    assert unit["User"] == "relay"
    assert unit["StateDirectory"] == "relay"
    assert unit["StateDirectoryMode"] == "0700"
    assert unit["ProtectSystem"] == "strict"
    assert unit["NoNewPrivileges"] == "yes"
    assert unit["CapabilityBoundingSet"] == ""


def test_unit_gives_the_server_time_to_stop(unit: configparser.SectionProxy) -> None:
    assert unit["KillSignal"] == "SIGTERM"
    assert int(unit["TimeoutStopSec"]) >= 30
