"""Help, typos, JSON, streams: what holds for every verb."""

from __future__ import annotations

import json
import os
import pty
import re
import resource
import shlex
import shutil
import signal
import subprocess
import time

import tiny_onnx
from program import ACCURACY, FAILED, USAGE, Program, write_npy


def arguments_of(hussar: Program) -> dict[str, list[str]]:
    """A call of every verb that succeeds: the first example of its help."""
    hussar("build", hussar.model("model", tiny_onnx.chain()), "-o", "model.plan")
    write_npy(hussar.folder / "x.npy", [8, 4], [1, 2, 3, 4] * 8)
    calls = {}
    for verb in hussar.verbs():
        example = hussar(verb, "--help").out.split("Examples:\n")[1].splitlines()[0]
        program, first, *words = shlex.split(example.split(" > ")[0])
        assert (program, first) == ("hussar", verb), example
        calls[verb] = words
    return calls


def test_help_lists_every_verb(hussar: Program) -> None:
    text = hussar("--help").out
    assert {"bench", "build", "compare", "completion", "doctor", "inspect", "run", "version"} <= set(hussar.verbs()), text
    assert "Exit codes: 0 ok" in text
    assert hussar("help").out == text == hussar("-h").out


def test_help_of_every_verb_has_examples(hussar: Program) -> None:
    for verb in hussar.verbs():
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
    for flag in ("--fallback",):
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
    hussar("version", "--json=other.txt")
    assert json.loads((hussar.folder / "other.txt").read_text())["verb"] == "version"


def test_json_of_failures(hussar: Program) -> None:
    data = hussar("build", "missing.onnx", "-o", "m.plan", "--json", code=FAILED).json
    assert data["error"]["code"] == FAILED and "missing.onnx" in data["error"]["message"], data
    data = hussar("build", "missing.onnx", "--frob", "--json", code=USAGE).json
    assert data["error"]["code"] == USAGE, data
    data = hussar("bild", "m.onnx", "--json", code=USAGE).json
    assert data["verb"] == "bild" and "did you mean 'build'" in data["error"]["message"], data
    hussar("bild", "--json", "e.json", code=USAGE)
    assert json.loads((hussar.folder / "e.json").read_text())["error"]["code"] == USAGE
    data = hussar("bench", hussar.plan(), "--shapes", "x:99999999999999x4", "--json", code=USAGE).json
    assert data["error"]["code"] == USAGE and "too large" in data["error"]["message"], data
    # Inputs of 1.6 GB where there is room for less.
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (1_000_000_000, 1_000_000_000))  # noqa: E731
    data = hussar("bench", hussar.plan(), "--shapes", "x:100000000x4", "--json", code=FAILED, before=limit).json
    assert data["error"]["code"] == FAILED and "memory" in data["error"]["message"], data
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
    model, shapes = hussar.model("deep"), ("--shapes", "x:400000x4")
    time_left = r" +\d+ %, \d+ s left"
    text = shown_on_terminal(hussar, "build", hussar.model("convolutions"), "-o", "c.plan", "--budget", "5s")
    assert re.search("build: tune" + time_left, text), text
    text = shown_on_terminal(hussar, "build", model, "-o", "m.plan", *shapes, "--budget", "0")
    assert re.search("build: self-check" + time_left, text), text
    text = shown_on_terminal(hussar, "compare", model, "m.plan", "--reference")
    assert re.search(f"compare: run {model}" + time_left, text), text
    text = shown_on_terminal(hussar, "bench", "m.plan", "--duration", "1")
    assert re.search("bench: measure" + time_left, text), text


def test_completion_scripts_parse(hussar: Program) -> None:
    for shell in ("bash", "zsh", "fish"):
        script = hussar("completion", shell).out
        assert all(verb in script for verb in hussar.verbs()) and "output" in script and "cpu:avx2" in script
        if shutil.which(shell):
            checked = subprocess.run([shell, "-n"], input=script, text=True, capture_output=True)
            assert checked.returncode == 0 and not checked.stderr, checked.stderr


def test_completion_in_bash(hussar: Program) -> None:
    script = hussar("completion", "bash").out
    (hussar.folder / "quality").touch()

    def offers(line: str, breaks: str = " :=") -> list[str]:
        ask = f"COMP_WORDBREAKS='{breaks}' COMP_LINE='{line}' COMP_POINT={len(line)}; _hussar; echo ${{COMPREPLY[@]}}"
        answer = subprocess.run(["bash", "-c", script + ask], text=True, capture_output=True, cwd=hussar.folder)
        assert not answer.stderr, answer
        return answer.stdout.split()

    assert offers("hussar bu") == ["build"] and len(offers("hussar ")) > len(hussar.verbs())
    assert offers("hussar build --sh") == ["--shapes"]
    assert offers("hussar build --self-check ") == ["off", "quick", "full"]
    assert offers("hussar build m.onnx --self-check q") == ["quick"] == offers("hussar build --self-check=q")
    assert offers("hussar build --self-check=q", " ") == ["--self-check=quick"]
    assert offers("hussar build --target cpu:av") == ["avx2", "avx512", "avx512fp16"]
    assert offers("hussar build --target cpu:sc", " ") == ["cpu:scalar"] == offers("hussar build --target=cpu:sc", " =")
    assert "fuse_pointwise" in offers("hussar build --disable-pass ")
    assert offers("hussar completion z") == ["zsh"] and "--json" in offers("hussar completion -")
    assert offers("hussar build -o q") == ["quality"]


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
    for word in ("CPU", "cores", "cache", "memory", "NVRTC", "best level here"):
        assert word in text, text
    forced = hussar("doctor", "--json", HUSSAR_ISA="scalar").json
    assert forced["device"]["isa_active"] == "scalar" and {"NVRTC", "cuBLASLt", "cuDNN", "cuSPARSELt"} == set(forced["gpu"]["libraries"])
    assert any("HUSSAR_ISA" in line for line in forced["advice"]) == (forced["device"]["isa_found"] != "scalar")
