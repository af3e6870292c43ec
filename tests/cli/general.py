"""Help, typos, JSON, streams: what holds for every verb."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import time

import tiny_onnx
from program import ACCURACY, FAILED, USAGE, VERBS, Program, write_npy


def arguments_of(hussar: Program) -> dict[str, list[str]]:
    """A call of every verb that succeeds."""
    plan = hussar.plan()
    write_npy(hussar.folder / "x.npy", [1, 4], [1, 2, 3, 4])
    return {
        "bench": [plan, "--iterations", "3", "--warmup", "0"],
        "build": ["chain.onnx", "-o", "again.plan"],
        "compare": ["chain.onnx", plan],
        "completion": ["bash"],
        "doctor": [],
        "inspect": [plan],
        "run": [plan, "--input", "x=x.npy"],
        "version": [],
    }


def test_help_lists_every_verb(hussar: Program) -> None:
    text = hussar("--help").out
    assert all(f"\n  {verb} " in text for verb in VERBS), text
    assert "Exit codes: 0 ok" in text
    assert hussar("help").out == text == hussar("-h").out


def test_help_of_every_verb_has_examples(hussar: Program) -> None:
    for verb in VERBS:
        text = hussar(verb, "--help").out
        assert text == hussar("help", verb).out == hussar(verb, "-h", "--nonsense").out
        assert f"Usage: hussar {verb}" in text and "--json" in text and f"\n  hussar {verb}" in text.split("Examples:")[1]


def test_no_verb_and_unknown_verbs(hussar: Program) -> None:
    hussar(code=USAGE, says="no verb")
    hussar("biuld", code=USAGE, says="did you mean 'build'")
    hussar("zzzzzzz", code=USAGE, says="there is no verb 'zzzzzzz'")


def test_typos_of_options(hussar: Program) -> None:
    hussar("build", "m.onnx", "--outptu", "x", code=USAGE, says="did you mean --output?")
    hussar("bench", "m.plan", "--iteration", "3", code=USAGE, says="did you mean --iterations?")
    hussar("doctor", "--jsn", code=USAGE, says="did you mean --json?")
    hussar("run", "--qqqqqqqqqqqq", code=USAGE, says="there is no option --qqqqqqqqqqqq;")


def test_missing_and_superfluous_arguments(hussar: Program) -> None:
    hussar("build", "model.onnx", code=USAGE, says="--output is required")
    hussar("build", code=USAGE, says="required")
    hussar("compare", "a.onnx", code=USAGE)
    hussar("inspect", "a", "b", code=USAGE)
    hussar("version", "now", code=USAGE)
    hussar("bench", "a.plan", "--iterations", "many", code=USAGE)
    hussar("bench", hussar.plan(), "--iterations", "-4", code=USAGE, says="--iterations")
    hussar("completion", "tcsh", code=USAGE, says="bash, zsh or fish")


def test_flags_of_later_versions_are_refused(hussar: Program) -> None:
    model = hussar.model()
    for flag in ("--bf16", "--int8", "--fp8", "--strict"):
        hussar("build", model, "-o", "m.plan", flag, code=USAGE, says=f"{flag} is not possible")
    for flag in ("--calib", "--calib-method", "--calib-cache", "--sparsity", "--fallback"):
        hussar("build", model, "-o", "m.plan", flag, "value", code=USAGE, says=f"{flag} is not possible")
        hussar("build", model, "-o", "m.plan", f"{flag}=value", code=USAGE, says=f"{flag} is not possible")
    assert "m.plan" not in hussar.files()


def test_json_of_every_verb(hussar: Program) -> None:
    for verb, words in arguments_of(hussar).items():
        data = hussar(verb, *words, "--json").json
        assert data["schema_version"] == 1 and data["verb"] == verb and data["hussar_version"], data
        to_file = hussar(verb, *words, "--json", "out.json")
        assert to_file.out, f"{verb}: text goes to stdout when JSON goes to a file"
        in_file = json.loads((hussar.folder / "out.json").read_text())
        assert in_file.keys() == data.keys()
        hussar(verb, *words, "--json=other.txt")
        assert json.loads((hussar.folder / "other.txt").read_text()).keys() == data.keys()


def test_json_of_failures(hussar: Program) -> None:
    data = hussar("build", "missing.onnx", "-o", "m.plan", "--json", code=FAILED).json
    assert data["error"]["code"] == FAILED and "missing.onnx" in data["error"]["message"], data
    data = hussar("build", "missing.onnx", "--frob", "--json", code=USAGE).json
    assert data["error"]["code"] == USAGE, data
    hussar.model("other", tiny_onnx.shifted(0.5))
    data = hussar("compare", "other.onnx", hussar.plan(), "--json", code=ACCURACY).json
    assert data["comparisons"][0]["passes"] is False, data


def test_data_and_chatter_go_apart(hussar: Program) -> None:
    plan = hussar.plan()
    words = ["bench", plan, "--iterations", "3"]
    outcome = hussar(*words)
    assert "latency" in outcome.out and "latency" not in outcome.err
    assert "bench: measure" in outcome.err and "bench: measure" not in outcome.out
    assert "\x1b" not in outcome.err + outcome.out, "no escape sequences off a terminal"
    assert hussar(*words, "--quiet").err == ""


def test_colour_only_on_a_terminal_without_no_color(hussar: Program) -> None:
    def error_on_terminal(**environment: str) -> bytes:
        main_end, other_end = pty.openpty()
        subprocess.run([str(hussar.path), "nonsense"], stderr=other_end, env={**os.environ, "TERM": "xterm", **environment})
        os.close(other_end)
        text = os.read(main_end, 4096)
        os.close(main_end)
        return text

    assert b"\x1b[31m" in error_on_terminal(NO_COLOR="")
    assert b"\x1b[" not in error_on_terminal(NO_COLOR="1")


def shown_on_terminal(hussar: Program, *words: str) -> str:
    """All that a call that succeeds writes to a terminal as stderr."""
    main_end, other_end = pty.openpty()
    process = subprocess.Popen(
        [str(hussar.path), *words], cwd=hussar.folder, stdout=subprocess.DEVNULL, stderr=other_end,
        env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(other_end)
    text = b""
    try:
        while piece := os.read(main_end, 4096):
            text += piece
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(main_end)
    assert process.wait(timeout=60) == 0, text
    return text.decode()


def test_time_left_on_a_terminal(hussar: Program) -> None:
    model, shapes = hussar.model("deep"), ("--shapes", "x:100000x4")
    time_left = r" +\d+ %, \d+ s left"
    text = shown_on_terminal(hussar, "build", model, "-o", "m.plan", *shapes, "--budget", "1s", "--threads", "2")
    assert re.search("build: tune" + time_left, text), text
    assert re.search("build: self-check" + time_left, text), text
    text = shown_on_terminal(hussar, "compare", model, "m.plan", "--reference")
    assert re.search(f"compare: run {model}" + time_left, text), text
    text = shown_on_terminal(hussar, "bench", "m.plan", "--duration", "1")
    assert re.search("bench: measure" + time_left, text), text


def test_completion_scripts_parse(hussar: Program) -> None:
    for shell in ("bash", "zsh", "fish"):
        script = hussar("completion", shell).out
        assert all(verb in script for verb in VERBS) and "output" in script
    checked = subprocess.run(["bash", "-n"], input=hussar("completion", "bash").out, text=True, capture_output=True)
    assert checked.returncode == 0, checked.stderr
    ask = "COMP_WORDS=(hussar build --sh); COMP_CWORD=2; _hussar; echo ${COMPREPLY[@]}"
    answer = subprocess.run(["bash", "-c", hussar("completion", "bash").out + ask], text=True, capture_output=True)
    assert answer.stdout.split() == ["--shapes"], answer


def test_stdout_that_cannot_be_written(hussar: Program) -> None:
    with open("/dev/full", "w") as full:
        hussar("doctor", stdout=full, code=FAILED, says="cannot write to stdout")


def test_version(hussar: Program) -> None:
    text = hussar("version").out
    assert text.startswith("hussar ") and hussar("--version").out == text
    assert hussar("version", "--json").json["plan_version"] >= 1


def test_interrupt_ends_with_130(hussar: Program) -> None:
    plan = hussar.plan()
    process = subprocess.Popen(
        [str(hussar.path), "bench", plan, "--duration", "60"], cwd=hussar.folder, stderr=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in process.stderr:
        if "measure" in line:
            break
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130, process.returncode


def test_doctor(hussar: Program) -> None:
    text = hussar("doctor").out
    for word in ("CPU", "cores", "cache", "memory", "no GPU backend", "best level here"):
        assert word in text, text
    forced = hussar("doctor", "--json", HUSSAR_ISA="scalar").json
    assert forced["device"]["isa_active"] == "scalar" and forced["gpu_backend"] is False
    assert any("HUSSAR_ISA" in line for line in forced["advice"]) == (forced["device"]["isa_found"] != "scalar")
