#!/usr/bin/env python3
"""Tests of the `hussar` program as a user meets it. Standard library only; models come from tiny_onnx.py.

    tests/cli/run.py [--build FOLDER] [NAME...]

Ends with `N passed, M failed`; exit status 0 when nothing failed.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import tempfile
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import bad_input  # noqa: E402
import bf16  # noqa: E402
import calibration  # noqa: E402
import fp8  # noqa: E402
import general  # noqa: E402
import int8  # noqa: E402
import packed  # noqa: E402
import pages  # noqa: E402
import precision  # noqa: E402
import prune  # noqa: E402
import qdq  # noqa: E402
import sensitivity  # noqa: E402
import sparsity  # noqa: E402
import verbs  # noqa: E402
from program import Program  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]


def all_tests() -> dict:
    """Functions named test_* of the test modules, by name."""
    tests = {}
    for module in (general, verbs, precision, calibration, int8, fp8, bf16, qdq, sensitivity, packed, pages, prune, sparsity, bad_input):
        for name, function in vars(module).items():
            if name.startswith("test_"):
                tests[name.removeprefix("test_")] = function
    return tests


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    tests = all_tests()
    unknown = [name for name in arguments.names if name not in tests]
    if unknown:
        print(f"no test {unknown[0]!r}; there are {', '.join(tests)}", file=sys.stderr)
        return 2
    failed = 0
    for name in arguments.names or tests:
        with tempfile.TemporaryDirectory(prefix="hussar-cli-") as folder:
            try:
                tests[name](Program(arguments.build / "bin/hussar", pathlib.Path(folder)))
            except Exception:
                failed += 1
                print(f"FAILED {name}\n{traceback.format_exc()}", flush=True)
    count = len(arguments.names or tests)
    print(f"{count - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
