"""The include table: which room may use which. docs/decisions.md says where it departs from the first design."""

from __future__ import annotations

import pathlib
import re

from source import ROOT, cpp_files, read

# room -> what it may include besides itself and the public headers: rooms, or single headers of a room.
TABLE: dict[str, set[str]] = {
    "base": set(),
    "tensor": {"base"},
    "graph": {"tensor", "base"},
    "ops": {"graph", "tensor", "base"},
    "onnx": {"ops", "graph", "tensor", "base"},
    "quantize": {"ops", "graph", "tensor", "base"},
    "sparsify": {"ops", "graph", "tensor", "base"},
    "tactics": {"ops", "graph", "tensor", "base"},
    "passes": {"tactics/tactic.h", "tactics/choose.h", "ops", "graph", "tensor", "base"},
    "plan": {"tensor", "base"},
    # graph comes with tactics/tactic.h: a tactic sees the node that it is asked about.
    "backends/cpu": {"tactics/tactic.h", "plan/kernel.h", "plan/plan.h", "graph/graph.h", "tensor", "base"},
    "backends/cuda": {"tactics/tactic.h", "plan/kernel.h", "plan/plan.h", "plan/device.h", "graph/graph.h", "tensor",
                      "base"},
    # ops and graph: the reference evaluators are the tactic of last resort, so they run in the runtime too. tactics:
    # what a kernel takes is asked again when a plan is opened.
    "runtime": {"plan", "tactics/tactic.h", "ops", "graph", "tensor", "base"},
    "compile": {"onnx", "passes", "quantize", "sparsify", "tactics", "ops", "graph", "backends/cpu", "backends/cuda", "plan", "runtime",
                "tensor", "base"},
    # The public surface: its implementation connects all rooms, its headers (include/hussar) include only each other.
    "api": {"compile", "onnx", "passes", "quantize", "sparsify", "runtime", "plan", "ops", "graph", "backends/cpu", "backends/cuda",
            "tactics", "tensor", "base"},
    "tools/cli": {"api", "compile", "onnx", "passes", "quantize", "sparsify", "runtime", "plan", "tactics", "ops",
                  "graph", "backends/cpu", "backends/cuda", "tensor", "base"},
}  # fmt: skip

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)
# What files compiled once per instruction set may use of the standard library: nothing with inline C++ code.
PLAIN_HEADERS = re.compile(r"^((imm|xmm)intrin|float|limits|math|stdbool|stddef|stdint|string)\.h$")


def room_of(path: pathlib.Path) -> str | None:
    """The room of a file, None for files that have none (tests, benchmarks)."""
    parts = path.parts
    if parts[0] == "include":
        return "hussar"
    if parts[:2] == ("tools", "cli"):
        return "tools/cli"
    if parts[0] != "src":
        return None
    return "/".join(parts[1:3]) if parts[1] == "backends" else parts[1]


def resolve(path: pathlib.Path, name: str) -> pathlib.Path | None:
    """The project file that `#include "name"` in `path` means."""
    for folder in (path.parent, pathlib.Path("src"), pathlib.Path("include"), pathlib.Path("tools/cli"),
                   pathlib.Path(".")):
        if (ROOT / folder / name).is_file():
            return pathlib.Path((ROOT / folder / name).resolve().relative_to(ROOT))
    return None


def allowed(room: str, target: pathlib.Path) -> bool:
    target_room = room_of(target)
    if target_room in (room, "hussar"):
        return True
    header = target.relative_to("src").as_posix() if target.parts[0] == "src" else target.as_posix()
    return room in TABLE and (target_room in TABLE[room] or header in TABLE[room])


def check_rooms() -> list[str]:
    problems = []
    for path in cpp_files():
        room = room_of(path)
        if room is None:
            continue
        if room not in TABLE and room != "hussar":
            problems.append(f"{path}: the room {room} is not in the table of tools/check/includes.py")
            continue
        for quoted, _ in INCLUDE.findall(read(path)):
            target = resolve(path, quoted) if quoted else None
            if quoted and target is None:
                problems.append(f'{path}: "{quoted}" is no file of the project; use <...> for others')
            elif quoted and not allowed(room, target):
                problems.append(f"{path}: {room} may not include {target}")
    return problems


def check_simd() -> list[str]:
    """Files compiled per instruction set, and the headers they reach, use no C++ standard headers."""
    problems = []
    for start in cpp_files():
        if not start.name.endswith((".simd.cpp", ".vnni.cpp", ".bf16.cpp", ".fp16.cpp", ".amx.cpp")):
            continue
        seen, stack = {start}, [start]
        while stack:
            path = stack.pop()
            for quoted, angled in INCLUDE.findall(read(path)):
                target = resolve(path, quoted) if quoted else None
                if angled and not PLAIN_HEADERS.match(angled):
                    problems.append(f"{start}: reaches <{angled}> through {path}; its inline code could escape")
                if target is not None and target not in seen:
                    seen.add(target)
                    stack.append(target)
    return problems


def check() -> list[str]:
    return check_rooms() + check_simd()
