"""The wheel of this very installation, for laptops that have no clone and no index to get it from.

It is made of the installed files, wherever they came from: `pip install .`, an editable checkout,
the image. So it is what this server runs, and nothing has to be put beside it. The files are those
of our packages, by the kinds of files that they have: what else lies in a checkout's folders is
nobody's business. What the installed distribution says of itself (its name, what it depends on, its
commands, its license) goes along; what an installer noted on this machine does not.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackagePath, distribution
from importlib.util import find_spec
from pathlib import Path

DISTRIBUTION = "relay-tunnel"
PACKAGES = (
    *("relay_chatwoot", "relay_client", "relay_http"),
    *("relay_protocol", "relay_server", "relay_terminal"),
)
# Of files that our packages have.
KINDS = frozenset(
    {*(".css", ".html", ".js", ".json", ".md", ".mo"), *(".py", ".sql", ".svg", ".template")}
    | {".txt", ".typed"}
)
MAX_WHEEL_BYTES = 16_777_216  # of the files in it; an installation with more is not ours
ABOUT = "Wheel-Version: 1.0\nGenerator: relay-server\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
EPOCH = (1980, 1, 1, 0, 0, 0)  # of each file: the same files make the same wheel


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel, and the name that pip has to find it under."""

    name: str
    content: bytes

    @property
    def sha256(self) -> str:
        """Its digest in hex."""
        return hashlib.sha256(self.content).hexdigest()


def build() -> Wheel:
    """Make the wheel of the installed distribution; it takes a tenth of a second or two.

    Raises:
        OSError: A file cannot be read, or there is too much.
    """
    found = distribution(DISTRIBUTION)
    base = f"{found.name.replace('-', '_')}-{found.version}"
    files = dict(sorted(_files())) | dict(sorted(_facts(found, f"{base}.dist-info")))
    if sum(map(len, files.values())) > MAX_WHEEL_BYTES:
        raise OSError("the installed packages are too large for a wheel")
    record = f"{base}.dist-info/RECORD"
    listed = [f"{name},{_digest(content)},{len(content)}" for name, content in files.items()]
    files[record] = "\n".join([*listed, f"{record},,", ""]).encode()
    return Wheel(f"{base}-py3-none-any.whl", _zipped(files))


def _files() -> Iterator[tuple[str, bytes]]:
    """The files of our packages, under the names that they have in a wheel."""
    for package in PACKAGES:
        spec = find_spec(package)
        for folder in map(Path, spec.submodule_search_locations or () if spec else ()):
            for path in folder.rglob("*"):
                if path.suffix in KINDS and path.is_file() and not path.is_symlink():
                    yield f"{package}/{path.relative_to(folder).as_posix()}", path.read_bytes()


def _facts(found: Distribution, folder: str) -> Iterator[tuple[str, bytes]]:
    """What the distribution says of itself."""
    yield f"{folder}/WHEEL", ABOUT.encode()
    for path in found.files or ():
        if _is_fact(path):
            inside = PackagePath(*path.parts[1:]).as_posix()
            yield f"{folder}/{inside}", Path(str(path.locate())).read_bytes()


def _is_fact(path: PackagePath) -> bool:
    if not path.parts[0].endswith(".dist-info"):
        return False
    return path.parts[1] == "licenses" or path.name in ("METADATA", "entry_points.txt")


def _digest(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
    return f"sha256={digest.rstrip(b'=').decode()}"


def _zipped(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(info, content)
    return made.getvalue()
