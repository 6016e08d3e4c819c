"""The documentation says what the code does: generated pages, protocol, API, limits, links."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import cast, get_args

import msgspec
import pytest
from aiohttp import web

from relay_protocol.messages import ClientMessage, CloseCode, ServerMessage
from relay_protocol.values import FailureKind
from relay_server.dashboard import pages
from relay_server.listening import control_app, ops_app, public_app
from relay_server.live.messages import MESSAGES as MESSAGES_OF_FEED
from relay_server.web.context import Context
from relay_server.web.ingest import is_webhook

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
IGNORED_FOLDERS = {
    *(".venv", ".venv-adapters", ".git", ".hypothesis", ".pytest_cache"),
    *("node_modules", "build", "dist"),
}


def load_generator() -> ModuleType:
    """`docs/generate.py`, which is in no package."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = load_generator()
PAGES: dict[Path, str] = GENERATOR.pages()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_generated_page_is_what_the_code_gives(path: Path) -> None:
    """A setting, command, error or metric that changes takes its page along."""
    assert path.read_text("utf-8") == PAGES[path], "run: make docs"


def test_a_limit_says_of_what_it_is() -> None:
    """In a comment behind it or above: the page of limits is made from these."""
    assert GENERATOR.undocumented_limits() == []


def messages(union: object) -> list[type[msgspec.Struct]]:
    return list(get_args(union))


MESSAGES = sorted(
    {*messages(ClientMessage), *messages(ServerMessage)}, key=lambda message: message.__name__
)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.__name__)
def test_the_wire_protocol_page_has_every_message_and_field(message: type[msgspec.Struct]) -> None:
    """Each message has a section that names each of its fields."""
    tag = message.__struct_config__.tag
    sections = (REFERENCE / "wire-protocol.md").read_text("utf-8").split("\n#")
    mine = "".join(s for s in sections if re.match(rf"## `{tag}`", s))

    assert mine, f"no section `{tag}`"
    assert [f for f in message.__struct_fields__ if f"`{f}`" not in mine] == []


@pytest.mark.parametrize("name", MESSAGES_OF_FEED)
def test_the_feed_page_has_every_message_and_field(name: str) -> None:
    sections = (REFERENCE / "feed.md").read_text("utf-8").split("\n#")
    mine = "".join(s for s in sections if s.startswith(f"## `{name}`"))

    fields = msgspec.structs.fields(MESSAGES_OF_FEED[name])
    assert [f.encode_name for f in fields if f"`{f.encode_name}`" not in mine] == []


def test_the_wire_protocol_page_has_every_close_code() -> None:
    """With its number and name, and no other than there are."""
    text = (REFERENCE / "wire-protocol.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d{4}) \| `(\w+)` \|", text, re.MULTILINE)

    assert [(int(number), name) for number, name in rows] == [(c.value, c.name) for c in CloseCode]


def test_the_wire_protocol_page_has_every_kind_of_failure() -> None:
    """Programs that read `--output json` meet them."""
    text = (REFERENCE / "wire-protocol.md").read_text("utf-8")

    assert [kind for kind in FailureKind if f"| `{kind}` |" not in text] == []


def routes() -> set[str]:
    """Every method and path that the server answers beside webhooks, as the page writes them."""
    context = cast(Context, None)  # the applications only hand it on
    found = set()
    for app in (public_app(context), ops_app(context), control_app(context)):
        for route in app.router.routes():
            assert isinstance(route.resource, web.Resource)
            method = "ANY" if route.method == "*" else route.method
            found.add(f"{method} {route.resource.canonical}")
    return {route for route in found if not route.startswith("HEAD ")}


def test_the_http_api_page_has_every_route() -> None:
    """And none that does not exist; webhooks go by their paths' beginnings, not by a router."""
    text = (REFERENCE / "http-api.md").read_text("utf-8")
    written = set(re.findall(r"^\| `([A-Z]+ /[^`]*)` \|", text, re.MULTILINE))
    webhooks = {row for row in written if row.startswith("ANY ")}

    assert written - webhooks == {route for route in routes() if not is_page(route)}
    assert webhooks == {"ANY /webhook{rest}", "ANY /c/{channel}/{path}", "ANY /c/{channel}"}
    assert all(is_webhook(row.removeprefix("ANY ").encode()) for row in webhooks)


def is_page(route: str) -> bool:
    return route in {f"{page.method} {path_of(page)}" for page in pages.routes}


def path_of(page: web.RouteDef) -> str:
    return re.sub(r":[^}]+", "", page.path)  # which names there may be


def test_the_dashboard_page_has_every_page() -> None:
    text = (REFERENCE / "dashboard.md").read_text("utf-8")
    written = set(re.findall(r"`((?:GET|POST) /[^`]*)`", text)) - {"GET /api/v1/sessions"}

    assert written == {f"{page.method} {path_of(page)}" for page in pages.routes}


def test_every_error_code_is_provoked_by_a_test() -> None:
    """Some test names the code, or the class of that name."""
    codes = re.findall(r"^\| `(\w+)` \|", PAGES[REFERENCE / "errors.md"], re.MULTILINE)
    files = ROOT.glob("tests/**/test_*.py")
    words = {word for file in files for word in re.findall(r"\w+", file.read_text("utf-8"))}
    names = {code: code.title().replace("_", "") for code in codes}

    assert [code for code, name in names.items() if not {code, name, f"{name}Error"} & words] == []


@pytest.mark.parametrize("file", sorted((ROOT / "docs/adr").iterdir()), ids=lambda f: f.name)
def test_a_decision_has_a_status_and_a_date_and_is_listed(file: Path) -> None:
    title, status, *_ = file.read_text("utf-8").split("\n\n")

    assert title.startswith(f"# {file.name[:4]}: ")
    assert re.fullmatch(r"(Accepted|Superseded by .+), \d{4}-\d\d-\d\d\.( .+)?", status, re.DOTALL)
    assert f"](adr/{file.name})" in (ROOT / "docs/README.md").read_text("utf-8")


def test_what_was_sent_that_nobody_would_send_has_its_test() -> None:
    """Each test that the page names is there; a name without a file is in the one before it."""
    page = (ROOT / "docs/explanation/hostile-input.md").read_text("utf-8")
    file, missing = Path(), []
    for path, test in re.findall(r"`((?:tests/[\w/]+/)?test_\w+\.py)?(?:::(\w+))?`", page):
        if path:
            file = ROOT / path if "/" in path else ROOT / "tests/unit/server" / path
        if test and f"def {test}(" not in file.read_text("utf-8"):
            missing.append(f"{file.name}::{test}")

    assert missing == []


def markdown_files() -> list[Path]:
    files = ROOT.rglob("*.md")
    return sorted(f for f in files if not IGNORED_FOLDERS & set(f.relative_to(ROOT).parts))


def without_code(text: str) -> str:
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(file: Path) -> set[str]:
    """What headings are called in links, by GitHub's rules."""
    headings = re.findall(r"^#+ (.+)$", without_code(file.read_text("utf-8")), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("file", markdown_files(), ids=lambda f: str(f.relative_to(ROOT)))
def test_relative_links_lead_somewhere(file: Path) -> None:
    """To a file that exists, and a heading that it has."""
    text = re.sub(r"`[^`\n]*`", "", without_code(file.read_text("utf-8")))
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        there = (file.parent / path).resolve() if path else file
        if not there.exists() or (anchor and anchor not in anchors(there)):
            dead.append(link)

    assert dead == []


TRANSLATED = [file for file in markdown_files() if file.name.endswith(".pt-BR.md")]


def code_blocks(text: str) -> list[str]:
    """What can be pasted; of what a screen shows that there is some."""
    blocks: list[str] = re.findall(r"^ *```.*?^ *```", text, re.MULTILINE | re.DOTALL)
    return ["```text" if block.startswith("```text") else block for block in blocks]


def headings(text: str) -> list[int]:
    """The levels of its headings, in order."""
    return [len(m) for m in re.findall(r"^(#+) ", without_code(text), re.MULTILINE)]


@pytest.mark.parametrize("portuguese", TRANSLATED, ids=lambda file: file.name)
def test_both_languages_have_the_same_code_and_headings(portuguese: Path) -> None:
    """The translation is kept true: what can be pasted is the same in both."""
    english = portuguese.with_name(portuguese.name.replace(".pt-BR", ""))
    pages = [file.read_text("utf-8") for file in (english, portuguese)]

    assert code_blocks(pages[0]) == code_blocks(pages[1])
    assert headings(pages[0]) == headings(pages[1])
    if portuguese.parent != ROOT:
        assert f"[Em português]({portuguese.name})" in pages[0]
        assert f"[In English]({english.name})" in pages[1]


def test_whoever_reads_a_translation_is_led_to_others() -> None:
    """Its links lead to pages in its language, where there are such."""
    for file in TRANSLATED:
        text = re.sub(r"\[(In )?English\]\(.*?\)", "", file.read_text("utf-8"))
        links = {(file.parent / link).resolve() for link in re.findall(r"\]\(([^)#]+\.md)", text)}
        assert not links & {one.with_name(one.name.replace(".pt-BR", "")) for one in TRANSLATED}
