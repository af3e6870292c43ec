"""C++ files are as clang-format 14 leaves them; all text files end with one newline and have no trailing spaces."""

from __future__ import annotations

import re
import shutil
import subprocess

from source import ROOT, cpp_files, read, tracked

# The formatter's output depends on its version.
FORMATTERS = ("clang-format-14", "clang-format")


def find_formatter() -> str | None:
    for name in FORMATTERS:
        path = shutil.which(name)
        if path and " 14." in subprocess.run([path, "--version"], capture_output=True, text=True).stdout:
            return path
    return None


def check_cpp() -> list[str]:
    formatter = find_formatter()
    if formatter is None:
        return ["clang-format 14 is not installed (tools/install_deps.sh test installs it)"]
    command = [formatter, "--dry-run", "--ferror-limit=1", *map(str, cpp_files())]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    names = sorted(set(re.findall(r"^([^\s:]+):\d+:\d+: (?:warning|error):", outcome.stderr, re.MULTILINE)))
    return [f"{name}: not formatted; run make format" for name in names]


def check_text() -> list[str]:
    problems = []
    for path in tracked("*.cpp", "*.h", "*.py", "*.sh", "*.md", "*.txt", "*.cmake", "Makefile"):
        text = read(path)
        if re.search(r"[ \t]+$", text, re.MULTILINE):
            problems.append(f"{path}: spaces at the end of a line")
        if text and not text.endswith("\n") or text.endswith("\n\n"):
            problems.append(f"{path}: does not end with exactly one newline")
        if path.name != "Makefile" and "\t" in text:
            problems.append(f"{path}: has a tab")
    return problems


def check() -> list[str]:
    return check_cpp() + check_text()
