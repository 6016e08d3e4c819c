"""What a target answered, as a page shows it: read as an event's body is, without its secrets."""

from __future__ import annotations

import json

from relay_server.dashboard.answers import MAX_NODES, said_of
from relay_server.delivery.kept import CUT
from relay_server.operations.events import AttemptLine

BODY = '{"detail": [{"loc": "body"}], "token": "s3cret", "id": 90071992547409931}'


def answered(text: str, size: int | None = None, status: int | None = 422) -> AttemptLine:
    size = len(text.encode()) if size is None else size
    headers = [("content-type", "application/json"), ("retry-after", "30")]
    return AttemptLine("ana", None, 1, 0, 5, "response", status, text, size, headers)


def test_json_that_is_whole_is_a_tree_with_its_secrets_masked() -> None:
    said = said_of(answered(BODY))

    [top] = said.branches
    assert [(b.node.name, b.node.text) for b in top.children] == [
        ("detail", ""),
        ("token", "•••"),
        ("id", "90071992547409931"),
    ]
    assert (said.text, said.kind, said.headers) == ("", "application/json", [("retry-after", "30")])


def test_what_is_cut_or_none_or_no_more_than_a_word_is_text_without_its_secrets() -> None:
    for text, size in (
        ('{"token": "s3cret", "a": ' + CUT, 9_999),
        ("Traceback: token=s3cret", None),
        ('"ok"', None),
        ("", None),
    ):
        said = said_of(answered(text, size))
        assert said.branches == []
        assert "s3cret" not in said.text


def test_an_answer_that_ends_in_an_ellipsis_may_be_whole() -> None:
    assert said_of(answered(json.dumps(["a" + CUT], ensure_ascii=False))).branches
    whole = said_of(answered("[1, 2]" + CUT))
    assert (whole.branches, whole.text) == ([], "[1, 2]" + CUT)


def test_a_tree_that_would_fill_the_page_is_text() -> None:
    assert said_of(answered(json.dumps([1] * (MAX_NODES - 1)))).branches
    assert said_of(answered(json.dumps([1] * MAX_NODES))).branches == []


def test_what_went_wrong_is_said_without_an_answer() -> None:
    assert said_of(answered("no answer within 30 s", status=None)).text == "no answer within 30 s"
