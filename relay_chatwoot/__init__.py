"""What server and bot both know of a Chatwoot, once: API, signature, the steps of a hand-off."""
