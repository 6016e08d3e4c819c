"""The relay's server: takes webhooks, stores them, pushes them to whoever reads."""

import sys

if "structlog" not in sys.modules:
    # It would load rich, 3 MiB of it, for tracebacks that nobody prints here.
    _rich = sys.modules.get("rich")
    sys.modules["rich"] = None  # type: ignore[assignment]
    import structlog  # noqa: F401

    del sys.modules["rich"]
    if _rich is not None:
        sys.modules["rich"] = _rich
