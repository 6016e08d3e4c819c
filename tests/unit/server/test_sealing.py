"""Secrets that must be read again are no use without the key beside the database."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from relay_server import sealing
from relay_server.configs import ChannelConfig, HmacAuth
from relay_server.errors import InvalidValue
from relay_server.sealing import FILE_NAME, Sealer
from relay_server.store.sqlite.store import open_sqlite

SECRET = b"FIXTUREwebhookSECRET0001"


def test_what_is_sealed_opens_again(tmp_path: Path) -> None:
    sealed = Sealer(tmp_path).seal(SECRET)
    later = Sealer(tmp_path)
    assert [later.open(sealed) for _ in range(2)] == [SECRET, SECRET]
    assert Sealer(tmp_path).seal(SECRET) != sealed


def test_the_key_is_the_owner_s_alone(tmp_path: Path) -> None:
    sealer = Sealer(tmp_path)
    assert not (tmp_path / FILE_NAME).exists(), "it is made when it is first needed"
    sealer.seal(SECRET)
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


def test_a_key_that_a_crash_left_empty_is_made_anew(tmp_path: Path) -> None:
    """Nothing was sealed with it yet."""
    (tmp_path / FILE_NAME).touch(mode=0o600)
    assert Sealer(tmp_path).open(Sealer(tmp_path).seal(SECRET)) == SECRET


async def test_a_stolen_database_gives_nothing_away(tmp_path: Path) -> None:
    data, thief = tmp_path / "data", tmp_path / "thief"
    data.mkdir()
    thief.mkdir()
    sealed = Sealer(data).seal(SECRET)
    store = await open_sqlite(data)
    await store.create_channel("a", ChannelConfig(hmac=HmacAuth("chatwoot", (sealed,))), 1)
    await store.close()

    for file in data.glob("relay.db*"):
        stolen = file.read_bytes()
        assert SECRET not in stolen
        assert base64.b64encode(SECRET).rstrip(b"=") not in stolen
        (thief / file.name).write_bytes(stolen)
    store = await open_sqlite(thief)
    auth = store.catalog.channels["a"].config.hmac
    await store.close()
    assert auth is not None
    with pytest.raises(InvalidValue):
        Sealer(thief).open(auth.secrets[0])
    Sealer(thief).seal(b"another")
    with pytest.raises(InvalidValue, match="another key"):
        Sealer(thief).open(auth.secrets[0])


def test_a_lost_key_is_named_and_not_made_anew(tmp_path: Path) -> None:
    sealed = Sealer(tmp_path).seal(SECRET)
    key = tmp_path / FILE_NAME
    before = key.read_bytes()
    key.unlink()

    sealer = Sealer(tmp_path)
    with pytest.raises(InvalidValue, match=FILE_NAME):
        sealer.open(sealed)
    assert not key.exists()

    key.write_bytes(before + b"\n")
    assert sealer.open(sealed) == SECRET, "once it is back, no restart is needed"


@pytest.mark.parametrize("content", ["", "short", "é", "A" * 44, "A" * 43 + "=="])
def test_a_damaged_key(tmp_path: Path, content: str) -> None:
    sealed = Sealer(tmp_path).seal(SECRET)
    (tmp_path / FILE_NAME).write_text(content, "utf-8")
    with pytest.raises(InvalidValue) as refused:
        Sealer(tmp_path).open(sealed)
    assert "key" in str(refused.value)
    assert not content or content not in str(refused.value)


@pytest.mark.parametrize("sealed", [b"", b"x", b"\xff" * 100, SECRET])
def test_what_was_never_sealed(tmp_path: Path, sealed: bytes) -> None:
    Sealer(tmp_path).seal(SECRET)
    with pytest.raises(InvalidValue):
        Sealer(tmp_path).open(sealed)


def test_a_key_of_the_settings(tmp_path: Path) -> None:
    key = Fernet.generate_key().decode()
    sealed = Sealer(tmp_path, key).seal(SECRET)
    assert Sealer(tmp_path, key).open(sealed) == SECRET
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InvalidValue):
        Sealer(tmp_path, Fernet.generate_key().decode()).open(sealed)
    with pytest.raises(InvalidValue, match="32 bytes") as refused:
        Sealer(tmp_path, "my-password").seal(SECRET)
    assert "my-password" not in str(refused.value)


def test_opened_secrets_do_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers of forwards change, and nobody asks for the old values again."""
    monkeypatch.setattr(sealing, "MAX_OPENED", 3)
    sealer = Sealer(tmp_path)
    sealed = [sealer.seal(b"%d" % number) for number in range(9)]
    for _ in range(2):
        assert [sealer.open(one) for one in sealed] == [b"%d" % number for number in range(9)]
    assert sealer._opened.cache_info().currsize == 3
