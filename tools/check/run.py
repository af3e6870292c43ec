#!/usr/bin/env python3
"""Checks the tree against the rules of the house: tools/check/run.py [NAME...]. Prints `N passed, M failed`."""

from __future__ import annotations

import sys

import formatting
import headers
import includes
import sizes
import wording

CHECKS = {
    "formatting": formatting.check,
    "includes": includes.check,
    "sizes": sizes.check,
    "wording": wording.check,
    "headers": headers.check,
}


def main() -> int:
    names = sys.argv[1:] or list(CHECKS)
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        print(f"no check '{unknown[0]}'; there are {', '.join(CHECKS)}", file=sys.stderr)
        return 2
    failed = 0
    for name in names:
        problems = CHECKS[name]()
        for problem in problems:
            print(f"{name}: {problem}")
        failed += bool(problems)
    print(f"{len(names) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
