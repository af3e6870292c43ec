#!/usr/bin/env python3
"""Tests of python/hussar/torch. Prints `N passed, M failed, K skipped`; one skipped where PyTorch is not installed.

    tests/python/run.py                      # all
    tests/python/run.py recipe_test          # those of one file
"""

from __future__ import annotations

import importlib.util
import pathlib
import sys
import unittest

FOLDER = pathlib.Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
NEEDED = ("torch", "onnx", "yaml")


def main() -> int:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(f"{missing[0]} is not installed (tools/requirements-export.txt)\n0 passed, 0 failed, 1 skipped")
        return 0
    import torch

    torch.set_num_threads(1)  # the tensors are small
    sys.path[:0] = [str(ROOT / folder) for folder in ("python", "tools", "demo", "tests/python")]
    names = sys.argv[1:] or sorted(path.stem for path in FOLDER.glob("*_test.py"))
    outcome = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromNames(names).run(outcome)
    for test, trace in outcome.failures + outcome.errors:
        print(f"FAILED {test}\n{trace}")
    failed, skipped = len(outcome.failures) + len(outcome.errors), len(outcome.skipped)
    print(f"{outcome.testsRun - failed - skipped} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
