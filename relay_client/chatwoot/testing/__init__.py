"""A Chatwoot to test a bot against, as strict as the real one, in this process.

async with open_chatwoot(echoing=True) as chatwoot:
bot = chatwoot.add_bot(9, url="http://localhost:8000/webhook", inbox=4)
chatwoot.add_conversation(318)
await chatwoot.customer_says(318, "Oi!")
…
assert chatwoot.answers(318) == ["Olá!"]
"""

from relay_client.chatwoot.testing.echoes import Posted
from relay_client.chatwoot.testing.fake import Call, FakeChatwoot, Fault, open_chatwoot

__all__ = ["Call", "FakeChatwoot", "Fault", "Posted", "open_chatwoot"]
