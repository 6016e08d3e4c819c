"""What is kept of how an attempt ended."""

from __future__ import annotations

import gzip
import zlib

import pytest

from relay_protocol.values import Failure, FailureKind, Outcome, Response
from relay_server.delivery.kept import (
    CUT,
    HEADER_BYTES,
    TAKEN_BYTES,
    TEXT_BYTES,
    attempt_of,
    headers_of,
    size_of,
)
from relay_server.delivery.lanes import Entry


def kept_of(outcome: Outcome) -> str:
    """The text of the attempt that ended so."""
    return attempt_of(Entry(1, "", 0), outcome, 0).text


@pytest.mark.parametrize(
    ("status", "most"), [(200, TAKEN_BYTES), (299, TAKEN_BYTES), (500, TEXT_BYTES)]
)
def test_of_an_answer_the_beginning_is_kept_and_whether_there_was_more(
    status: int, most: int
) -> None:
    assert kept_of(Response(status)) == ""
    assert kept_of(Response(status, body=b"x" * most)) == "x" * most
    assert kept_of(Response(status, body=b"x" * (most + 1))) == "x" * most + CUT


def test_of_a_failure_the_beginning_is_kept() -> None:
    failure = Failure(FailureKind.NETWORK, "x" * (TEXT_BYTES + 1))
    assert kept_of(failure) == "x" * TEXT_BYTES


def test_no_character_is_cut_in_two() -> None:
    said = "x" + "ã" * TAKEN_BYTES
    assert kept_of(Response(200, body=said.encode())) == said[: TAKEN_BYTES // 2] + CUT


def test_a_compressed_answer_is_kept_as_it_was_before() -> None:
    said, header = b'{"status": "queued"}', b"Content-Encoding"
    for coding, packed in ((b"gzip", gzip.compress(said)), (b"Deflate", zlib.compress(said))):
        assert kept_of(Response(200, ((header, coding),), packed)) == said.decode()
    bomb = gzip.compress(b"0" * 10_000_000)
    assert kept_of(Response(200, ((header, b"gzip"),), bomb)) == "0" * TAKEN_BYTES + CUT
    # What is no gzip is kept as it came.
    assert kept_of(Response(200, ((header, b"gzip"),), said)) == said.decode()


def test_of_its_headers_a_few_are_kept_and_of_each_the_beginning() -> None:
    """Whatever a target says in them stays on its line; cookies and what else there is are not."""
    answer = Response(
        503,
        (
            (b"Date", b"now"),
            (b"Content-Type", b"application/json"),
            (b"Set-Cookie", b"session=secret"),
            (b"RETRY-AFTER", b"30"),
            (b"Server", b"x" * 999),
            (b"server", b"another"),
            (b"X-Length-12c", b"as long as the names of others"),
        ),
    )
    assert headers_of(answer).split("\n") == [
        "content-type: application/json",
        "retry-after: 30",
        f"server: {'x' * HEADER_BYTES}",
    ]
    assert headers_of(Response(200)) == ""


def test_how_large_an_answer_was_is_known_or_said_by_itself() -> None:
    def said(value: bytes) -> tuple[tuple[bytes, bytes], ...]:
        return ((b"Content-Length", value),)

    assert size_of(Response(200, said(b"9"), b"abc")) == 3, "as it came"
    assert size_of(Response(200, said(b"99999"), b"abc", truncated=True)) == 99_999
    for unsaid in ((), said(b"-1"), said(b"9" * 40), said(b"\xb2")):
        assert size_of(Response(200, unsaid, b"abc", truncated=True)) is None
    failed = attempt_of(Entry(1, "", 0), Failure(FailureKind.NETWORK), 0)
    assert (failed.size, failed.headers) == (None, "")
