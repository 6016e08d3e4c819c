"""What a bot for Chatwoot is made of."""
