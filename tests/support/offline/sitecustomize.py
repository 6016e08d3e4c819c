"""In the environment of a program (`PYTHONPATH`): it reaches this machine alone.

Whatever else its Python code looks up or connects to fails, and is written to the file
`OFFLINE_LOG`.
"""

import os
import sys
from pathlib import Path
from typing import Any

HERE = ("127.0.0.1", "::1", "localhost", None)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    if host not in HERE:
        with Path(os.environ["OFFLINE_LOG"]).open("a") as log:
            log.write(f"{host}\n")
        raise OSError(f"{host} is not on this machine")


sys.addaudithook(_refuse)
