"""What a server keeps of the memory that large bodies lay in."""

from __future__ import annotations

import subprocess
import sys

import pytest

# How many blocks of 1 MiB are the system's own (`hblks` of mallinfo(3)), once one of 8 MiB is free.
BLOCKS = """
import ctypes
import sys
from relay_server.app import give_large_memory_back

class Told(ctypes.Structure):
    _fields_ = [(f"field_{n}", ctypes.c_size_t) for n in range(10)]

library = ctypes.CDLL(None)
library.malloc.restype, library.mallinfo2.restype = ctypes.c_void_p, Told

def own_blocks():
    return library.mallinfo2().field_3

if sys.argv[1] == "given back":
    give_large_memory_back()
library.free(ctypes.c_void_p(library.malloc(8 << 20)))
before = own_blocks()
kept = [library.malloc(1 << 20) for _ in range(5)]
print(own_blocks() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's")
@pytest.mark.parametrize(("what", "blocks"), [("given back", 5), ("left to glibc", 0)])
def test_a_large_body_lies_in_memory_that_goes_back_with_it(what: str, blocks: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKS, what], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == blocks
