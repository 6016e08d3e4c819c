"""An invitation, from the line that the server prints to a client that receives."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.support.processes import CLIENT, run
from tests.support.relay import Relay
from tests.support.senders import request
from tests.support.target import Target


async def login(config: Path, url: str, language: str = "en") -> tuple[int, str, str]:
    """`relay-client login` with a config directory of its own, and no terminal."""
    environment = {"RELAY_CLIENT_CONFIG_DIR": str(config), "LANGUAGE": language}
    done = await asyncio.to_thread(run, [CLIENT, "login", url], environment, "")
    return done.returncode, done.stdout, done.stderr


async def invited(relay: Relay) -> str:
    """The URL in the line that is to be sent to eva."""
    line = ("invite", "eva", "--channel", "chatwoot")
    status, said, _ = await asyncio.to_thread(relay.command, *line)
    assert status == 0
    [url] = [one.split()[-1] for one in said.splitlines() if "relay-client login" in one]
    return url.replace("http://localhost:", "http://127.0.0.1:")


async def test_one_line_brings_a_client_a_token_of_its_own(
    relay: Relay, target: Target, tmp_path: Path
) -> None:
    url = await invited(relay)
    path = "/i/" + url.rpartition("/")[2]
    assert (await relay.send(request(path, method="GET", token=None))).status == 200
    relay.server.terminate()
    assert await relay.server.exit_status() == 0
    await relay.start()

    status, said, _ = await login(tmp_path / "eva", url)
    assert (status, "as eva" in said) == (0, True)
    [kept] = (tmp_path / "eva").iterdir()
    token = json.loads(kept.read_text())["token"]
    await relay.connect(token, "--to", target.address)
    again, _, errors = await login(tmp_path / "other", url)
    assert (again, "this invitation was used already" in errors) == (4, True)
    assert not (tmp_path / "other" / "login.json").exists()
    again, _, errors = await login(tmp_path / "other", url, "pt_BR")
    assert (again, "este convite já foi usado" in errors) == (4, True)


async def test_a_client_that_could_not_keep_its_login_asks_again(
    relay: Relay, tmp_path: Path
) -> None:
    url, config = await invited(relay), tmp_path / "eva"
    (config / "login.json").mkdir(parents=True)
    status, _, errors = await login(config, url)
    assert (status, "cannot be kept" in errors) == (1, True)

    (config / "login.json").rmdir()
    assert (await login(tmp_path / "other", url))[0] == 4
    assert (await login(config, url))[0] == 0


async def test_what_is_wrong_with_an_invitation_is_said(relay: Relay, tmp_path: Path) -> None:
    status, _, errors = await login(tmp_path, f"{relay.url}/i/{'0' * 32}")
    assert (status, "there is no such invitation" in errors) == (4, True)
    [group] = (await relay.control("GET", "refused"))["groups"]
    assert group["reason"] == "unknown invitation"
    assert "it was withdrawn" in group["says"]

    url = await invited(relay)
    status, said, _ = await asyncio.to_thread(relay.command, "invite", "revoke", "eva")
    assert (status, "eva" in said) == (0, True)
    assert (await login(tmp_path, url))[0] == 4
    assert (await relay.said("invite", "list")) == {"invitations": []}
    assert "no invitation for 'eva' is open" in await relay.refused("invite", "revoke", "eva")
