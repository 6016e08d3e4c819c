"""Each operator makes what it says, once, and leaves out what no test could notice."""

from __future__ import annotations

import pytest

from mutation.mutants import Mutant, mutants_of


def changes(source: str) -> list[tuple[str, str]]:
    """Which operator made what of the lines that it changed."""
    return [(m.operator, m.becomes) for m in mutants_of("module.py", source)]


def made_by(operator: str, source: str) -> list[str]:
    return [becomes for by, becomes in changes(source) if by == operator]


@pytest.mark.parametrize(
    ("operator", "source", "becomes"),
    [
        ("Number", "x = 10_000\n", ["x = 10001", "x = 9999"]),
        ("InOrNot", "x = a in b\n", ["x = a not in b"]),
        ("InOrNot", "x = a not in b\n", ["x = a in b"]),
        ("NegateGuard", "x = [a for a in b if a]\n", ["x = [a for a in b if not (a)]"]),
        ("Swap", "x = min(a, b)\n", ["x = max(a, b)"]),
        ("Swap", "x = a.popleft()\n", ["x = a.pop()"]),
        ("OtherName", "x = a['key']\n", ["x = a['key_other']"]),
        ("OtherName", "x = a['two words']\n", []),
        ("OtherName", "x = 'two words' 'more'\n", []),
        ("NoOperand", "x = a and b and c\n", ["x = b and c", "x = a and c", "x = a and b"]),
        ("NoOperand", "x = a or b\n", ["x = b", "x = a"]),
        ("ReplaceComparisonOperator_Lt_LtE", "x = a < b\n", ["x = a <= b"]),
        ("ReplaceComparisonOperator_Is_IsNot", "x = a is b\n", ["x = a is not b"]),
        ("ReplaceBinaryOperator_Add_Sub", "x = a + b\n", ["x = a - b"]),
        ("ReplaceTrueWithFalse", "x = True\n", ["x = False"]),
        ("ReplaceAndWithOr", "x = a and b\n", ["x = a or b"]),
        ("AddNot", "x = 1 if a else 2\n", ["x = 1 if not a else 2"]),
    ],
)
def test_an_operator_makes_what_it_says(operator: str, source: str, becomes: list[str]) -> None:
    assert made_by(operator, source) == becomes


def test_a_statement_is_left_out_where_that_tells_something() -> None:
    source = "def f(a):\n    b = 1\n    a.b = b\n    a.c()\n    return a\n"

    assert [m.line for m in mutants_of("m.py", source) if m.operator == "RemoveStatement"] == [
        "a.b = b",
        "a.c()",
        "return a",
    ]


def test_what_a_function_says_anyway_stays() -> None:
    assert made_by("RemoveStatement", "def f():\n    return None\n") == []


def test_each_exception_in_turn_is_not_caught() -> None:
    source = "try:\n    f()\nexcept (A, b.C):\n    g()\n"

    assert made_by("OtherException", source) == [
        "except (GeneratorExit, b.C):",
        "except (A, GeneratorExit):",
    ]


def test_the_guard_of_a_case_is_negated() -> None:
    source = "match a:\n    case B(c) if c:\n        f()\n"

    assert made_by("NegateGuard", source) == ["case B(c) if not (c):"]


@pytest.mark.parametrize(
    "source",
    [
        "def f(a: int | None, *, b: bool) -> set[int] | None: pass\n",
        "A: TypeAlias = int | str\n",
        "A = TypeVar('A')\n",
        "@dataclass(frozen=True, slots=True)\nclass A: pass\n",
        "assert a < 1 and b in c, 'never'\n",
    ],
)
def test_what_no_behaviour_tells_apart_is_left_alone(source: str) -> None:
    assert [made for made in changes(source) if made[0] != "RemoveDecorator"] == []


def test_a_decorator_goes_with_its_line_and_no_blank_one() -> None:
    source = "a = 1\n\n\n@cache\ndef f():\n    return a\n"

    made = [(m.line, m.becomes) for m in mutants_of("m.py", source)]

    assert ("@cache", "") in made


def test_no_two_mutants_say_the_same() -> None:
    """`not a < b` is `a >= b`: that is one mutant."""
    made = changes("x = 1 if a < b else 2\n")

    of_the_comparison = [m for m in made if m[0] != "Number"]
    assert of_the_comparison == [
        ("AddNot", "x = 1 if not a < b else 2"),
        ("ReplaceComparisonOperator_Lt_LtE", "x = 1 if a <= b else 2"),
    ]


def test_a_mutant_is_named_by_its_function_and_not_by_its_line() -> None:
    source = "class A:\n    def f(self):\n        return 1 < a\n"
    moved = f"\n\n{source}"

    (first, *_), (second, *_) = mutants_of("m.py", source), mutants_of("m.py", moved)

    assert isinstance(first, Mutant)
    assert first.function == "A.f"
    assert first.name == second.name
    assert (first.number, second.number) == (3, 5)
