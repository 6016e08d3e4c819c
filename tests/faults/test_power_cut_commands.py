"""What a command said is so after a power cut; one that was cut short can be given again."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from relay_client import saved_login
from relay_client.journal import Journal
from relay_protocol.messages import Granted
from relay_protocol.values import Response
from relay_server import log
from relay_server.cli.host import make_missing
from relay_server.errors import BackupUnusable
from relay_server.sealing import Sealer
from relay_server.settings import settings_file
from relay_server.store.interface import Store
from relay_server.store.sqlite.restore import restore
from relay_server.store.sqlite.store import FILE_NAME, open_sqlite
from relay_server.values import Scope, Token
from tests.support.clock import START_MS
from tests.support.disks import MIB
from tests.support.events import delivery
from tests.support.power import CutDisks, choose_cuts
from tests.support.recording_disk import mounted, recording_disk, run
from tests.support.seeds import chance, choose_seed, short_or_deep
from tests.support.stores import append_many, make_channel

DISK_BYTES = 96 * MIB
STORES = Path(__file__).parents[1] / "fixtures" / "stores"
URL = "https://relay.example.com"

Act = Callable[[Path], Awaitable[Any]]
Check = Callable[[Path, Any], Awaitable[None]]
Contents = dict[str, dict[str, bytes]]


async def nothing(_: Path) -> None:
    """Neither prepares nor ends anything."""


async def cut_during(
    tmp_path: Path, name: str, prepare: Act, act: Act, check: Check, end: Act = nothing
) -> None:
    """Cut the power while something is done, and after: then `check` gets what `act` returned.

    Args:
        tmp_path: For disks.
        name: Of what is done.
        prepare: Fills a folder beforehand.
        act: Does something in it.
        check: Looks at the folder as a cut left it; it gets None where `act` had not ended.
        end: Lets go of what `act` has open; no cut is so late.
    """
    rng = chance(f"power cuts, {name}")
    with recording_disk(tmp_path / "recorded", DISK_BYTES) as disk:
        await prepare(disk.folder)
        run("sync", "--file-system", str(disk.folder))
        began = monotonic()
        try:
            done = await act(disk.folder)
            ended = monotonic()
            disk.stop()
        finally:
            await end(disk.folder)
    cuts = CutDisks(disk, tmp_path / "durable")
    during = choose_cuts(cuts.entries, began, ended, short_or_deep(2, 20), rng)
    after = [len(cuts.entries)] * short_or_deep(1, 8)
    for cut in (*during, *after):
        cuts.make(cut, tmp_path / "image", rng)
        with mounted(tmp_path / "image", tmp_path / "cut") as folder:
            try:
                await check(folder, done if cut == len(cuts.entries) else None)
            except BaseException as exc:
                exc.add_note(f"seed {choose_seed()}, {name}, cut {cut} of {len(cuts.entries)}")
                raise


async def contents(data_dir: Path) -> Contents:
    """Every event of a store: its body, by channel and id."""
    store = await open_sqlite(data_dir)
    try:
        return {
            name: {
                event.head.id: event.body
                for event in await store.fetch(channel.number, range(1, 1_000))
            }
            for name, channel in store.catalog.channels.items()
        }
    finally:
        await store.close()


async def fill(data_dir: Path, count: int) -> Contents:
    """Make a store with so many events."""
    data_dir.mkdir(parents=True)
    store = await open_sqlite(data_dir)
    try:
        await append_many(store, await make_channel(store), count)
    finally:
        await store.close()
    return await contents(data_dir)


async def test_init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tokens that were shown are good, and the URL is kept."""
    monkeypatch.setattr(log, "set_up", lambda *_, **__: None)  # it holds for the whole process

    async def init(folder: Path) -> Any:
        return await asyncio.to_thread(make_missing, {"data_dir": folder / "data"}, URL)

    async def check(folder: Path, done: Any) -> None:
        if done is not None:
            settings = settings_file(folder / "data").read_text("utf-8")
            assert settings == f'public_url = "{URL}"\n'
        again = await init(folder)
        assert again["url"] == URL
        assert again["channel"] == "chatwoot"
        if done is not None:
            assert again["send_token"] is again["subscribe_token"] is None

    await cut_during(tmp_path, "init", nothing, init, check)


async def test_the_first_webhook(tmp_path: Path) -> None:
    """No folder was there when it began; all their names are on the disk before the first 2xx."""
    stores: list[Store] = []

    async def act(folder: Path) -> str:
        (folder / "a" / "data").mkdir(parents=True)
        stores.append(await open_sqlite(folder / "a" / "data"))
        [event] = await append_many(stores[0], await make_channel(stores[0]), 1)
        return event

    async def check(folder: Path, done: str | None) -> None:
        if done is not None or (folder / "a" / "data").exists():
            found = await contents(folder / "a" / "data")
            assert done is None or list(found["chatwoot"]) == [done]

    async def end(_: Path) -> None:
        await stores[0].close()

    await cut_during(tmp_path, "the first webhook", nothing, act, check, end)


async def test_a_token(tmp_path: Path) -> None:
    """It is shown once only, so it must be kept by then."""
    stores: list[Store] = []
    token = Token("ana", b"t" * 32, frozenset(Scope), None, START_MS)

    async def prepare(folder: Path) -> None:
        await fill(folder / "data", 1)
        stores.append(await open_sqlite(folder / "data"))

    async def act(_: Path) -> bool:
        await stores[0].create_token(token)
        return True

    async def check(folder: Path, done: bool | None) -> None:
        store = await open_sqlite(folder / "data")
        found = list(store.catalog.tokens.values())
        await store.close()
        assert found in ([[token]] if done else [[], [token]])

    async def end(_: Path) -> None:
        await stores[0].close()

    await cut_during(tmp_path, "token", prepare, act, check, end)


async def test_a_client_s_journal(tmp_path: Path) -> None:
    """Cut while it is made or written to, it can be used, and is never damaged."""
    warnings: list[str] = []

    def opened(folder: Path) -> Journal:
        journal = Journal(folder / "state", URL, warnings.append)
        journal.open([Granted(1, "chatwoot", "ana", False, 0)])
        return journal

    async def act(folder: Path) -> bool:
        journal = opened(folder)
        for number in range(1, 301):
            journal.add(delivery(number), Response(200))
        journal.close()
        return True

    async def check(folder: Path, done: bool | None) -> None:
        journal = opened(folder)
        found = [journal.find(f"1.{n}", f"evt_{n:012d}", 2) is not None for n in range(1, 301)]
        journal.close()
        assert warnings == []
        assert all(found) or not done

    await cut_during(tmp_path, "journal", nothing, act, check)


async def test_a_sealed_secret(tmp_path: Path) -> None:
    """The key outlives what was sealed with it; one that was half made is made anew."""

    async def act(folder: Path) -> bytes:
        return Sealer(folder).seal(b"secret")

    async def check(folder: Path, done: bytes | None) -> None:
        if done is not None:
            assert Sealer(folder).open(done) == b"secret"
        assert Sealer(folder).open(Sealer(folder).seal(b"other")) == b"other"

    await cut_during(tmp_path, "sealing", nothing, act, check)


@pytest.mark.parametrize("version", [1, 2])
async def test_a_migration(tmp_path: Path, version: int) -> None:
    (tmp_path / "before").mkdir()
    shutil.copyfile(STORES / f"v{version}.db", tmp_path / "before" / FILE_NAME)
    expected = await contents(tmp_path / "before")

    async def prepare(folder: Path) -> None:
        (folder / "data").mkdir()
        shutil.copyfile(STORES / f"v{version}.db", folder / "data" / FILE_NAME)

    async def act(folder: Path) -> Contents:
        return await contents(folder / "data")

    async def check(folder: Path, _: Contents | None) -> None:
        assert await contents(folder / "data") == expected

    await cut_during(tmp_path, f"migration from {version}", prepare, act, check)


async def test_a_backup(tmp_path: Path) -> None:
    """It is whole, or restore refuses it; the store is whole in any case."""
    expected: Contents = {}
    stores: list[Store] = []

    async def prepare(folder: Path) -> None:
        expected.update(await fill(folder / "data", 60))
        stores.append(await open_sqlite(folder / "data"))

    async def act(folder: Path) -> bool:
        await stores[0].backup(folder / "copy.db")
        return True

    async def end(_: Path) -> None:
        await stores[0].close()

    async def check(folder: Path, done: bool | None) -> None:
        assert await contents(folder / "data") == expected
        copy = folder / "copy.db"
        if done is None and not copy.exists():
            return
        (folder / "other").mkdir()
        try:
            restore(folder / "other" / FILE_NAME, copy, START_MS)
        except BackupUnusable:
            assert not done
        else:
            assert await contents(folder / "other") == expected

    await cut_during(tmp_path, "backup", prepare, act, check, end)


async def test_a_restore(tmp_path: Path) -> None:
    """The one store or the other; afterwards the other, and the one beside it."""
    old: Contents = {}
    new: Contents = {}

    async def prepare(folder: Path) -> None:
        old.update(await fill(folder / "data", 40))
        new.update(await fill(folder / "other", 60))

    async def act(folder: Path) -> str:
        done = restore(folder / "data" / FILE_NAME, folder / "other" / FILE_NAME, START_MS)
        assert done.kept is not None
        return done.kept.name

    async def check(folder: Path, done: str | None) -> None:
        found = await contents(folder / "data")
        assert found in ([new] if done else [old, new])
        if done:
            kept = (folder / "data" / done).rename(folder / "other" / FILE_NAME)
            assert await contents(kept.parent) == old

    await cut_during(tmp_path, "restore", prepare, act, check)


async def test_a_login(tmp_path: Path) -> None:
    """A new login that was said to be kept is; before that there is the old one, whole."""
    old, new = ({"url": URL, "token": f"rly_{token}"} for token in ("old", "new"))

    async def prepare(folder: Path) -> None:
        saved_login.save(folder / "client", old)

    async def act(folder: Path) -> bool:
        saved_login.save(folder / "client", new)
        return True

    async def check(folder: Path, done: bool | None) -> None:
        assert saved_login.load(folder / "client") in ([new] if done else [old, new])

    await cut_during(tmp_path, "login", prepare, act, check)
