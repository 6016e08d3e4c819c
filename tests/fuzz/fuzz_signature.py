"""Any signature and timestamp: `signature LF timestamp LF body`; `@` is the right signature."""

from __future__ import annotations

import hashlib
import hmac
import re

from relay_server.errors import Unauthorized
from relay_server.signing import SCHEMES, SIGNATURE_TOLERANCE_S, verify
from relay_server.signing.scheme import Request
from tests.fuzz.running import run

SECRET = b"secret"
NOW_S = 1_783_000_810.5
STAMP = re.compile(rb"[0-9]{1,12}")


def consider(data: bytes) -> None:
    """It fits where a second reading of the rule has it fit, and nowhere else."""
    given, _, rest = data.partition(b"\n")
    stamp, _, body = rest.partition(b"\n")
    right = hmac.new(SECRET, stamp + b"." + body, hashlib.sha256).hexdigest().encode()
    signature = given.replace(b"@", right)
    in_time = bool(STAMP.fullmatch(stamp)) and abs(NOW_S - int(stamp)) <= SIGNATURE_TOLERANCE_S
    fields = {b"x-chatwoot-signature": signature, b"x-chatwoot-timestamp": stamp}
    sent = Request("", lambda name: fields.get(name, b""), body)
    try:
        verify(SCHEMES["chatwoot"], [b"old", SECRET], sent, NOW_S)
    except Unauthorized:
        assert not (in_time and signature in (right, b"sha256=" + right))
    else:
        assert in_time
        assert signature in (right, b"sha256=" + right)


if __name__ == "__main__":
    run(consider)
