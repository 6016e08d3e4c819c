"""The pages' style sheet, script and marks, under names that change with them: kept for ever.

The modules in `static/` are joined to one script, in the order in which they build on each other:
a page is then four requests and not nine. They are modules for whoever reads and checks them.
"""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

FOLDER = Path(__file__).parent / "static"
PATH = "/assets"
MODULES = (
    "dom",
    "time",
    "copy",
    "rows",
    "feed",
    "keys",
    "login",
    "edit",
    "app",
)  # joined in this order
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
HEADERS = {"Cache-Control": "public, max-age=31536000, immutable"}
HASH_CHARS = 12  # of a digest, in the name of a style sheet or script


@dataclass(frozen=True, slots=True)
class Assets:
    """What is served, by the name that holds its digest, and that name by the plain one."""

    by_path: dict[str, tuple[str, bytes]]
    names: dict[str, str]

    def url(self, name: str) -> str:
        """Where one is."""
        return f"{PATH}/{self.names[name]}"


@functools.cache
def assets() -> Assets:
    """All of them, read once."""
    found = {
        "app.css": (FOLDER / "app.css").read_bytes(),
        "marks.svg": (FOLDER / "marks.svg").read_bytes(),
        "app.js": _joined(),
    }
    names = {name: _named(name, content) for name, content in found.items()}
    by_path = {names[n]: (TYPES[Path(n).suffix], content) for n, content in found.items()}
    return Assets(by_path, names)


@functools.cache
def sentences() -> frozenset[str]:
    """What the script says, in English."""
    return frozenset(re.findall(r'\b_\("([^"]+)"', _joined().decode()))


async def serve_asset(request: web.Request) -> web.Response:
    """`GET /assets/NAME`."""
    found = assets().by_path.get(request.match_info["name"])
    if found is None:
        raise web.HTTPNotFound
    kind, content = found
    response = web.Response(body=content, headers=HEADERS, content_type=kind, charset="utf-8")
    response.enable_compression()
    return response


def _joined() -> bytes:
    parts = [(FOLDER / f"{name}.js").read_text("utf-8") for name in MODULES]
    text = re.sub(r"^import .*;\n", "", "\n".join(parts), flags=re.MULTILINE)
    return re.sub(r"^export ", "", text, flags=re.MULTILINE).encode()


def _named(name: str, content: bytes) -> str:
    stem, _, suffix = name.rpartition(".")
    return f"{stem}.{hashlib.sha256(content).hexdigest()[:HASH_CHARS]}.{suffix}"
