"""What the checks share: the project's C++ files, and how their text is cut up."""

from __future__ import annotations

import functools
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


@functools.cache
def tracked(*patterns: str) -> tuple[pathlib.Path, ...]:
    """Files that git tracks or would track, relative to the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return tuple(sorted(pathlib.Path(name) for name in set(names) if (ROOT / name).is_file()))


def cpp_files() -> tuple[pathlib.Path, ...]:
    return tracked("*.cpp", "*.h")


@functools.cache
def read(path: pathlib.Path) -> str:
    return (ROOT / path).read_text()


TOKEN = re.compile(
    r"""//[^\n]* | /\*.*?\*/ | R"(?P<mark>[^()\s]*)\(.*?\)(?P=mark)" | "(?:\\.|[^"\\\n])*" |
        (?<![0-9a-zA-Z_])'(?:\\.|[^'\\\n])*' | ^[ \t]*\#(?:\\\n|[^\n])*""",
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)


def blank_out(text: str) -> str:
    """The text with comments, literals and preprocessor lines replaced by spaces; line numbers stay."""
    return TOKEN.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
