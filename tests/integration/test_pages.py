"""Every page, run as it is written: its commands in their order, in one shell, with a real relay.

Addresses, ids and tokens of a page stand for those of the sandbox; docker and pip do nothing there,
but for what they are to run. A block that cannot run says why, in a comment that no reader sees:
`<!-- not run: why -->`.

A translation has the blocks of its page, as `tests/unit/test_docs.py` sees to: they are run once.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from tests.support.sandbox import ROOT, Sandbox

PAGES = ["README.md", "docs/tutorial/*.md", "docs/how-to/*.md", "docs/reference/*.md"]
BLOCK = re.compile(
    r"(?P<unrun><!-- not run: (?P<why>[^>]+) -->\n+)?"
    r"^(?P<indent> *)```(?P<language>sh|console)\n(?P<text>.*?)^ *```",
    re.MULTILINE | re.DOTALL,
)
WHOLE_PAGE = re.compile(r"\A<!-- no block is run: (?P<why>[^>]+) -->")
WITHOUT_SERVER = ("relay-server restore", "relay-server store rebuild")
MOST_UNRUN = 15  # blocks and pages, of all that there are
# What these end with, otherwise than with 0, is what a reader gets as well.
ANSWERS = {
    "replay --first 1200": "there are not as many",
    "relay-client replay --dead": "nothing is dead of the one who is logged in",
    "give-up": "the event is not tried any more",
}
# A reply of the reader's, and a customer who waited for it.
GIVEN_A_BOT = """
relay-client bot new padaria >/dev/null
cp padaria/bot.py .
curl --output "$SANDBOX/id" --data-binary @padaria/message.json $URL/webhook
"""
# A relay with three subscriptions; to that of maria, who is away, everything is dead.
GIVEN = """
relay-server init >/dev/null
relay-server channel set chatwoot --retry-delays none --other-tries 1 >/dev/null
relay-server serve
URL=http://relay:$(cat "$SANDBOX/first")@127.0.0.1:$RELAY_SERVER_PORT
relay-server token create developer2 --scope admin --scope send >/dev/null
export TOKEN=$(cat "$SANDBOX/last")
relay-client login http://127.0.0.1:$RELAY_SERVER_PORT >/dev/null
maria() { relay-client connect --to localhost:$BROKEN --as maria; }
maria
maria_pid=$(tail -1 "$SANDBOX/pids")
for name in maria-desktop developer2; do
    relay-client connect --to localhost:$TARGET --as $name
done
for name in message_created_incoming message_updated message_created_incoming contact_created; do
    curl --output "$SANDBOX/id" --data-binary @relay_chatwoot/samples/$name.json $URL/webhook
done
until relay-server dead list --subscription maria | grep -q contact_created; do sleep 0.1; done
kill -TERM "$maria_pid"
again() {  # what a page deletes is there for what it does next
    curl --unix-socket "$RELAY_SERVER_DATA_DIR/control.sock" --output "$SANDBOX/id" \\
        http://relay/api/v1/channels/chatwoot/subscriptions/maria && return
    maria
    kill -TERM "$(tail -1 "$SANDBOX/pids")"
}
echo '{"event": "message_created", "content": "refund"}' > changed.json
for name in secret old new; do echo "$name-of-the-sender" > $name.txt; done
"""


def blocks(page: Path) -> list[tuple[str, str]]:
    """A page's commands, and why they are not run; empty where they are."""
    text = page.read_text("utf-8")
    whole = WHOLE_PAGE.match(text)
    why = whole["why"] if whole else ""
    return [(commands(one), one["why"] or why) for one in BLOCK.finditer(text)]


def commands(block: re.Match[str]) -> str:
    """What a reader types: of a `console` block what stands behind a prompt, and what goes on."""
    if block["language"] == "sh":
        return block["text"]
    return re.sub(r"^[$#] ", "", block["text"], flags=re.MULTILINE)


FOUND = {
    str(page.relative_to(ROOT)): blocks(page)
    for pattern in PAGES
    for page in sorted(ROOT.glob(pattern))
    if not page.name.endswith(".pt-BR.md")
}
RUN = {page: found for page, found in FOUND.items() if any(not why for _, why in found)}


@pytest.mark.parametrize("page", RUN)
async def test_every_command_of_a_page_runs_as_written(page: str, sandbox: Sandbox) -> None:
    is_begun_there = any("relay-server init" in text for text, _ in RUN[page])
    script = "" if is_begun_there else GIVEN
    for command in ("channel create support", "token create maria --scope subscribe"):
        if script and not any(command in text for text, _ in RUN[page]):
            script += f"relay-server {command} >/dev/null\n"
    if any("bot.py:reply" in text for text, _ in RUN[page]):
        script += GIVEN_A_BOT
    for number, (text, why) in enumerate(RUN[page]):
        if not why:
            before = "newest" if is_begun_there else "newest; again || :"
            is_stopped = any(command in text for command in WITHOUT_SERVER)  # as the page has it
            before += "; stop" if is_stopped else ""
            script += f"\necho '--- block {number}'; {before}\n{sandbox.mapped(text)}"

    done = await asyncio.to_thread(sandbox.run, script)

    failed = sandbox.folder / "failed"
    lines = failed.read_text().splitlines() if failed.exists() else []
    unexpected = [line for line in lines if not any(known in line for known in ANSWERS)]
    assert not unexpected, "\n".join([*unexpected, "", done.stdout])
    assert "Traceback" not in done.stdout


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    unrun = {(page, why) for page, found in FOUND.items() for _, why in found if why}
    assert len(unrun) <= MOST_UNRUN, unrun
    assert all(len(why) > 10 for _, why in unrun)
