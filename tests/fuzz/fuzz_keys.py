"""Any body: what it is ordered by, as a channel of Chatwoot's and by a JSON pointer.

The first line is the pointer, the rest the body.
"""

from __future__ import annotations

from relay_server.channels import MAX_KEY_CHARS, MAX_KIND_CHARS, identify
from relay_server.configs import ChannelConfig, SenderKind
from tests.fuzz.running import run


def consider(data: bytes) -> None:
    """Whatever a sender writes has a key and a kind, which can be stored and shown."""
    line, _, body = data.partition(b"\n")
    pointer = "/" + line.decode("utf-8", "replace").removeprefix("/")
    for config in (
        ChannelConfig(sender=SenderKind.CHATWOOT),
        ChannelConfig(sender=SenderKind.OTHER, key_pointer=pointer),
        ChannelConfig(sender=SenderKind.CHATWOOT, key_pointer=pointer),
    ):
        key, kind = identify(config, body)
        assert len(key) <= MAX_KEY_CHARS
        assert len(kind) <= MAX_KIND_CHARS
        key.encode()
        kind.encode()


if __name__ == "__main__":
    run(consider)
