"""What the index finds is what a filter means; and when its file is not believed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import apsw
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay_protocol.times import rfc3339
from relay_server.filters.document import Document
from relay_server.filters.language import Filter, InvalidFilter, parse, quoted
from relay_server.search import index as module
from relay_server.search.index import (
    FILE_NAME,
    Index,
    Patience,
    Seen,
    Unusable,
    entry_of,
)
from relay_server.values import Event, Range
from tests.support.clock import START_MS
from tests.support.texts import HARD_TEXTS, body_of, stored
from tests.support.tries import tries

HOUR_MS = 3_600_000


def indexed(path: Path, events: Sequence[Event]) -> Index:
    index = Index(path)
    index.add(1, len(events), [entry_of(event) for event in events])
    return index


def found(
    index: Index, events: Sequence[Event], asked: Filter, *, newest_first: bool = True
) -> list[int]:
    """All that the index finds, asked two at a time as often as it takes."""
    by_sequence, sequences = {e.head.sequence: e for e in events}, list[int]()
    first, last = 1, len(events)
    while first <= last:
        until = time.monotonic() + 60
        looked = index.find(asked, Range(1, first, last, newest_first), 2, until, Patience())
        sequences += [s for s in looked.sequences if looked.rest.matches(Document(by_sequence[s]))]
        first, last = (first, looked.reached - 1) if newest_first else (looked.reached + 1, last)
    return sequences


def meant(events: Sequence[Event], asked: Filter) -> list[int]:
    return [e.head.sequence for e in reversed(events) if asked.matches(Document(e))]


texts = st.sampled_from(HARD_TEXTS) | st.text(max_size=30)
bodies = (
    st.builds(
        lambda says, talk, name, how: body_of(says, talk=talk, name=name, **how),
        texts,
        st.integers(1, 3),
        st.sampled_from(("João Gonçalves", "maria", "", "🎉")) | st.text(max_size=9),
        st.sampled_from(
            ({}, {"private": True}, {"message_type": "outgoing", "sender": {"type": "user"}})
        ),
    )
    | texts.map(lambda text: text.encode("utf-8", "replace"))
    | st.binary(max_size=20)
)
kinds = st.sampled_from(
    ("message_created", "message_updated", "contact_created", "", "Ärger", "a b")
)
events_of = st.lists(
    st.tuples(bodies, kinds, st.sampled_from(("2/7", "1", "a b", "É*"))), min_size=1, max_size=12
).map(
    lambda drawn: [
        stored(n, body, kind=kind, key=key, at=n * HOUR_MS)
        for n, (body, kind, key) in enumerate(drawn, 1)
    ]
)
TERMS = [
    "nao",
    "não",
    "chegou",
    "pedi*",
    '"nao chegou"',
    "joao",
    "coracao",
    "a_b",
    "near(",
    "or",
    "and",
    '"a b"',
    "mari*",
    "98765",
    "istanbul",
    "pedido",
    "-chegou",
    "-pedi*",
    "kind:message_created",
    "kind:message_*",
    "kind:m*",
    "kind:ärger",
    "kind:*",
    "-kind:contact_created",
    "conv:7",
    "conv:2/1",
    "conv:1,2",
    "conv:2/*",
    "conv:é*",
    "contact:41,43",
    "contact:joao",
    "contact:goncal*",
    "contact:🎉",
    'contact:""',
    "inbox:3",
    "from:customer",
    "from:agent,bot",
    "-from:customer",
    "is:private",
    "-is:private",
    "is:damaged",
    "is:repeat,conflict",
    "-is:damaged",
    "larger:300",
    "-larger:300",
    "id:0003",
    "id:0001,0002",
    "method:post",
    "path:/webhook",
    "-path:/x",
    "json.content:oi",
    "header.content-type:application/json",
    "is:dead",
    "after:2026-01-01T00:00:00Z",
]
words = st.sampled_from(TERMS) | texts.map(lambda text: quoted("", text[:200]))


@tries(200)
@given(events_of, st.lists(words, min_size=1, max_size=4).map(" ".join), st.booleans())
@example([stored(1, body_of(HARD_TEXTS[0]))], '"chegou o pedido" joa*', True)
def test_the_index_finds_what_a_filter_means(
    events: list[Event], text: str, newest_first: bool
) -> None:
    try:
        asked = parse(text, START_MS)
    except InvalidFilter:
        return
    with tempfile.TemporaryDirectory() as folder:
        index = indexed(Path(folder, FILE_NAME), events)
        names = found(index, events, asked, newest_first=newest_first)
        assert names == (meant(events, asked) if newest_first else meant(events, asked)[::-1])
        index.abandon()


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=60), st.integers(-30, 270))
def test_times_are_found_though_clocks_jump(jumps: list[int], hour: int) -> None:
    events = [
        stored(n, b"{}", at=n * 4 * HOUR_MS + jump * HOUR_MS // 2)
        for n, jump in enumerate(jumps, 1)
    ]
    moment = START_MS + hour * HOUR_MS
    with tempfile.TemporaryDirectory() as folder:
        index = indexed(Path(folder, FILE_NAME), events)
        for word in ("before", "after", "-before", "-after"):
            asked = parse(f"{word}:{rfc3339(moment)}", START_MS)
            assert found(index, events, asked) == meant(events, asked)
        index.abandon()


def test_a_beginning_of_many_words_is_asked_of_the_events(tmp_path: Path) -> None:
    """FTS5 would merge them all first."""
    events = [stored(n, body_of(f"pedido{n} chegou")) for n in range(1, 40)]
    index, patience = indexed(tmp_path / FILE_NAME, events), Patience()
    patience.lose()
    looked = index.find(parse("pedid* chegou", 0), Range(1, 1, 39), 50, time.monotonic(), patience)
    assert ([t.word for t in looked.rest.terms], len(looked.sequences)) == (["text"], 39)
    index.abandon()


def test_a_look_ends_in_time_and_goes_on_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_WINDOW", 10)
    events = [stored(n, body_of("raro" if n == 3 else "oi")) for n in range(1, 101)]
    index, asked = indexed(tmp_path / FILE_NAME, events), parse("raro", 0)
    first = index.find(asked, Range(1, 1, 100), 5, time.monotonic(), Patience())
    assert (list(first.sequences), first.reached) == ([], 91), "one window, however little time"
    rest = index.find(asked, Range(1, 1, 90), 5, time.monotonic() + 60, Patience())
    assert (list(rest.sequences), rest.reached) == ([3], 1)
    index.abandon()


def test_so_many_are_named_at_once_where_more_is_to_be_asked(tmp_path: Path) -> None:
    """Whoever asks them is bounded in time."""
    events = [stored(n, b"{}") for n in range(1, 200)]
    index, later = indexed(tmp_path / FILE_NAME, events), time.monotonic() + 60
    sure = index.find(parse("kind:m*", 0), Range(1, 1, 199), 1_000, later, Patience())
    unsure = index.find(parse("path:/x", 0), Range(1, 1, 199), 1_000, later, Patience())
    assert (len(sure.sequences), len(unsure.sequences)) == (199, module.UNSURE)
    index.abandon()


def test_kinds_without_end_are_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a kind begins with is then asked of the events."""
    monkeypatch.setattr(module, "MAX_KINDS", 3)
    events = [stored(n, b"{}", kind=f"k{n}") for n in range(1, 9)]
    index = indexed(tmp_path / FILE_NAME, events)
    assert found(index, events, parse("kind:k*", 0)) == [8, 7, 6, 5, 4, 3, 2, 1]
    index.close()
    index = Index(tmp_path / FILE_NAME)
    assert found(index, events, parse("kind:k* -kind:k3", 0)) == [8, 7, 6, 5, 4, 2, 1]
    index.abandon()


def test_removed_events_are_not_found(tmp_path: Path) -> None:
    events = [stored(n, body_of("oi")) for n in range(1, 6)]
    index = indexed(tmp_path / FILE_NAME, events)
    index.remove(1, [2, 4, 4, 99])
    assert found(index, events, parse("oi", 0)) == [5, 3, 1]
    assert (index.progress(), set(index.facts(1, range(9)))) == ({1: (5, 3)}, {1, 3, 5})
    assert [index.forget(1, 2), index.forget(1, 2)] == [True, False]
    assert (index.progress(), found(index, events, parse("oi", 0))) == ({}, [])
    index.abandon()


@pytest.mark.parametrize(
    ("closed", "boot", "believed"),
    [(True, "another", True), (False, "the same", True), (False, "another", False)],
)
def test_a_file_that_was_open_when_the_machine_stopped_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: bool, boot: str, believed: bool
) -> None:
    """It was written without an fsync: a part of it may be missing, and the rest look sound."""
    ids = iter(("the same", boot))
    monkeypatch.setattr(module, "_boot_id", lambda: next(ids))
    index = indexed(tmp_path / FILE_NAME, [stored(1, b"{}")])
    if closed:
        index.close()
    else:
        index.abandon()
    if believed:
        assert Index(tmp_path / FILE_NAME).progress() == {1: (1, 1)}
    else:
        with pytest.raises(Unusable):
            Index(tmp_path / FILE_NAME)


def test_its_files_are_for_the_owner_alone(tmp_path: Path) -> None:
    index = indexed(tmp_path / FILE_NAME, [stored(1, b"{}")])
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}
    index.abandon()


def test_a_file_of_another_version_is_not_believed(tmp_path: Path) -> None:
    indexed(tmp_path / FILE_NAME, []).close()
    apsw.Connection(str(tmp_path / FILE_NAME)).pragma("user_version", 99)
    with pytest.raises(Unusable):
        Index(tmp_path / FILE_NAME)


def test_it_says_what_the_newest_events_of_a_channel_are_of(tmp_path: Path) -> None:
    kinds = ("old", "message_created", "contact_created", "message_created")
    events = [
        stored(n, body_of("x", event=kind, inbox={"id": n // 3}), kind=kind)
        for n, kind in enumerate(kinds, 1)
    ]
    index = indexed(tmp_path / FILE_NAME, events)
    assert index.seen(1, 3) == [
        Seen("message_created", "1", 4),
        Seen("contact_created", "1", 3),
        Seen("message_created", "0", 2),
    ]
    assert index.seen(2, 3) == []
    index.abandon()
