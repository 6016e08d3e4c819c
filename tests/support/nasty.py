"""Events that would do harm, if a shell or a terminal took any of them for more than data."""

from __future__ import annotations

from relay_protocol.values import HeaderList, RequestHead
from relay_server.bodies.scripts import MAX_INLINE_BYTES, Sent

# Would make a file, if any of it were run.
RUN = "$(touch ran) `touch ran` ; touch ran & | touch ran > ran < ran && touch ran"
PLAIN: HeaderList = ((b"Content-Type", b"application/json"), (b"X-Twice", b"1"), (b"x-twice", b"2"))
JSON = b'{"content": "Ol\xc3\xa1 \xf0\x9f\x8e\x89"}'


def sent(
    body: bytes = JSON,
    *,
    target: str = "/webhook?a=%2F&b[]=1",
    headers: HeaderList = PLAIN,
    method: str = "POST",
) -> Sent:
    own = ((b"Host", b"relay.example.com"), *headers, (b"Content-Length", b"%d" % len(body)))
    request = RequestHead(method, target, own, "203.0.113.9", "https")
    return Sent("evt_01f0c6a2-7b1e-7c3d-8e4f-0123456789ab", request, body)


NASTY = {
    "ordinary": sent(),
    "single quotes": sent(b"it's 'quoted' ''twice'' '"),
    "double quotes": sent(b'say "hi" \\" \\\\'),
    "commands": sent(RUN.encode()),
    "a quote that ends, and commands": sent(f"'; {RUN}; '".encode()),
    "variables": sent(b"$HOME ${TARGET} $$ $? !! !$ ~ * ? [a] {a,b}"),
    "newlines": sent(b"a\nb\r\nc\n\n"),
    "the end of a here-document": sent(b"a\nEND\ntouch ran\n\x00"),
    "NUL": sent(b"a\x00b"),
    "escape sequences": sent(b"\x1b[2J\x1b]0;title\x07\x9b31m"),
    "no UTF-8": sent(bytes(range(256))),
    "bidi": sent("a\u202e\u2066b".encode()),
    "what curl takes for a file": sent(b"@/etc/passwd"),
    "what zsh takes for a command": sent(b"=ls"),
    "an option": sent(b"--output ran"),
    "no body": sent(b""),
    "long": sent(b"x" * (MAX_INLINE_BYTES + 1) + b"'"),
    "half a megabyte": sent(b"0123456789abcdef" * 32_768),
    "a path": sent(target="/a'b/$(touch%20ran)/`id`/%00/./c?q='\"&x=$HOME;touch+ran"),
    "header values": sent(
        headers=(
            (b"X-Quote", b'it\'s "quoted" \\ $(touch ran) `touch ran`'),
            (b"X-Empty", b""),
            (b"X-Sign", b"=@:;"),
            (b"X-At", b"@/etc/passwd"),
            (b"X-Back", b"a\\:b\\"),
            (b"X-Tab", b"a\tb"),
            (b"X-Utf8", "Olá 🎉".encode()),
        )
    ),
    "header names": sent(headers=((b"!#$%&'*+.^_`|~-X", b"1"), (b"-x", b"2"))),
    "another method": sent(method="PATCH"),
    "a question": Sent("evt_1", RequestHead("GET", "/status?x=1", ((b"Accept", b"a/b"),)), b""),
    "a question for the head": Sent("evt_1", RequestHead("HEAD", "/", ()), b""),
}
