#!/usr/bin/env python3
"""What the compiler made of the inner loops: multiply-adds, loads and accesses to the stack, read off the program.

    bench/inner_loops.py                      # the kernels' hottest loops, one line each
    bench/inner_loops.py --all --filter amx   # every loop with multiply-adds whose function's name matches

A loop is what lies between a backward jump and its target, without calls and returns and with no other loop inside. Vector registers that do not fit
are kept on the stack: `stack` counts the instructions that access it, `per FMA` says how much that could cost. Needs
objdump. Exit status: 0; 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import subprocess
import sys
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parents[1]
FUNCTION = re.compile(r"^[0-9a-f]+ <(.*)>:$")
INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\s+(\S+)\s*(.*)$")
MULTIPLY_ADD = re.compile(r"^(vfn?madd|vp?dp|vpmadd|tdp)")
VECTOR = re.compile(r"%[xyz]mm|%tmm")
STACK = re.compile(r"\((%rsp|%rbp)[,)]")
LEAST_MULTIPLY_ADDS = 8
# The loops that dense networks spend their time in: a name for the table, and what the function's name holds.
KERNELS = (
    ("product and convolution, FP32", r"avx2::.*\btile<.*Floats, 6, 1>"),
    ("product and convolution, FP32", r"avx512::.*\btile<.*Floats, 14, 2>"),
    ("product and convolution, FP16", r"avx512fp16::.*\btile<.*14, 1>"),
    ("product and convolution, BF16", r"avx512bf16::.*\btile<.*BfloatPairs, 14, 2>"),
    ("product and convolution, FP32 of split BF16; BF16", r"amx::.*multiply_tiles"),
    ("product and convolution, INT8", r"avx2::.*multiply_block<6, 2>"),
    ("product and convolution, INT8", r"avx512vnni::multiply_tile<6, 4, .*FetchAhead>"),
    ("product of 2:4x64 weights, FP32", r"avx512::.*sparse_tile<14, 2>"),
    ("product of 2:4x64 weights, INT8", r"avx512vnni::multiply_tile<6, 4, .*SparseMeanwhile"),
    ("Winograd, transforms of a tile", r"transform_(in|out)put<4>"),
    ("attention, FP32", r"attend\("),
    ("first convolution, RGB, stride 2", r"avx2::.*line_tile<6, 1>"),
    ("first convolution, RGB, stride 2", r"avx512::.*line_tile<6, 2>"),
    ("depthwise 3x3", r"run_interior_of<3, 1>"),
    ("depthwise 3x3, stride 2", r"run_interior_of<3, 2>"),
    ("depthwise 5x5", r"run_interior_of<5, 1>"),
    ("depthwise 3x3, INT8", r"avx512vnni::sum_patch<3, 1, true, false>"),
    ("groups of few channels, 3x3", r"avx2::.*Block::tile<10, false, 3, 1>"),
    ("groups of few channels, 3x3", r"avx512::.*Block::tile<14, false, 3, 1>"),
    ("groups of 8 channels and more, 3x3", r"avx2::.*Block::tile<10, true, 3, 1>"),
)


@dataclass
class Loop:
    function: str
    multiply_adds: int
    loads: int
    stack: int


def instructions_of(program: pathlib.Path):
    """Yields (function, [(address, mnemonic, operands)])."""
    command = ["objdump", "-d", "-C", "--no-show-raw-insn", str(program)]
    name, body = "", []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if match := FUNCTION.match(line):
                if body:
                    yield name, body
                name, body = match[1], []
            elif match := INSTRUCTION.match(line):
                body.append((int(match[1], 16), match[2], match[3]))
    if body:
        yield name, body


def loops_of(function: str, body: list[tuple[int, str, str]]):
    jumps = []
    for address, mnemonic, operands in body:
        target = re.match(r"([0-9a-f]+) <", operands)
        if mnemonic.startswith("j") and target and int(target[1], 16) <= address:
            jumps.append((int(target[1], 16), address))
    for begin, end in jumps:
        if any((b, e) != (begin, end) and begin <= b and e <= end for b, e in jumps):
            continue
        inside = [(mnemonic, operands) for address, mnemonic, operands in body if begin <= address <= end]
        if any(mnemonic.startswith(("call", "ret")) for mnemonic, _ in inside):
            continue
        adds = sum(bool(MULTIPLY_ADD.match(mnemonic)) for mnemonic, _ in inside)
        vectors = [(mnemonic, operands) for mnemonic, operands in inside if VECTOR.search(operands)]
        loads = sum(bool(re.search(r"\(.*\),", operands)) for _, operands in vectors)
        stack = sum(bool(STACK.search(operands)) for _, operands in vectors)
        if adds >= LEAST_MULTIPLY_ADDS:
            yield Loop(function, adds, loads, stack)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "build/bin/hussar")
    parser.add_argument("--all", action="store_true", help="every loop, not only the hottest kernels'")
    parser.add_argument("--filter", default="", help="a regular expression that the function's name must match")
    arguments = parser.parse_args()
    if not arguments.program.exists():
        print(f"{arguments.program} does not exist: run `make`", file=sys.stderr)
        return 2
    print("| kernel | function | FMA | loads | stack |\n|---|---|---|---|---|")
    for function, body in instructions_of(arguments.program):
        names = [name for name, pattern in KERNELS if re.search(pattern, function)]
        if not (names or arguments.all) or not re.search(arguments.filter, function):
            continue
        loops = sorted(loops_of(function, body), key=lambda loop: -loop.multiply_adds)
        for loop in loops if arguments.all else loops[:1]:
            short = re.sub(r"\(.*", "", function.replace("hussar::cpu::", "").replace("(anonymous namespace)::", ""))
            print(f"| {names[0] if names else ''} | `{short.removeprefix('void ')}` | {loop.multiply_adds} | {loop.loads} "
                  f"| {loop.stack} |")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
