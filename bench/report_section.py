"""Sections of the pages in docs/ that scripts write, between markers."""

from __future__ import annotations

import pathlib

PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs/benchmarks.md"


def update(name: str, script: str, heading: str, text: str, page_path: pathlib.Path = PAGE) -> None:
    """Replaces the section `name`, or appends it under `heading`."""
    begin = f"<!-- {name}: begin (written by {script} --update-docs) -->"
    end = f"<!-- {name}: end -->"
    page = page_path.read_text()
    section = f"{begin}\n{text}\n{end}"
    if begin in page and end in page:
        page = page[: page.index(begin)] + section + page[page.index(end) + len(end) :]
    else:
        page = page.rstrip("\n") + f"\n\n## {heading}\n\n{section}\n"
    page_path.write_text(page)
