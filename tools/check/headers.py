"""Every header compiles on its own, and the public C header also as C.

A header that a source file includes first is proven by the build: it is not compiled again here.
"""

from __future__ import annotations

import concurrent.futures
import os
import re
import shutil
import subprocess

from source import ROOT, cpp_files, read


def compile_alone(path, compiler: str) -> str | None:
    language, standard = ("c", "c99") if compiler.endswith("gcc") else ("c++", "gnu++20")
    command = [compiler, "-x", language, f"-std={standard}", "-fsyntax-only", "-Wall", "-Wno-pragma-once-outside-header",
               "-Iinclude", "-Isrc", "-I.", "-DHUSSAR_ISA_NAMESPACE=scalar"]  # fmt: skip
    outcome = subprocess.run(command + [str(path)], cwd=ROOT, capture_output=True, text=True)
    if outcome.returncode == 0:
        return None
    first = next((line for line in outcome.stderr.splitlines() if "error" in line), "error")
    return f"{path}: does not compile on its own ({language}): {first}"


def opening_headers() -> set[str]:
    """What the source files include first, as they spell it."""
    matches = (re.search(r'^#include [<"](.*)[>"]', read(path), re.MULTILINE) for path in cpp_files() if path.suffix == ".cpp")
    return {match[1] for match in matches if match}


def check() -> list[str]:
    if shutil.which("g++") is None:
        return ["g++ is not installed (tools/install_deps.sh build installs it)"]
    headers = [path for path in cpp_files() if path.suffix == ".h"]
    opening = opening_headers()
    jobs = [(path, "g++") for path in headers if not opening & {str(path), path.relative_to(path.parts[0]).as_posix()}]
    jobs += [(path, "gcc") for path in headers if path.parts[0] == "include" and 'extern "C"' in read(path)]
    problems = [f"{path}: no #pragma once or include guard" for path in headers
                if "#pragma once" not in read(path) and "#ifndef" not in read(path)]  # fmt: skip
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        problems += [found for found in pool.map(lambda job: compile_alone(*job), jobs) if found]
    return problems
