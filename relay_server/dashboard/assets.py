"""The pages' style sheet, script and marks, under names that change with them: kept for ever.

The modules in `static/` are joined to one script, in the order in which they build on each other:
a page is then four requests and not nine. They are modules for whoever reads and checks them; what
browsers get is minified, two thirds of it.

Each is compressed once. No browser asks for one again: its name is its digest, so that there is
nothing to compare an ETag with.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from aiohttp import web
from rjsmin import jsmin

FOLDER = Path(__file__).parent / "static"
PATH = "/assets"
MODULES = (
    "dom",
    "time",
    "copy",
    "kept",
    "press",
    "status",
    "stream",
    "feed",
    "menus",
    "hints",
    "choose",
    "rate",
    "row",
    "rows",
    "away",
    "pane",
    "keys",
    "login",
    "theme",
    "changes",
    "json",
    "send",
    "edit",
    "talk",
    "app",
)  # joined in this order
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
HEADERS = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
HASH_CHARS = 12  # of a digest, in the name of a style sheet or script


class Asset(NamedTuple):
    """Something that is served: its media type, its bytes, and the same for who takes gzip."""

    type: str
    content: bytes
    compressed: bytes


@dataclass(frozen=True, slots=True)
class Assets:
    """What is served, by the name that holds its digest, and that name by the plain one."""

    by_path: dict[str, Asset]
    names: dict[str, str]

    def url(self, name: str) -> str:
        """Where one is."""
        return f"{PATH}/{self.names[name]}"


@functools.cache
def assets() -> Assets:
    """All of them, read once."""
    marks = (FOLDER / "marks.svg").read_bytes()
    style = (FOLDER / "app.css").read_bytes()
    found = {
        "app.css": style.replace(b"marks.svg", _named("marks.svg", marks).encode()),
        "marks.svg": marks,
        "app.js": _joined(),
    }
    names = {name: _named(name, content) for name, content in found.items()}
    by_path = {
        names[name]: Asset(TYPES[Path(name).suffix], content, gzip.compress(content, mtime=0))
        for name, content in found.items()
    }
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
    packed = "gzip" in request.headers.get("Accept-Encoding", "")
    response = web.Response(
        body=found.compressed if packed else found.content,
        headers=HEADERS,
        content_type=found.type,
        charset="utf-8",
    )
    if packed:
        response.headers["Content-Encoding"] = "gzip"
    return response


def _joined() -> bytes:
    parts = [(FOLDER / f"{name}.js").read_text("utf-8") for name in MODULES]
    text = re.sub(r"^import .*;\n", "", "\n".join(parts), flags=re.MULTILINE)
    code: str = jsmin(re.sub(r"^export ", "", text, flags=re.MULTILINE))
    return code.encode()


def _named(name: str, content: bytes) -> str:
    stem, _, suffix = name.rpartition(".")
    return f"{stem}.{hashlib.sha256(content).hexdigest()[:HASH_CHARS]}.{suffix}"
