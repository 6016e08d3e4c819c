"""The pages' style sheet, script and marks, under names that change with them: kept for ever.

The modules in `static/` are joined to one script, in the order in which they build on each other:
a page is then four requests and not nine. What one page alone needs is a script of its own there,
which imports from that one. They are modules for whoever reads and checks them; what browsers get
is minified, two thirds of it.

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
SHARED = "app.js"  # the script of all pages
SCRIPTS = {  # modules of each, joined in this order
    SHARED: (
        "dom",
        "time",
        "load",
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
        "theme",
        "keys",
        "login",
        "talk",
        "talks",
        "app",
    ),
    "edit.js": ("changes", "json", "send", "edit"),
}
IMPORT = re.compile(r'^import (?:{ (.+) } from )?"\./(\w+)\.js";\n', re.MULTILINE)
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
        SHARED: _joined(SHARED),
    }
    at = _named(SHARED, found[SHARED])
    found |= {name: _joined(name, f"./{at}") for name in SCRIPTS if name != SHARED}
    names = {name: _named(name, content) for name, content in found.items()}
    by_path = {
        names[name]: Asset(TYPES[Path(name).suffix], content, gzip.compress(content, mtime=0))
        for name, content in found.items()
    }
    return Assets(by_path, names)


@functools.cache
def sentences() -> frozenset[str]:
    """What the scripts say, in English."""
    said = (re.findall(r'\b_\("([^"]+)"', _joined(name).decode()) for name in SCRIPTS)
    return frozenset().union(*said)


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


def _joined(script: str, shared: str = "") -> bytes:
    """The modules of a script as one; what others want of those of all pages, these export."""
    text = "\n".join(map(_module, SCRIPTS[script]))
    if script == SHARED:
        text += f"\nexport {{{', '.join(sorted(_wanted()))}}};"
    text = re.sub(r"^export (?!{)", "", IMPORT.sub("", text), flags=re.MULTILINE)
    if script != SHARED:
        text = f'import {{{", ".join(sorted(_wanted(script)))}}} from "{shared}";\n{text}'
    code: str = jsmin(text)
    return code.encode()


def _wanted(*scripts: str) -> set[str]:
    """What scripts, or all of them, import of the modules of all pages."""
    modules = [module for script in scripts or SCRIPTS for module in SCRIPTS[script]]
    own = [module for module in modules if module not in SCRIPTS[SHARED]]
    found = (one for module in own for one in IMPORT.findall(_module(module)))
    return {name for names, of in found if of in SCRIPTS[SHARED] for name in names.split(", ")}


def _module(name: str) -> str:
    return (FOLDER / f"{name}.js").read_text("utf-8")


def _named(name: str, content: bytes) -> str:
    stem, _, suffix = name.rpartition(".")
    return f"{stem}.{hashlib.sha256(content).hexdigest()[:HASH_CHARS]}.{suffix}"
