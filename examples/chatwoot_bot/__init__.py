"""A small bot for `localhost:8000/webhook` that answers Chatwoot's customers."""
