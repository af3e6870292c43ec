"""No file depends on the machine it was written on, and none leaves work for later."""

from __future__ import annotations

import re

from source import read, tracked

# The patterns are split so that this file does not match itself.
FORBIDDEN = {
    "an absolute path of one machine": re.compile(r"(?<![\w./-])/(?:home/\w|root/|work/|Users/\w|mnt/\w)"),
    "a note of unfinished work": re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b"),
    "a conflict mark": re.compile(r"^(?:<{7}|>{7}|={7}$)", re.MULTILINE),
}


def check() -> list[str]:
    problems = []
    files = tracked("*.cpp", "*.h", "*.py", "*.sh", "*.md", "*.txt", "*.cmake", "Makefile", ".ci/run", "*.simd.cpp")
    for path in files:
        text = read(path)
        for what, pattern in FORBIDDEN.items():
            for match in pattern.finditer(text):
                problems.append(f"{path}:{text.count(chr(10), 0, match.start()) + 1}: {what}: {match[0]!r}")
    return problems
