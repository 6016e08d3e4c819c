"""The demo: server, client and a receiver as processes, and a webhook that goes through them."""
