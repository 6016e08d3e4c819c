"""The live feed: what happens, told to whoever watches, as it happens.

- `positions`: where a reader is, as text that it brings back.
- `messages`: what it is told, and how that is written (server-sent events).
- `news`, `deliveries`, `edited`, `rendering`: from what the store tells to messages.
- `views`: what readers see, and what waits for each of them.
- `feeds`: the store's changes, gathered and told; how all of it works stands there.
"""
