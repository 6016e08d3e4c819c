"""A command's beginning and end, with an error of each kind, as a person and a program meet it."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Annotated

import pytest
import typer

from relay_protocol.errors import RelayError
from relay_terminal.program import confirmed, run_program
from relay_terminal.usage import App, Filtering, Old

app = App("Does a thing.")
group = App("More things.")
app.add_typer(group, name="more")


class Trouble(RelayError, code="trouble"):
    hint = "Do something else."


@app.command()
def work(
    name: Annotated[str, typer.Argument(help="Its name.")],
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 5,
    rate: Annotated[float, typer.Option(max=9.5, help="How fast.")] = 1,
    file: Annotated[Path | None, typer.Option(help="A file.")] = None,
    key: Annotated[
        str, typer.Option("--conversation", Old("--key"), metavar="KEY", help="Of which one.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    """Do it.

    And more of that.
    """
    confirmed(f"Do {name}?", yes=yes)
    if name == "trouble":
        raise Trouble("it is\x1b[2Jbroken")
    if name == "wrong":
        raise typer.BadParameter("say which events")
    typer.echo(f"{name} {limit} {key}")


@app.command(cls=Filtering)
def find(
    words: Annotated[list[str] | None, typer.Argument(help="Which.")] = None,
    filter: Annotated[str, typer.Option("--filter", help="The same.")] = "",  # noqa: A002
    limit: Annotated[int, typer.Option(help="How many.")] = 5,
) -> None:
    """Find it."""
    typer.echo(f"{words} {filter} {limit}")


@group.command()
def again(yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Do it again."""
    confirmed("Again?", yes=yes)


def run(
    line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, said: str = ""
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["thing", *line.split()])
    monkeypatch.setattr(sys, "stdin", io.StringIO(said))
    with pytest.raises(SystemExit) as ended:
        run_program("thing", app, lambda _: 7)
    return (int(ended.value.code or 0), *capsys.readouterr())


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ("work trouble", 7, "Error: it is\ufffd[2Jbroken\nDo something else.\n"),
        ("work", 2, "Error: NAME must be given\nthing work --help says what it takes.\n"),
        ("work wrong", 2, "Error: say which events\n"),
        ("work x --limit 0", 2, "Error: --limit: must be at least 1\n"),
        ("work x --limit one", 2, "Error: --limit: must be a whole number\n"),
        ("work x --rate 10", 2, "Error: --rate: must be at most 9.5\n"),
        ("work x --rate fast", 2, "Error: --rate: must be a number\n"),
        ("work x --limit", 2, "Error: --limit needs a value\n"),
        ("work x --yes=1", 2, "Error: --yes takes no value\n"),
        ("work x --limt 5", 2, "Error: there is no option --limt. Did you mean --limit?\n"),
        ("work x --tail 5", 2, "Error: there is no option --tail\n"),
        ("work x y", 2, "Error: y is more than it takes\n"),
        ("wrok", 2, "Error: there is no command wrok. Did you mean work?\n"),
        ("more nothing", 2, "Error: there is no command nothing\nthing more --help says"),
    ],
)
def test_what_is_wrong_is_said_in_two_lines(
    line: str,
    status: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What happened, what to do; not in the words of a library."""
    found, out, err = run(line, capsys, monkeypatch)
    assert (found, out) == (status, "")
    assert err.startswith(said)
    assert err.count("\n") <= 2


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "find -is:private from:human -has:x --limit 2",
            "['-is:private', 'from:human', '-has:x']  2",
        ),
        ("find --filter -from:human", "None -from:human 5"),
        ("find a -- -b", "['a', '-b']  5"),
    ],
)
def test_a_word_of_a_filter_may_begin_with_a_dash(
    line: str,
    expected: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever letters it has: `-h` alone is the option."""
    assert run(line, capsys, monkeypatch) == (0, f"{expected}\n", "")


def test_an_option_that_a_command_with_a_filter_does_not_have(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _status, _out, err = run("find -is:private --limt 5", capsys, monkeypatch)
    assert err.startswith("Error: there is no option --limt. Did you mean --limit?")


@pytest.mark.parametrize(
    ("line", "status", "code"), [("work trouble", 7, "trouble"), ("work x --limit 0", 2, "usage")]
)
def test_a_program_gets_an_error_as_json(
    line: str,
    status: int,
    code: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, out, err = run(f"{line} --json", capsys, monkeypatch)
    assert (found, err) == (status, "")
    error = json.loads(out)["error"]
    assert error["code"] == code
    assert set(error) == {"code", "message", "hint"}


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        ("y\n", 0, "Again? [y/N]: "),
        ("YES\n", 0, "Again? [y/N]: "),
        ("n\n", 1, "Nothing was done."),
        ("\n", 1, "Nothing was done."),
        ("", 7, "Error: nobody is here to answer\n--yes does it without asking."),
    ],
)
def test_a_question(
    answer: str,
    status: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`nobody_answered` names the option that needs no answer."""
    found, out, err = run("more again", capsys, monkeypatch, answer)
    assert (found, out) == (status, "")
    assert said in err


@pytest.mark.parametrize("line", ["", "-h", "--help", "work -h", "more", "more again --help"])
@pytest.mark.parametrize("columns", ["60", "80", "120"])
def test_helps(
    line: str,
    columns: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A command alone shows it as well; lines fit, and nothing of Python's is in them."""
    monkeypatch.setenv("COLUMNS", columns)
    status, out, err = run(line, capsys, monkeypatch)
    assert (status, err) == (0, "")
    assert out.startswith("Usage: thing")
    assert "-h, --help" in out
    assert max(map(len, out.splitlines())) <= int(columns)
    assert not any(word in out for word in ("<bool>", "list[", "{name}", "--key", "RANGE"))


def test_what_a_help_tells(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = run("work --help", capsys, monkeypatch)[1].splitlines()
    assert lines[:7] == [
        "Usage: thing work [OPTIONS] NAME",
        "",
        "Do it.",
        "",
        "And more of that.",
        "",
        "Arguments:",
    ]
    assert "  --conversation KEY  Of which one." in lines
    assert "  --file FILE         A file." in lines


def test_an_old_spelling_works(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("work x --key 42", capsys, monkeypatch) == (0, "x 5 42\n", "")
