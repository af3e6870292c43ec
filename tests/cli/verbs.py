"""build, run, bench, compare, inspect: what each one does when all is well, and its own errors."""

from __future__ import annotations

import json
import math
import struct
import sys
import zipfile

import tiny_onnx
from program import ACCURACY, DEVICE, FAILED, MODEL, OK, USAGE, Program, read_npy, write_npy


def softmax_of_chain(row: list[float]) -> list[float]:
    sums = [max(0.0, value + bias) for value, bias in zip(row, (0.5, -0.25, 0.0, 1.0))]
    powers = [math.exp(value) for value in sums]
    return [power / sum(powers) for power in powers]


def close(left: list[float], right: list[float]) -> bool:
    return len(left) == len(right) and all(abs(a - b) < 1e-5 for a, b in zip(left, right))


# ---- build ---------------------------------------------------------------------------------------------------------


def test_build_reports(hussar: Program) -> None:
    data = hussar("build", hussar.model(), "-o", "m.plan", "--threads", "1", "--json").json
    assert data["plan_bytes"] == (hussar.folder / "m.plan").stat().st_size
    check = data["self_check"]
    assert check["done"] and check["max_relative_error"] <= 1e-3 and check["shapes"] == "x:1x4", check
    assert data["meta"]["threads"] == "1" and "max relative error" in data["meta"]["self_check"], data
    assert data["passes"] and all(row["ms"] >= 0 for row in data["passes"])
    text = hussar("build", "chain.onnx", "-o", "m.plan", "--verbose").out
    assert "fold_constants" in text and "self-check: max relative error" in text, text


def test_build_is_reproducible(hussar: Program) -> None:
    hussar("build", hussar.model(), "-o", "a.plan", "--budget", "0")
    hussar("build", "chain.onnx", "-o", "b.plan", "--budget", "0")
    assert (hussar.folder / "a.plan").read_bytes() == (hussar.folder / "b.plan").read_bytes()


def test_build_with_a_timing_cache(hussar: Program) -> None:
    build = ("build", hussar.model(), "-o", "a.plan", "--timing-cache", "t.cache", "--threads", "2")
    tuned = hussar(*build, "--budget", "1s", "--json").json["tuning"]
    assert tuned["problems"] == tuned["measured"] >= 1 and not tuned["skipped"], tuned
    assert "measured" in hussar("inspect", "a.plan").out
    plan, cache = (hussar.folder / "a.plan").read_bytes(), (hussar.folder / "t.cache").read_text()
    assert cache.startswith("# hussar timing cache 1\n") and cache.splitlines()[1:] == sorted(cache.splitlines()[1:])
    # What is known is not measured again, and without a budget decides all the same.
    for more in ((), ("--budget", "0")):
        again = hussar(*build, *more, "--json").json["tuning"]
        assert again["measured"] == 0, again
        assert (hussar.folder / "a.plan").read_bytes() == plan
    (hussar.folder / "t.cache").write_text("nonsense")
    hussar(*build, code=USAGE, says="timing cache t.cache: not a timing cache")
    for wrong in ("fast", "-1", "1h", "s"):
        hussar(*build, f"--budget={wrong}", code=USAGE, says="is not a time")


def test_build_from_a_plan(hussar: Program) -> None:
    plan = hussar.plan()
    hussar("build", plan, "-o", "second.plan", "--budget", "0")
    hussar("build", "second.plan", "-o", "third.plan", "--budget", "0")
    assert (hussar.folder / "second.plan").read_bytes() == (hussar.folder / "third.plan").read_bytes()
    data = hussar("build", plan, "-o", "scalar.plan", "--target", "cpu:scalar", "--json").json
    assert data["meta"]["target"] == "cpu:scalar" and data["meta"]["model"] == "chain.onnx", data
    assert data["self_check"]["reference"] == "the plan that it was made of", data
    hussar("compare", "chain.onnx", "scalar.plan")
    hussar("build", plan, "-o", "no.plan", "--shapes", "x:3x4", code=USAGE, says="need the ONNX model")
    hussar("build", plan, "-o", "no.plan", "--disable-pass", "all", code=USAGE, says="need the ONNX model")
    hussar("build", plan, "-o", "no.plan", "--dump", "passes", code=USAGE, says="need the ONNX model")
    assert "no.plan" not in hussar.files()


def test_build_shapes(hussar: Program) -> None:
    model = hussar.model()

    def input_of(*flags: str) -> str:
        hussar("build", model, "-o", "m.plan", *flags)
        return next(line for line in hussar("inspect", "m.plan").out.splitlines() if line.startswith("input"))

    assert "[3x4]" in input_of("--shapes", "x:3x4")
    assert "[batchx4]" in input_of("--shapes", "x:-1x4")
    assert "[rowsx4]" in input_of("--shapes", "x:rowsx4")
    bounds = ("--min-shapes", "x:1x4", "--opt-shapes", "x:2x4", "--max-shapes", "x:9x4")
    assert "[batchx4]" in input_of(*bounds)
    data = hussar("inspect", "m.plan", "--json").json
    assert data["meta"]["shapes_opt"] == "x:2x4" and data["memory"]["shapes"] == "x:2x4", data["meta"]
    assert "x:2x4" in data["meta"]["self_check"]
    assert "[5x4]" in input_of("--min-shapes", "x:5x4", "--opt-shapes", "x:5x4", "--max-shapes", "x:5x4")


def test_sizes_outside_the_range_are_refused(hussar: Program) -> None:
    model, bounds = hussar.model(), ("--min-shapes", "x:2x4", "--opt-shapes", "x:4x4", "--max-shapes", "x:9x4")
    hussar("build", model, "-o", "m.plan", *bounds)
    hussar("build", "m.plan", "-o", "again.plan")
    for plan in ("m.plan", "again.plan"):
        for rows, code in ((1, USAGE), (2, OK), (9, OK), (10, USAGE)):
            write_npy(hussar.folder / "x.npy", [rows, 4], [0] * 4 * rows)
            says = f"dimension 0 of input 'x' is {rows}; the plan was built for 2 to 9" if code else ""
            hussar("run", plan, "-i", "x=x.npy", code=code, says=says)
    hussar("bench", "m.plan", "--shapes", "x:50x4", code=USAGE, says="--max-shapes")
    assert "dimension 0 of input 'x' is 50" in hussar("inspect", "m.plan", "--shapes", "x:50x4").out
    hussar("compare", model, "m.plan")


def test_build_refuses_wrong_shapes(hussar: Program) -> None:
    model = hussar.model()
    for shapes, says in (
        ("z:1x4", "'z'"), ("x:1x5", "dimension 1 of 'x'"), ("x:1", "dimensions"), ("x", "NAME:DIM"), ("x:1x-2", "'-2'"),
        ("x:1x4,x:2x4", "two shapes"), ("x:1xx4", "''"), ("x:99999999999999999999x4", "neither a number"),
    ):  # fmt: skip
        hussar("build", model, "-o", "m.plan", "--shapes", shapes, code=USAGE, says=says)
    hussar("build", model, "-o", "m.plan", "--min-shapes", "x:1x4", code=USAGE, says="go together")
    hussar(
        "build", model, "-o", "m.plan", "--min-shapes", "x:4x4", "--opt-shapes", "x:2x4", "--max-shapes", "x:9x4",
        code=USAGE, says="4 .. 2 .. 9",
    )  # fmt: skip
    assert "m.plan" not in hussar.files()


def test_build_targets(hussar: Program) -> None:
    model = hussar.model()
    found = hussar("doctor", "--json").json["device"]["isa_found"]
    levels = ["scalar", "avx2", "avx512", "avx512fp16", "amx"]
    for level in levels:
        if levels.index(level) > levels.index(found):
            hussar("build", model, "-o", "no.plan", "--target", f"cpu:{level}", code=DEVICE, says="--self-check off")
            hussar("build", model, "-o", "yes.plan", "--target", f"cpu:{level}", "--self-check", "off")
            continue
        data = hussar("build", model, "-o", "m.plan", "--target", f"cpu:{level}", "--json").json
        assert data["meta"]["target"] == f"cpu:{level}"
    assert "no.plan" not in hussar.files()
    hussar("build", model, "-o", "m.plan", "--target", "cpu:mmx", code=USAGE, says="cpu:avx2")


def test_build_for_gpus(hussar: Program) -> None:
    model = hussar.model()
    compiler = {"VIRTUAL_ENV": sys.prefix}
    gpu = hussar("doctor", "--json", **compiler).json["gpu"]
    hussar("build", model, "-o", "m.plan", "--target", "cuda:x", code=USAGE, says="cuda:sm_90a")
    hussar("build", model, "-o", "m.plan", "--target", "cuda:99", code=DEVICE)
    hussar("build", model, "-o", "m.plan", "--target", "cuda:sm_70", code=DEVICE, says="sm_80")
    if "not found" in gpu["libraries"]["NVRTC"] or gpu["devices"]:
        return
    hussar("build", model, "-o", "m.plan", "--target", "cuda", code=DEVICE, says="no NVIDIA driver")
    data = hussar("build", model, "-o", "g.plan", "--target", "cuda:sm_90a", "--json", **compiler).json
    assert data["meta"]["target"] == "cuda:sm_90" and "not here" in data["meta"]["self_check"]
    assert "built again for this CPU" in hussar("bench", "g.plan", "--iterations", "1").err
    hussar("compare", model, "g.plan")
    data = hussar("build", "g.plan", "-o", "c.plan", "--target", "cpu", "--json").json
    assert data["meta"]["target"].startswith("cpu:")


def test_build_passes(hussar: Program) -> None:
    model = hussar.model()
    hussar("build", model, "-o", "m.plan", "--disable-pass", "no_such_pass", code=USAGE, says="no_such_pass")
    hussar("build", model, "-o", "m.plan", "--disable-pass", "no_such_pass", code=USAGE, says="fuse_pointwise")
    data = hussar("build", model, "-o", "m.plan", "--disable-pass", "all", "--json").json
    assert data["passes"] == []
    data = hussar(
        "build", model, "-o", "m.plan", "--disable-pass", "fold_constants", "--disable-pass", "drop_training", "--json"
    ).json
    names = [row["name"] for row in data["passes"]]
    assert names and "fold_constants" not in names and "drop_training" not in names


def test_build_without_each_pass(hussar: Program) -> None:
    model = hussar.model()
    every = [row["name"] for row in hussar("build", model, "-o", "m.plan", "--json").json["passes"]]
    assert len(every) > 20, every
    for name in every:
        data = hussar("build", model, "-o", "m.plan", "--disable-pass", name, "--json").json
        assert [row["name"] for row in data["passes"]] == [other for other in every if other != name]
        assert data["self_check"]["done"], data


def test_build_times_passes(hussar: Program) -> None:
    lines = hussar("build", hussar.model(), "-o", "m.plan", "--verbose").out.splitlines()
    assert lines[0].split()[:3] == ["pass", "rewrites", "ms"], lines[0]
    row = next(line.split() for line in lines if line.startswith("fuse_pointwise"))
    assert int(row[1]) >= 1 and float(row[2]) >= 0, row


def test_build_verifies_passes(hussar: Program) -> None:
    model = hussar.model()
    rows = hussar("build", model, "-o", "m.plan", "--verify-passes", "--json").json["passes"]
    for row in rows:
        error = row["max_relative_error"]
        assert error is None if row["rewrites"] == 0 else 0 <= error <= 1e-3, row
    assert any(row["rewrites"] for row in rows)
    assert all(row["max_relative_error"] is None for row in hussar("build", model, "-o", "m.plan", "--json").json["passes"])
    text = hussar("build", model, "-o", "m.plan", "--verify-passes", "--verbose").out
    assert "error of the outputs" in text, text
    bounds = ("--min-shapes", "x:1x4", "--opt-shapes", "x:2x4", "--max-shapes", "x:9x4")
    hussar("build", model, "-o", "m.plan", "--verify-passes", *bounds)
    (hussar.folder / "m.plan").unlink()
    # No error is below a negative tolerance: the first pass that changes the graph is named.
    first = next(row["name"] for row in rows if row["rewrites"])
    says = f"after pass {first} output 'y' is off"
    hussar("build", model, "-o", "m.plan", "--verify-passes", "--tolerance", "-1", code=ACCURACY, says=says)
    assert "m.plan" not in hussar.files()


def test_build_dump(hussar: Program) -> None:
    constants = [tiny_onnx.tensor("a", [4], [1, 2, 3, 4]), tiny_onnx.tensor("b", [4], [5, 6, 7, 8])]
    nodes = [tiny_onnx.node("Add", ["a", "b"], ["ab"]), tiny_onnx.node("Add", ["x", "ab"], ["y"])]
    content = tiny_onnx.model(nodes, [tiny_onnx.value("x", [4])], [tiny_onnx.value("y", [4])], constants)
    hussar("build", hussar.model("fold", content), "-o", "m.plan", "--dump", "dump")
    files = sorted((hussar.folder / "dump").iterdir())
    assert any("fold_constants" in file.name for file in files), files
    assert all(file.read_text().strip() for file in files)


def test_build_self_check(hussar: Program) -> None:
    model = hussar.model()
    data = hussar("build", model, "-o", "m.plan", "--self-check", "off", "--json").json
    assert data["self_check"]["done"] is False and data["meta"]["self_check"] == "skipped: switched off"
    assert hussar("build", model, "-o", "m.plan", "--self-check", "full", "--json").json["self_check"]["done"]
    hussar("build", model, "-o", "m.plan", "--self-check", "maybe", code=USAGE)
    (hussar.folder / "m.plan").unlink()
    # No error is below a negative tolerance, so the check must fail and write nothing.
    hussar("build", model, "-o", "m.plan", "--tolerance", "-1", code=ACCURACY, says="output 'y'")
    assert "m.plan" not in hussar.files()


def test_build_lists_everything_unsupported(hussar: Program) -> None:
    outcome = hussar("build", hussar.model("unsupported"), "-o", "m.plan", code=MODEL, says="2 unsupported")
    assert "bad/one" in outcome.err and "bad/two" in outcome.err and "m.plan" not in hussar.files()


def test_json_lists_more_than_the_message_shows(hussar: Program) -> None:
    for name in ("many_unsupported", "many_malformed"):
        model = hussar.model(name)
        outcome = hussar("build", model, "-o", "m.plan", "--json", code=MODEL, says="... and 20 more")
        details = outcome.json["error"]["details"]
        assert len(details) == 70 and all(f"'bad/{i}'" in line for i, line in enumerate(details)), details
        assert "'bad/69'" not in outcome.err, outcome
        assert hussar("inspect", model, "--json", code=MODEL).json["problems"] == details
    one = hussar("build", hussar.model("unsupported"), "-o", "m.plan", "--json", code=MODEL).json["error"]["details"]
    assert [("bad/one" in line, "bad/two" in line) for line in one] == [(True, False), (False, True)], one
    assert hussar("inspect", hussar.model(), "--json").json["problems"] == []


# ---- run -----------------------------------------------------------------------------------------------------------


def test_run_writes_outputs(hussar: Program) -> None:
    plan = hussar.plan()
    rows = [[1.0, -2.0, 0.5, 0.0], [3.0, 2.0, 1.0, -9.0]]
    write_npy(hussar.folder / "x.npy", [2, 4], rows[0] + rows[1])
    outcome = hussar("run", plan, "--input", "x=x.npy", "-o", "out")
    assert "y" in outcome.out and "2x4" in outcome.out
    shape, values = read_npy(hussar.folder / "out/y.npy")
    assert shape == (2, 4) and close(values, softmax_of_chain(rows[0]) + softmax_of_chain(rows[1]))
    hussar("run", "chain.onnx", "-i", "x=x.npy", "-o", "direct")
    assert close(read_npy(hussar.folder / "direct/y.npy")[1], values)


def test_run_takes_npz_and_raw(hussar: Program) -> None:
    plan = hussar.plan("two_inputs")
    write_npy(hussar.folder / "left.npy", [2, 3], [1, 2, 3, -4, 5, 6])
    write_npy(hussar.folder / "right.npy", [2, 3], [10, 20, 30, 40, 50, 60])
    with zipfile.ZipFile(hussar.folder / "both.npz", "w", zipfile.ZIP_STORED) as archive:
        archive.write(hussar.folder / "left.npy", "left.npy")
        archive.write(hussar.folder / "right.npy", "right.npy")
    hussar("run", plan, "--input", "both.npz", "-o", "out")
    assert read_npy(hussar.folder / "out/total.npy")[1] == [11, 22, 33, 36, 55, 66]
    assert read_npy(hussar.folder / "out/out_flags.npy")[1] == [1, 2, 3, 0, 5, 6]
    (hussar.folder / "right.raw").write_bytes(struct.pack("<6f", 1, 1, 1, 1, 1, 1))
    hussar("run", plan, "--input", "left=left.npy", "--input", "right=right.raw", "-o", "out")
    assert read_npy(hussar.folder / "out/total.npy")[1] == [2, 3, 4, -3, 6, 7]
    with zipfile.ZipFile(hussar.folder / "packed.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(hussar.folder / "left.npy", "left.npy")
    hussar("run", plan, "--input", "packed.npz", code=USAGE, says="compressed")


def test_run_says_what_is_missing(hussar: Program) -> None:
    plan = hussar.plan("two_inputs")
    outcome = hussar("run", plan, code=USAGE, says="missing inputs")
    assert "left:float32[2x3]" in outcome.err and "right:float32[2x3]" in outcome.err
    write_npy(hussar.folder / "x.npy", [2, 3], [0] * 6)
    hussar("run", plan, "-i", "left=x.npy", code=USAGE, says="right:float32[2x3]")
    hussar("run", plan, "-i", "wrong=x.npy", code=USAGE, says="no input 'wrong'")
    hussar("run", plan, "-i", "left=x.npy", "-i", "left=x.npy", code=USAGE, says="twice")


# ---- bench ---------------------------------------------------------------------------------------------------------


def test_bench_json_contract(hussar: Program) -> None:
    plan = hussar.plan()
    data = hussar("bench", plan, "--iterations", "20", "--json", "--per-layer").json
    latency = data["latency_ms"]
    assert 0 < latency["min"] <= latency["median"] <= latency["p90"] <= latency["p95"] <= latency["p99"] <= latency["max"]
    assert latency["min"] <= latency["mean"] <= latency["max"] and data["iterations"] == 20
    assert data["throughput_per_s"] > 0 and data["load_ms"] > 0 and data["peak_rss_bytes"] > 1 << 20
    assert data["plan_bytes"] == (hussar.folder / plan).stat().st_size
    assert data["arena_bytes"] >= data["arena_lower_bound_bytes"] > 0
    assert data["precision_counts"]["float32"] >= 1 and data["device"]["kind"] == "cpu" and data["device"]["cpu_model"]
    assert abs(sum(layer["share"] for layer in data["layers"]) - 1) < 1e-6
    assert all(layer["step"] and layer["kernel"] for layer in data["layers"])


def test_bench_text_and_choices(hussar: Program) -> None:
    plan = hussar.plan()
    outcome = hussar("bench", plan, "--iterations", "3", "--per-layer", "--threads", "2")
    assert "GFLOP/s" in outcome.out and "layer/" in outcome.out and "2 threads" in outcome.out
    assert "the shapes are open" in outcome.err
    outcome = hussar("bench", plan, "--iterations", "3", "--shapes", "x:7x4", "--json")
    assert outcome.json["shapes"] == "x:7x4" and "open" not in outcome.err
    write_npy(hussar.folder / "x.npy", [3, 4], [0] * 12)
    data = hussar("bench", "chain.onnx", "--iterations", "3", "--load-inputs", "x=x.npy", "--json").json
    assert data["shapes"] == "x:3x4" and data["kind"] == "compiled" and data["build_ms"] > 0
    hussar("bench", plan, "--shapes", "x:1x9", code=USAGE, says="dimension 1 of 'x'")
    hussar("bench", plan, "--threads", "-1", code=USAGE, says="threads")


def test_bench_problem(hussar: Program) -> None:
    data = hussar("bench", "--problem", "conv x=1x8x9x9 w=8x8x3x3 pads=1,1,1,1", "--duration", "0.1", "--json").json
    assert data["flops"] == 2 * 9 * 9 * 8 * 8 * 9 and data["roofline_us"] > 0 and data["peaks"]["flops_per_s"] > 1e8
    measured = [rival for rival in data["rivals"] if rival["us"] is not None]
    assert measured and all(rival["us"] > 0 for rival in measured)
    assert all(rival["refusal"] for rival in data["rivals"] if rival["us"] is None)
    again = hussar("bench", "--problem", data["problem"], "--duration", "0.1")
    assert data["problem"] in again.out and "of the roofline" in again.out
    hussar("bench", "--problem", "Nothing x=3", code=USAGE, says="no operator 'Nothing'")
    hussar("bench", code=USAGE, says="either a MODEL or --problem")
    hussar("bench", hussar.plan(), "--problem", "Relu x=3", code=USAGE, says="either a MODEL or --problem")


# ---- compare -------------------------------------------------------------------------------------------------------


def test_compare_agrees(hussar: Program) -> None:
    plan = hussar.plan()
    data = hussar("compare", "chain.onnx", plan, plan, "--json").json
    assert len(data["comparisons"]) == 2
    output = data["comparisons"][0]["outputs"][0]
    assert output["name"] == "y" and output["max_rel"] <= 1e-5 and output["argmax_agree"] == output["argmax_rows"] == 1
    hussar("compare", "chain.onnx", plan, "--reference", "--tolerance", "1e-5")
    text = hussar("compare", "chain.onnx", plan, "--layers").out
    assert "no tensor differs" in text and "SQNR" in text, text


def test_compare_names_the_first_bad_tensor_and_node(hussar: Program) -> None:
    # Without passes every tensor keeps its own step, so the change in the bias shows at its very place.
    plan = hussar.plan("chain", "--disable-pass", "all")
    other = hussar.model("other", tiny_onnx.shifted(0.7))
    outcome = hussar("compare", other, plan, "--layers", "--json", "d.json", code=ACCURACY, says="'sum'")
    assert "layer/add" in outcome.err
    first = json.loads((hussar.folder / "d.json").read_text())["comparisons"][0]["first_bad"]
    assert first["name"] == "sum" and "layer/add" in first["node"] and abs(first["max_abs"] - 0.7) < 1e-5
    hussar("compare", other, plan, "--tolerance", "10")


def test_compare_refuses_unlike_models(hussar: Program) -> None:
    plan = hussar.plan()
    hussar("compare", hussar.model("two_inputs"), plan, code=USAGE, says="left:float32[2x3]")
    hussar("compare", "chain.onnx", "missing.plan", code=FAILED, says="missing.plan")


# ---- inspect -------------------------------------------------------------------------------------------------------


def test_inspect_model(hussar: Program) -> None:
    data = hussar("inspect", hussar.model(), "--json").json
    assert {row["op"]: row["nodes"] for row in data["ops"]} == {"Add": 1, "Relu": 1, "Softmax": 1}
    assert data["supported"] and data["flops"] > 0 and data["weights"]["bytes"] == 16
    assert abs(data["weights"]["zeros_share"] - 0.25) < 1e-9 and data["opsets"] == {"ai.onnx": 17}
    outcome = hussar("inspect", hussar.model("unsupported"), code=MODEL, says="bad/one")
    assert "NoSuchOperator" in outcome.out and "NO" in outcome.out


def test_inspect_tells_refused_nodes_from_good_ones(hussar: Program) -> None:
    outcome = hussar("inspect", hussar.model("malformed"), "--json", code=MODEL, says="3 malformed or unsupported")
    for name in ("bad/softmax", "bad/flatten", "bad/one"):
        assert name in outcome.err, outcome
    supported = {entry["op"]: entry["supported"] for entry in outcome.json["ops"]}
    assert supported == {"Flatten": False, "NoSuchOperator": False, "Relu": True, "Softmax": False}, outcome


def test_inspect_sparsity(hussar: Program) -> None:
    weights = [0.0, 0.0, 1.0, 2.0, 0.0, 1.0, 1.0, 1.0]  # [4][2]: column 0 is 0 1 0 1, column 1 is 0 2 1 1
    content = tiny_onnx.model(
        [tiny_onnx.node("Add", ["x", "w"], ["y"])], [tiny_onnx.value("x", [4, 2])], [tiny_onnx.value("y", [4, 2])],
        [tiny_onnx.tensor("w", [4, 2], weights)],
    )  # fmt: skip
    data = hussar("inspect", hussar.model("sparse", content), "--json").json
    assert abs(data["weights"]["zeros_share"] - 3 / 8) < 1e-9 and data["weights"]["groups_2_4_share"] == 0.5


def test_inspect_plan(hussar: Program) -> None:
    plan = hussar.plan("chain", "--disable-pass", "all")
    outcome = hussar("inspect", plan, "--verify")
    assert "plan format" in outcome.out and "verified" in outcome.out and "layer/softmax" in outcome.out
    data = hussar("inspect", plan, "--shapes", "x:100x4", "--json").json
    assert data["header"]["written_by"].startswith("hussar ") and data["memory"]["arena_bytes"] >= 1600
    assert [region["op"] for region in data["regions"]] == ["Add", "Relu", "Softmax"]
    assert all(region["kernel"] and region["report"] for region in data["regions"])
    assert "layer/softmax" not in hussar("inspect", plan, "--brief").out
    fused = [region["fused"] for region in hussar("inspect", hussar.plan("chain"), "--json").json["regions"]]
    assert any("relu" in program for program in fused), fused


def image_model() -> bytes:
    """x[1,64,48,48] -> Conv 1x1 -> Cast to float16: a product with room for several cuts between two conversions."""
    nodes = [
        tiny_onnx.node("Conv", ["x", "w"], ["a"], "product"),
        tiny_onnx.node("Cast", ["a"], ["y"], "half", [tiny_onnx.attribute_int("to", 10)]),
    ]
    weights = [tiny_onnx.tensor("w", [96, 64, 1, 1], [((i * 37) % 101 - 50) / 500 for i in range(96 * 64)])]
    outputs = [tiny_onnx.value("y", [1, 96, 48, 48], 10)]
    return tiny_onnx.model(nodes, [tiny_onnx.value("x", [1, 64, 48, 48])], outputs, weights)


def test_inspect_shows_every_rival(hussar: Program) -> None:
    build = ("build", hussar.model("image", image_model()), "-o", "m.plan", "--threads", "2", "--budget")
    reasons = {}
    for budget in ("0", "5s"):
        hussar(*build, budget, "--target", "cpu:scalar")
        region = next(row for row in hussar("inspect", "m.plan", "--json").json["regions"] if row["op"] == "Conv")
        lines = dict(line.split(": ", 1) for line in region["report"].splitlines())
        cuts = {name: line for name, line in lines.items() if name.startswith("conv_tile:")}
        assert len(cuts) >= 2 and all(", predicted " in line for line in cuts.values()), region["report"]
        reasons[budget] = cuts
        assert all(f"{name}: {line}" in hussar("inspect", "m.plan").out for name, line in cuts.items())
    assert all(line.startswith("not measured: ") for line in reasons["0"].values()), reasons
    assert any("measured to be faster" in line for line in reasons["0"].values()), reasons
    assert any(", measured " in line for line in reasons["5s"].values()), reasons


def test_conversions_are_counted(hussar: Program) -> None:
    hussar("build", hussar.model("image", image_model()), "-o", "m.plan", "--budget", "0")
    found = hussar("inspect", "m.plan", "--json").json["conversions"]
    ops = [row["op"] for row in hussar("inspect", "m.plan", "--json").json["regions"]]
    assert found["layout"]["steps"] == ops.count("hussar.Reformat") >= 1 and found["precision"]["steps"] == 1, (found, ops)
    assert 0 < found["layout"]["share"] < 1 and found["layout"]["us"] < found["all_steps_us"], found
    assert "of layout" in hussar("inspect", "m.plan").out
    bench = ("bench", "m.plan", "--iterations", "3", "--per-layer")
    measured = hussar(*bench, "--json").json["conversions"]
    assert measured["layout"]["steps"] == found["layout"]["steps"] and measured["precision"]["us"] > 0, measured
    assert "conversions: " in hussar(*bench).out
    hussar("build", hussar.model(), "-o", "m.plan", "--budget", "0")
    found = hussar("inspect", "m.plan", "--json").json["conversions"]
    assert found["layout"] == {"steps": 0, "views": 0, "us": 0, "share": 0} == found["precision"], found
    assert "none of layout; none of precision" in hussar("inspect", "m.plan").out
