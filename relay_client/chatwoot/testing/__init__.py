"""A Chatwoot to test a bot against, as strict as the real one, in this process.

    async with open_trial() as trial, trial.running(reply) as bot:
        await trial.says("Oi!")
        await trial.rested(bot)
        assert trial.answers == ["Olá!"]

Below it is `FakeChatwoot`, with all that can be set up in one, and what can go wrong (`Fault`).
"""

from relay_client.chatwoot.testing.echoes import Posted
from relay_client.chatwoot.testing.fake import Call, FakeChatwoot, Fault, open_chatwoot
from relay_client.chatwoot.testing.trial import Trial, open_trial, shapes

__all__ = [
    "Call",
    "FakeChatwoot",
    "Fault",
    "Posted",
    "Trial",
    "open_chatwoot",
    "open_trial",
    "shapes",
]
