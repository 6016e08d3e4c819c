"""The client's wheel, as a laptop gets it from the server: the same that a build makes."""

from __future__ import annotations

import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from relay_server import wheel
from relay_server.web import guests
from tests.support.senders import Answer, request
from tests.unit.server.support import Served

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def made() -> wheel.Wheel:
    return wheel.build()


def contents(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_it_is_what_a_build_makes(made: wheel.Wheel, tmp_path: Path) -> None:
    """But for who made it, and the description, which an editable checkout has of its setup."""
    [built] = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    offered = tmp_path / "offered.whl"
    offered.write_bytes(made.content)
    mine, theirs = contents(offered), contents(Path(built))

    assert made.name == Path(built).name
    assert mine.keys() == theirs.keys()
    differ = {name.rpartition("/")[2] for name in mine if mine[name] != theirs[name]}
    assert differ <= {"WHEEL", "RECORD", "METADATA"}
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert sorted(packages["targets"]["wheel"]["packages"]) == sorted(wheel.PACKAGES)


def test_the_same_installation_makes_the_same_wheel(made: wheel.Wheel) -> None:
    assert wheel.build() == made


def test_what_else_lies_in_a_checkout_stays_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "relay_extra"
    package.mkdir()
    for name in ("__init__.py", ".env", "notes.log", "relay.db", "secret.key", "x.py~"):
        (package / name).write_text("")
    (package / "link.py").symlink_to("/etc/passwd")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(wheel, "PACKAGES", ("relay_extra",))
    offered = tmp_path / "offered.whl"
    offered.write_bytes(wheel.build().content)

    names = [name for name in contents(offered) if name.startswith("relay_extra")]
    assert names == ["relay_extra/__init__.py"]
    monkeypatch.setattr(wheel, "MAX_WHEEL_BYTES", 10)
    with pytest.raises(OSError, match="too large"):
        wheel.build()


async def get(served: Served, path: str) -> Answer:
    return await served.send(request(path, method="GET", token=None))


async def test_anybody_may_fetch_it(served: Served, made: wheel.Wheel) -> None:
    page = await get(served, "/client")
    fetched = await get(served, f"/client/{made.name}")

    command = f"pipx install http://localhost:8802/client/{made.name}"
    assert (page.status, command.encode() in page.body) == (200, True)
    assert made.sha256.encode() in page.body
    assert (fetched.status, fetched.body) == (200, made.content)
    assert (await get(served, "/client/other.whl")).status == 404


async def test_only_so_many_are_fetched_at_once(
    served: Served, made: wheel.Wheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guests, "MAX_DOWNLOADS", 0)
    assert (await get(served, f"/client/{made.name}")).status == 503
    monkeypatch.setattr(guests, "MAX_DOWNLOADS", 1)
    for _ in range(2):
        assert (await get(served, f"/client/{made.name}")).status == 200
