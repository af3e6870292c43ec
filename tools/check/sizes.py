"""The budgets: a file has at most 800 lines, a function at most 80, the median file at most 150."""

from __future__ import annotations

import bisect
import re
import statistics

from source import blank_out, cpp_files, read, tracked

MOST_FILE_LINES = 800
MOST_FUNCTION_LINES = 80
MOST_MEDIAN_LINES = 150

# Braces that hold declarations, not statements.
SCOPE = re.compile(r"\b(namespace|class|struct|union|enum)\b|\bextern\s*$")
# "...)" and what may follow it before a body: a function, a lambda, or a control statement.
CALLABLE = re.compile(r"\)\s*(?:const|noexcept|override|final|mutable|->[^;{}]*|:[^;{}]*|\s)*$")


def functions(text: str):
    """Pairs (first line, last line), counted from 1, of the outermost function bodies, with their signatures."""
    clean = blank_out(text)
    line_starts = [0] + [match.end() for match in re.finditer("\n", clean)]
    line_of = lambda offset: bisect.bisect_right(line_starts, offset)  # noqa: E731
    begin, depth, head = None, 0, 0  # head: where the text before the next brace begins
    stack = []
    for match in re.finditer(r"[{};]", clean):
        at = match.start()
        if match[0] == ";":
            if begin is None:
                head = at + 1
        elif match[0] == "{":
            before = clean[head:at]
            is_body = begin is None and not SCOPE.search(before.split("(")[0]) and CALLABLE.search(before)
            stack.append(is_body)
            if is_body:
                start = head + len(before) - len(before.lstrip())
                begin, depth = line_of(start), len(stack)
            elif begin is None:
                head = at + 1
        elif stack:
            is_body = stack.pop()
            if is_body and begin is not None and len(stack) == depth - 1:
                yield begin, line_of(at)
                begin = None
            if begin is None:
                head = at + 1


def check_python(path) -> list[str]:
    import ast

    problems = []
    for node in ast.walk(ast.parse(read(path))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = node.end_lineno - node.lineno + 1
            if length > MOST_FUNCTION_LINES:
                problems.append(f"{path}:{node.lineno}: {node.name} has {length} lines")
    return problems


def check() -> list[str]:
    problems = []
    lengths = []
    for path in cpp_files() + tracked("*.py"):
        text = read(path)
        length = text.count("\n")
        if path.suffix != ".py":
            lengths.append(length)
        if length > MOST_FILE_LINES:
            problems.append(f"{path}: {length} lines; {MOST_FILE_LINES} are allowed")
        if path.suffix == ".py":
            problems += check_python(path)
            continue
        for first, last in functions(text):
            if last - first + 1 > MOST_FUNCTION_LINES:
                problems.append(f"{path}:{first}: a function of {last - first + 1} lines; "
                                f"{MOST_FUNCTION_LINES} are allowed")  # fmt: skip
    median = statistics.median(lengths)
    if median > MOST_MEDIAN_LINES:
        problems.append(f"the median C++ file has {median} lines; {MOST_MEDIAN_LINES} are allowed")
    return problems
