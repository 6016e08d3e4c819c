"""Which events are meant: one language for lists, search, the feed, replays and subscriptions.

- `facts`: what a Chatwoot webhook says of itself, and its text.
- `document`: an event as a filter sees it; each of its sides is worked out once, if asked for.
- `language`: the words of a filter, what they mean, and what is said of one that cannot be.

Pure: no store, no clock. What only deliveries can answer (`is:dead`, `status:5xx`) is parsed here,
and evaluated by whoever has them.
"""
