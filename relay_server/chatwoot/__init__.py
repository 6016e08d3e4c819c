"""Everything that talks to a Chatwoot: its API, how it is set up, what is wrong with it."""
