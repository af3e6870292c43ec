#!/usr/bin/env python3
"""Installs the build into a temporary folder, builds this project from it, and runs its programs.

    tests/consumer/run.py [--build FOLDER]

Ends with `N passed, M failed`; exit status 0 when nothing failed.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests/cli"))

import tiny_onnx  # noqa: E402


def run(*command) -> subprocess.CompletedProcess:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=600)


def exported_symbols(library: pathlib.Path) -> list[str]:
    lines = run("nm", "-D", "--defined-only", library).stdout.splitlines()
    return [line.split()[-1].split("@")[0] for line in lines if " A " not in line]


def check_exports(library: pathlib.Path) -> str:
    names = exported_symbols(library)
    strange = [name for name in names if not name.startswith("hussar_")]
    header = (ROOT / "include/hussar/hussar.h").read_text()
    wanted = set(re.findall(r"HUSSAR_API[^;(]*?(hussar_\w+)\(", header))
    missing = wanted - set(names)
    return f"exports {strange[:5]}" if strange else f"lacks {sorted(missing)}" if missing else ""


def check_needed(library: pathlib.Path) -> str:
    allowed = re.compile(r"^(lib(c|m|pthread|stdc\+\+|gcc_s)\.so|ld-linux)")
    needed = re.findall(r"NEEDED\s+(\S+)", run("objdump", "-p", library).stdout)
    strange = [name for name in needed if not allowed.match(name)]
    return f"needs {strange}" if strange else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    build = parser.parse_args().build
    results: dict[str, str] = {}

    def step(name: str, *command) -> bool:
        outcome = run(*command)
        results[name] = "" if outcome.returncode == 0 else f"{outcome.stdout[-3000:]}{outcome.stderr[-3000:]}"
        return outcome.returncode == 0

    with tempfile.TemporaryDirectory(prefix="hussar-consumer-") as name:
        folder = pathlib.Path(name)
        prefix, project, model = folder / "prefix", folder / "project", folder / "chain.onnx"
        model.write_bytes(tiny_onnx.chain())
        product, cache = folder / "product.onnx", folder / "calibration.json"
        product.write_bytes(tiny_onnx.product())
        ok = step("install", "cmake", "--install", build, "--prefix", prefix)
        ok = ok and step("configure", "cmake", "-S", HERE, "-B", project, f"-DCMAKE_PREFIX_PATH={prefix}")
        ok = ok and step("build", "cmake", "--build", project)
        if ok:
            step("the C++ program", project / "consumer_cpp", model, folder / "cpp.plan", product, cache)
            step("the C program", project / "consumer_c", model, folder / "c.plan", product, cache)
            step("the installed program", prefix / "bin/hussar", "inspect", folder / "c.plan")
            library = next(prefix.glob("lib*/**/libhussar.so"))
            results["only the C interface is exported"] = check_exports(library)
            results["no library but the system's is needed"] = check_needed(library)
            results["the program stands alone"] = check_needed(prefix / "bin/hussar")
    for step_name, problem in results.items():
        if problem:
            print(f"FAILED {step_name}: {problem}")
    failed = sum(bool(problem) for problem in results.values())
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
