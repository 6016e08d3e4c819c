"""The tests of the mutants need what `make mutants` installs, and runs them with."""

from __future__ import annotations

import importlib.util

collect_ignore = [] if importlib.util.find_spec("cosmic_ray") else ["test_mutants.py"]
