"""The slips that are tried in the store's SQL: each is just what it says, and none is no slip."""

from __future__ import annotations

from pathlib import Path

import pytest

from mutation.sql.mutants import mutants
from mutation.sql.statements import Case, changed, statements
from mutation.sql.tokens import operands, tokens

ROOT = Path(__file__).parents[3]


def slips(sql: str) -> set[str]:
    """What each slip is said to be."""
    return {mutant.what for mutant in mutants(sql)}


def became(sql: str) -> set[str]:
    """The statement with each slip."""
    return {mutant.sql for mutant in mutants(sql)}


# Tokens


def test_tokens_say_what_they_are_and_how_deep() -> None:
    found = tokens("SELECT x'8A', 'it''s', max(a.b, ?1) -- no word\nFROM t WHERE a <= 12;")

    assert [(t.kind, t.text) for t in found] == [
        ("word", "SELECT"),
        ("text", "x'8A'"),
        ("sign", ","),
        ("text", "'it''s'"),
        ("sign", ","),
        ("word", "max"),
        ("sign", "("),
        ("word", "a"),
        ("sign", "."),
        ("word", "b"),
        ("sign", ","),
        ("parameter", "?1"),
        ("sign", ")"),
        ("word", "FROM"),
        ("word", "t"),
        ("word", "WHERE"),
        ("word", "a"),
        ("sign", "<="),
        ("number", "12"),
        ("sign", ";"),
    ]
    assert [t.depth for t in found if t.text in {"max", "(", "b", ")", "FROM"}] == [0, 0, 1, 0, 0]


def test_tokens_lie_where_they_say() -> None:
    for statement in statements(ROOT):
        for token in tokens(statement.sql):
            assert statement.sql[token.start : token.end] == token.text


def test_what_is_no_sql_of_ours_is_refused() -> None:
    with pytest.raises(ValueError, match="no SQL that is known"):
        tokens("SELECT `a`")


@pytest.mark.parametrize(
    ("sql", "parts"),
    [
        ("SELECT 1 WHERE a = 1", ["a = 1"]),
        ("SELECT 1 WHERE a = 1 AND b BETWEEN 2 AND 3 LIMIT 4", ["a = 1", "b BETWEEN 2 AND 3"]),
        ("SELECT 1 WHERE a AND (b OR c) ORDER BY d", ["a", "(b OR c)", "b", "c"]),
        ("SELECT 1 FROM t JOIN u ON t.a = u.a WHERE b RETURNING c", ["t.a = u.a", "b"]),
        ("INSERT INTO t (a, b) VALUES (1, 2) ON CONFLICT DO NOTHING", []),
    ],
)
def test_a_condition_is_cut_into_its_parts(sql: str, parts: list[str]) -> None:
    all_ = tokens(sql)
    found = [sql[all_[first].start : all_[end - 1].end] for first, end, _ in operands(all_)]

    assert found == parts


# Slips


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("a < b", {"a <= b"}),
        ("a >= b", {"a > b"}),
        ("a = b", {"a <> b"}),
        ("a + b", {"a - b"}),
        ("min(a, b)", {"max(a, b)"}),
        ("a < 7", {"a <= 7", "a < 8", "a < (6)"}),
        ("a IS NULL", {"a IS NOT NULL"}),
        ("NOT a", {" a"}),
        ("a IN (b)", {"a NOT IN (b)"}),
        ("a NOT IN (b)", {"a  IN (b)"}),
        ("a BETWEEN b AND c", {"a NOT BETWEEN b AND c"}),
    ],
)
def test_a_condition_goes_wrong(right: str, wrong: set[str]) -> None:
    """Or it is left out, while its parameters keep their places."""
    wrong = wrong | {f"iif(1, 1, {right})"}

    assert became(f"SELECT a FROM t WHERE {right}") == {f"SELECT a FROM t WHERE {w}" for w in wrong}


def test_what_is_joined_by_and() -> None:
    assert slips("SELECT a FROM t WHERE b AND c BETWEEN d AND e") == {
        "b → iif(1, 1, b)",
        "AND → OR",
        "nothing → NOT",
        "c BETWEEN d AND e → iif(1, 1, c BETWEEN d AND e)",
    }


def test_the_parts_of_an_or_are_left_out_as_false() -> None:
    assert slips("SELECT a FROM t WHERE (b OR c)") == {
        "b → iif(1, 0, b)",
        "OR → AND",
        "c → iif(1, 0, c)",
        "(b OR c) → iif(1, 1, (b OR c))",
    }


def test_an_order_and_a_limit() -> None:
    assert became("SELECT a FROM t ORDER BY a, b LIMIT ?") == {
        "SELECT a FROM t  LIMIT ?",
        "SELECT a FROM t ORDER BY a DESC, b LIMIT ?",
        "SELECT a FROM t ORDER BY a, b LIMIT iif(1, -1, ?)",
        "SELECT a FROM t ORDER BY a, b LIMIT ? - 1",
    }
    assert "SELECT a FROM t ORDER BY a ASC" in became("SELECT a FROM t ORDER BY a DESC")


def test_what_is_counted_and_chosen() -> None:
    assert became("SELECT DISTINCT count(*), max(a) FROM t UNION ALL SELECT 1") == {
        "SELECT  count(*), max(a) FROM t UNION ALL SELECT 1",
        "SELECT DISTINCT (0 * count(*)), max(a) FROM t UNION ALL SELECT 1",
        "SELECT DISTINCT count(*), min(a) FROM t UNION ALL SELECT 1",
        "SELECT DISTINCT count(*), max(a) FROM t UNION  SELECT 1",
    }


def test_a_row_that_is_there() -> None:
    assert became("INSERT INTO t (a) VALUES (?) ON CONFLICT DO UPDATE SET a = excluded.a;") == {
        "INSERT OR IGNORE INTO t (a) VALUES (?) ON CONFLICT DO UPDATE SET a = excluded.a;",
        "INSERT INTO t (a) VALUES (?) ;",
        "INSERT INTO t (a) VALUES (?) ON CONFLICT DO NOTHING;",
        "INSERT INTO t (a) VALUES (?) ON CONFLICT DO UPDATE SET a <> excluded.a;",
        "INSERT INTO t (a) VALUES (?) ON CONFLICT DO UPDATE SET a = iif(1, a, excluded.a);",
    }
    assert became("INSERT OR REPLACE INTO t (a) VALUES (?)") == {
        "INSERT INTO t (a) VALUES (?)",
        "INSERT AND REPLACE INTO t (a) VALUES (?)",  # which SQLite does not take
    }


def test_a_column_that_keeps_its_value() -> None:
    found = became("UPDATE t SET a = max(?, 1), b = ? WHERE c")

    assert "UPDATE t SET a = iif(1, a, max(?, 1)), b = ? WHERE c" in found
    assert "UPDATE t SET a = max(?, 1), b = iif(1, b, ?) WHERE c" in found


# The store's own


def test_every_slip_changes_its_statement_where_it_says_so() -> None:
    """And no two are the same."""
    for statement in statements(ROOT):
        found = mutants(statement.sql)
        assert len({mutant.sql for mutant in found}) == len(found)
        for mutant in found:
            assert mutant.sql != statement.sql
            assert mutant.sql[: mutant.offset] == statement.sql[: mutant.offset]


def test_a_slip_stands_in_its_file_where_the_statement_was() -> None:
    for statement in statements(ROOT):
        right = (ROOT / statement.file).read_text("utf-8")
        assert right[statement.offset :].startswith(statement.sql)
        for mutant in mutants(statement.sql)[:1]:
            wrong = changed(ROOT, Case(statement, 1, mutant))
            assert wrong != right
            assert wrong.replace(mutant.sql, statement.sql, 1) == right
