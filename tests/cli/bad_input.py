"""Broken files, full disks, wrong inputs: a clear error, the right exit code, nothing written half."""

from __future__ import annotations

import os
import pathlib
import resource
import signal
import subprocess
import zipfile

import tiny_onnx
from program import FAILED, MODEL, OK, PLAN, USAGE, Program, write_npy


def limit_file_size(size: int):
    """For Program(before=): files cannot grow beyond `size` bytes, as on a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_output_that_cannot_be_written(hussar: Program) -> None:
    model = hussar.model()
    before = hussar.files()
    hussar("build", model, "-o", "no/such/folder/m.plan", code=FAILED, says="no/such/folder/m.plan")
    hussar("build", model, "-o", ".", code=USAGE, says="folder")
    hussar("build", model, "-o", "/proc/m.plan", code=FAILED, says="/proc/m.plan")
    assert hussar.files() == before
    plan = hussar.plan()
    write_npy(hussar.folder / "x.npy", [1, 4], [0, 0, 0, 0])
    hussar("run", plan, "-i", "x=x.npy", "-o", "x.npy", code=USAGE, says="is a file")
    hussar("run", plan, "-i", "x=x.npy", "-o", "no/such/folder", code=FAILED, says="no/such/folder")
    hussar("version", "--json", "no/such.json", code=FAILED, says="no/such.json")


def test_outputs_are_checked_before_the_work(hussar: Program) -> None:
    model, plan = hussar.model(), hussar.plan()
    before = hussar.files()
    write_npy(hussar.folder / "x.npy", [1, 4], [0, 0, 0, 0])
    calls = (
        ("build", model, "-o", "no/folder/m.plan"), ("build", model, "-o", "/proc/m.plan"),
        ("build", model, "-o", "m.plan", "--timing-cache", "no/folder/t"), ("build", model, "-o", "m.plan", "--dump", "no/folder"),
        ("build", model, "-o", "m.plan", "--json", "no/folder.json"), ("build", model, "-o", "m.plan", "--json=/proc/j"),
        ("bench", plan, "--json", "no/folder.json"), ("compare", model, plan, "--json", "no/folder.json"),
        ("run", plan, "-i", "x=missing.npy", "-o", "no/folder"), ("run", plan, "-i", "x=missing.npy", "-o", "/proc/out"),
    )  # fmt: skip
    for words in calls:
        outcome = hussar(*words, code=FAILED, says=words[-1].removeprefix("--json="))
        for stage in ("build: import", "bench: load", "compare: open", "missing.npy"):
            assert stage not in outcome.err, outcome
    hussar("run", plan, "-i", "x=x.npy", "-o", "new/")
    assert hussar.files() == before | {"x.npy", "new"}


def size_of(path: pathlib.Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def signalled_while_writing(hussar: Program, name: signal.Signals) -> int | None:
    """The exit status of a build that got a signal while its temporary file was there; None when it was too late."""
    process = subprocess.Popen([hussar.path, "build", "big.onnx", "-o", "big.plan", "--budget", "0", "-q"], cwd=hussar.folder)
    file = None
    while file is None:
        if process.poll() is not None:
            return None
        # An empty one is only tried out, before the work.
        file = next((path for path in hussar.folder.glob("big.plan.*") if size_of(path) > 0), None)
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    still_writes = file.exists()
    process.send_signal(name)
    process.send_signal(signal.SIGCONT)
    process.wait(timeout=60)
    assert hussar.files() <= {"big.onnx", "big.plan"}, hussar.files()
    return process.returncode if still_writes else None


def test_signals_leave_no_temporary_file(hussar: Program) -> None:
    hussar.model("big", tiny_onnx.big())
    for name, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        codes = [signalled_while_writing(hussar, name) for _ in range(3)]
        assert code in codes, codes


def test_damage_in_large_constants(hussar: Program) -> None:
    hussar.model("big", tiny_onnx.big())
    hussar("build", "big.onnx", "-o", "big.plan", "--budget", "0")
    content = bytearray((hussar.folder / "big.plan").read_bytes())
    content[-4096] ^= 0x10
    (hussar.folder / "damaged.plan").write_bytes(content)
    write_npy(hussar.folder / "x.npy", [1], [1])
    calls = {"run": ["-i", "x=x.npy"], "bench": ["--iterations", "3"], "inspect": ["--brief"]}
    for verb, words in calls.items():
        hussar(verb, "damaged.plan", *words)
        hussar(verb, "damaged.plan", *words, "--verify", code=PLAN, says="damaged.plan")
        hussar(verb, "big.plan", *words, "--verify")
    for more in ((), ("--verify",)):
        hussar("compare", "big.onnx", "damaged.plan", *more, code=PLAN, says="damaged.plan")
        hussar("compare", "big.onnx", "big.plan", *more)


def test_full_disk_leaves_the_old_file(hussar: Program) -> None:
    plan = hussar.plan()
    path = hussar.folder / plan
    old, files = path.read_bytes(), hussar.files()
    for size in (0, 100, len(old) - 1):
        hussar("build", "chain.onnx", "-o", plan, before=limit_file_size(size), code=FAILED, says="File too large")
        assert path.read_bytes() == old and hussar.files() == files, size
    hussar("build", "chain.onnx", "-o", plan, before=limit_file_size(len(old)))
    write_npy(hussar.folder / "x.npy", [1, 4], [0, 0, 0, 0])
    hussar("run", plan, "-i", "x=x.npy", "-o", "out", before=limit_file_size(64), code=FAILED, says="out/y.npy")
    assert not list((hussar.folder / "out").iterdir())


def test_full_device(hussar: Program) -> None:
    if os.geteuid() != 0:
        return
    mount = hussar.folder / "tiny"
    mount.mkdir()
    if os.system(f"mount -t tmpfs -o size=4k none '{mount}' 2>/dev/null") != 0:
        return
    try:
        hussar("build", hussar.model(), "-o", "tiny/m.plan", code=FAILED, says="No space left")
        assert not list(mount.iterdir())
    finally:
        os.system(f"umount '{mount}'")


def test_missing_and_strange_files(hussar: Program) -> None:
    for verb in ("build", "run", "bench", "inspect"):
        words = ["-o", "m.plan"] if verb == "build" else []
        hussar(verb, "missing.onnx", *words, code=FAILED, says="missing.onnx")
        hussar(verb, ".", *words, code=FAILED, says="not a regular file")
        (hussar.folder / "empty.onnx").write_bytes(b"")
        hussar(verb, "empty.onnx", *words, code=MODEL)
        (hussar.folder / "noise.onnx").write_bytes(b"\xff" * 100)
        hussar(verb, "noise.onnx", *words, code=MODEL, says="noise.onnx")
    for verb in ("run", "bench", "inspect"):
        hussar(verb, "missing.plan", code=FAILED, says="missing.plan")
        (hussar.folder / "noise.plan").write_bytes(b"\xff" * 1000)
        hussar(verb, "noise.plan", code=PLAN, says="not a Hussar plan")


def test_cut_models(hussar: Program) -> None:
    whole = (hussar.folder / hussar.model()).read_bytes()
    for size in range(1, len(whole) - 1, 7):
        (hussar.folder / "cut.onnx").write_bytes(whole[:size])
        hussar("build", "cut.onnx", "-o", "cut.plan", code=MODEL)
    assert "cut.plan" not in hussar.files()


def test_cut_plans(hussar: Program) -> None:
    whole = (hussar.folder / hussar.plan()).read_bytes()
    for size in (0, 1, 8, 255, 256, 300, len(whole) // 2, len(whole) - 1):
        (hussar.folder / "cut.plan").write_bytes(whole[:size])
        hussar("bench", "cut.plan", code=PLAN)
    (hussar.folder / "long.plan").write_bytes(whole + b"\0")
    hussar("bench", "long.plan", code=PLAN, says="cut off or extended")


def test_flipped_plans(hussar: Program) -> None:
    whole = (hussar.folder / hussar.plan()).read_bytes()
    for at in range(0, len(whole), 41):
        broken = bytearray(whole)
        broken[at] ^= 0x10
        (hussar.folder / "flip.plan").write_bytes(broken)
        hussar("inspect", "flip.plan", "--brief", code=PLAN)


def test_foreign_plans_show_their_header(hussar: Program) -> None:
    whole = (hussar.folder / hussar.plan()).read_bytes()
    newer = bytearray(whole)
    newer[8:12] = (99).to_bytes(4, "little")
    (hussar.folder / "newer.plan").write_bytes(newer)
    outcome = hussar("inspect", "newer.plan", code=PLAN, says="update hussar")
    assert "plan format 99" in outcome.out and "written by hussar" in outcome.out
    data = hussar("inspect", "newer.plan", "--json", code=PLAN).json
    assert data["header"]["version"] == 99 and data["error"]["code"] == PLAN
    hussar("run", "newer.plan", code=PLAN, says="version 99")
    older = bytearray(whole)
    older[8:12] = (0).to_bytes(4, "little")
    (hussar.folder / "older.plan").write_bytes(older)
    hussar("inspect", "older.plan", code=PLAN, says="build the plan again")


def test_wrong_shapes_and_dtypes(hussar: Program) -> None:
    plan = hussar.plan()
    folder: pathlib.Path = hussar.folder
    write_npy(folder / "shape.npy", [1, 5], [0] * 5)
    hussar("run", plan, "-i", "x=shape.npy", code=USAGE, says="batchx4")
    write_npy(folder / "rank.npy", [4], [0] * 4)
    hussar("run", plan, "-i", "x=rank.npy", code=USAGE, says="batchx4")
    write_npy(folder / "double.npy", [1, 4], [0] * 4, "<f8")
    hussar("run", plan, "-i", "x=double.npy", code=USAGE, says="float64")
    (folder / "short.raw").write_bytes(b"\0" * 15)
    hussar("run", plan, "-i", "x=short.raw", "--shapes", "x:1x4", code=USAGE, says="15 bytes")
    write_npy(folder / "x.npy", [1, 4], [0] * 4)
    (folder / "cut.npy").write_bytes((folder / "x.npy").read_bytes()[:-3])
    hussar("run", plan, "-i", "x=cut.npy", code=USAGE, says="cut off")
    (folder / "text.npy").write_text("1 2 3 4")
    hussar("run", plan, "-i", "x=text.npy", code=USAGE, says="not an .npy")
    hussar("run", plan, "-i", "x=missing.npy", code=FAILED, says="missing.npy")
    hussar("run", plan, "-i", "x", code=USAGE, says="NAME=FILE")
    hussar("run", plan, "-i", "x=x.txt", code=USAGE, says="x.txt")


def test_damaged_npz(hussar: Program) -> None:
    plan = hussar.plan()
    write_npy(hussar.folder / "x.npy", [1, 4], [0] * 4)
    with zipfile.ZipFile(hussar.folder / "x.npz", "w") as archive:
        archive.write(hussar.folder / "x.npy", "x.npy")
    whole = (hussar.folder / "x.npz").read_bytes()
    hussar("run", plan, "-i", "x.npz")
    for at in range(len(whole)):
        broken = bytearray(whole)
        broken[at] ^= 0xFF
        (hussar.folder / "broken.npz").write_bytes(broken)
        finished = subprocess.run(
            [hussar.path, "run", plan, "-i", "broken.npz"], cwd=hussar.folder, capture_output=True, timeout=60
        )
        # Checksums of single arrays are not checked: a flipped element is another number, not an error.
        assert finished.returncode in (OK, FAILED, USAGE), f"byte {at}: {finished}"


def test_nan_inputs(hussar: Program) -> None:
    plan = hussar.plan()
    write_npy(hussar.folder / "nan.npy", [1, 4], [0, float("nan"), float("inf"), 1])
    outcome = hussar("run", plan, "-i", "x=nan.npy")
    assert "warning" in outcome.err and "'x' has 2 NaN or infinite of 4" in outcome.err
    hussar("run", plan, "-i", "x=nan.npy", "--check-finite", code=FAILED, says="'x' has 2 NaN")
    write_npy(hussar.folder / "good.npy", [1, 4], [0, 1, 2, 3])
    hussar("run", plan, "-i", "x=good.npy", "--check-finite")
