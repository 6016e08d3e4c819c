"""The page of ten minutes as its reader goes through it: install, run, connect, write."""

from __future__ import annotations

from pathlib import Path

from relay_client.chatwoot.testing import open_chatwoot
from tests.support.processes import CLIENT, Running, free_port, run
from tests.support.relay import Relay
from tests.support.waiting import until

ANSWER = "Hello João Gonçalves da Conceição! 👋 I am an example bot. I got “Oi!”."


async def test_a_customer_is_answered_through_the_relay_and_gets_a_person(
    relay: Relay, tmp_path: Path
) -> None:
    """What Chatwoot signs is good to relay and bot alike, and nobody answers its echoes."""
    project = tmp_path / "padaria"
    assert run([CLIENT, "bot", "new", project], {}).returncode == 0
    async with open_chatwoot(echoing=True) as chatwoot:
        (tmp_path / "token").write_text(chatwoot.ADMIN)
        told = ("--url", chatwoot.url, "--account", "2", "--token-file", str(tmp_path / "token"))
        where = ("--relay-url", relay.url, "--private-address", "--yes")
        await relay.said("chatwoot", "install", *told, *where, "--bot", "--inbox", "4")
        [made] = chatwoot.bots.values()
        assert "relay:" not in made["outgoing_url"]

        port = free_port()
        bot = Running(
            (CLIENT, "bot", "run", f"{project / 'bot.py'}:reply", "--port", str(port)),
            project / "bot",
            {
                "CHATWOOT_URL": chatwoot.url,
                "CHATWOOT_TOKEN": made["access_token"],
                "CHATWOOT_WEBHOOK_SECRET": made["secret"],
                "BOT_LEDGER": str(project / "bot.db"),
                "BOT_BURST_SECONDS": "0.1",
            },
        )
        relay.processes.append(bot)
        await until(lambda: "Answers go to" in bot.output)
        await relay.connect(await relay.make_token("ana", "subscribe"), "--to", f"127.0.0.1:{port}")

        chatwoot.add_conversation(318)
        await chatwoot.customer_says(318, "Oi!")
        await until(lambda: chatwoot.answers(318) == [ANSWER])
        await chatwoot.customer_says(318, "quero falar com um humano")
        await until(lambda: 318 in chatwoot.handed_off)

    assert len(chatwoot.answers(318)) == 2
