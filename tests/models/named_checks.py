"""The end of a test script whose cases go by name: runs them, and prints what failed."""

from __future__ import annotations

import pathlib
import sys
import tempfile
from collections.abc import Callable


def run(names: list[str], check: Callable[[str, pathlib.Path], str]) -> int:
    """Those of the command line, else all. check(name, folder) says what is wrong; "" when nothing is."""
    wanted = sys.argv[1:] or names
    failed = 0
    for name in wanted:
        with tempfile.TemporaryDirectory() as folder:
            wrong = check(name, pathlib.Path(folder))
        if wrong:
            failed += 1
            print(f"FAILED {name}: {wrong}", flush=True)
    print(f"{len(wanted) - failed} passed, {failed} failed")
    return 1 if failed else 0
