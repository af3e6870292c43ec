#!/usr/bin/env python3
"""Runs every test of the project and ends with the line `N passed, M failed, K skipped`.

A stage is a command; what it counts is read from its own summary line. A stage that ends with a status other than 0
without having counted a failure is one failure. Failures that a stage knows to be errors of the test's own data
(tests/conformance/known_data_errors.txt) have a column of their own. Exit status: 0 when nothing else failed, else 1.

What the sanitizers need is compiled while other stages test, with the time of the processor that these leave.

    tests/run_all.py                             # everything
    tests/run_all.py --only checks,unit          # some stages
    tests/run_all.py --list
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field

ROOT = pathlib.Path(__file__).resolve().parents[1]
COUNTS = re.compile(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$")
DATA_ERRORS = re.compile(r"^(\d+) of the failures are known errors of the data$")
CTEST = re.compile(r"tests passed, (\d+) tests? failed out of (\d+)")
CTEST_SKIPPED = re.compile(r"\*\*\*Skipped|\(Skipped\)$")
# Of the unit tests, those whose subject is bytes from outside or memory: the ones that sanitizers can say more about.
ADDRESS_TESTS = "^(Seeds/)?(BadInput|BadPlan|Hostile|Files|Wire|EditModel|Import|Plan|Session|Bindings|Memory|Dim|Convert|Graph|Statistics|Calibrat)"
THREAD_TESTS = "^(Threads|ThreadPool|CudaThreads)"
# What their models consist of, and what the passes make of it: the other operators would only take time to compile.
THREAD_OPERATORS = """add bias_add cast conv hussar_attention hussar_inverted_residual hussar_pointwise hussar_reformat
                      identity if max_pool mul non_zero relu softmax"""
# Of the compiler, what neither of the two programs links (a file too many here is an undefined reference): pruning, and
# most of what calibrates, judges precisions and writes models.
UNLINKED = """calibrate calibration_data calibration_samples channel_links conversions export_qdq fp8 judge_methods
              keep_fp32 label_check layer_errors layer_rows measure_problem order_channels plan_tensors prunable prune_model
              prune_samples prune_walk qdq_model qdq_opset quantization round_weights run_progress self_check sensitivity
              smooth spelling stage_walk tile_product timing_file write_edited"""

# Operators that no model of the address sanitizer's tests has; they are evaluated by the tests of operators.
UNUSED_OPERATORS = """acos acosh affine_grid and arg_min array_feature_extractor asin asinh atan atanh bias_add binarizer bitwise_and
                      bitwise_not bitwise_or bitwise_xor blackman_window cast_like celu center_crop_pad col2_im
                      compress conv_integer cosh deform_conv det dft dropout dynamic_quantize_mat_mul
                      embed_layer_normalization equal eye_like global_lp_pool global_max_pool greater_or_equal
                      hamming_window hann_window hussar_conv_to_bytes hussar_inverted_residual
                      hussar_quantized_attention is_inf is_nan
                      label_encoder less less_or_equal log lp_normalization lp_pool lrn mat_mul_integer_to_float
                      max_roi_pool max_unpool mean_variance_normalization mel_weight_matrix ms_group_query_attention
                      ms_multi_head_attention negative_log_likelihood_loss normalizer optional_get_element
                      optional_has_element or p_relu q_gemm q_linear_add q_linear_average_pool q_linear_concat
                      q_linear_global_average_pool q_linear_leaky_relu q_linear_mat_mul q_linear_mul q_linear_sigmoid
                      q_linear_softmax q_linear_where reduce_l1 reduce_log_sum reduce_log_sum_exp reduce_min
                      reduce_prod reduce_sum_square reverse_sequence scaler scatter_elements shrink sinh size
                      skip_simplified_layer_normalization softmax_cross_entropy_loss softsign space_to_depth stft tan
                      tensor_scatter tf_idf_vectorizer thresholded_relu tree_ensemble upsample xor"""


@dataclass
class Stage:
    name: str
    commands: list[list]
    environment: dict[str, str] = field(default_factory=dict)
    needs: pathlib.Path | None = None  # the stage is left out, loudly, when this is absent
    ahead: list[list] = field(default_factory=list)  # commands whose work may be done while earlier stages run


@dataclass
class Outcome:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    data_errors: int = 0
    seconds: float = 0.0
    processor_seconds: float = 0.0  # without what was done ahead


def build_commands(folder: pathlib.Path, jobs: int, targets: list[str], *options: str) -> list[list]:
    return [
        ["cmake", "-G", "Ninja", "-S", ROOT, "-B", folder, "--log-level=WARNING", *options],
        ["cmake", "--build", folder, "-j", jobs, "--target", *targets],
    ]


def ctest(folder: pathlib.Path, jobs: int, *options: str) -> list:
    return ["ctest", "--test-dir", folder, "-j", jobs, "--output-on-failure", "--no-tests=error", *options]


def all_stages(build: pathlib.Path, jobs: int) -> list[Stage]:
    python = sys.executable
    address, thread = build.with_name("build-asan"), build.with_name("build-tsan")
    unlinked = rf"/src/(sparsify/|compile/({'|'.join(UNLINKED.split())})\.cpp|quantize/(adaptive_rounding|method_ranges)\.cpp)"
    sanitize = ("-DHUSSAR_PRECOMPILE=ON", "-DHUSSAR_UNITY=ON", "-DCMAKE_BUILD_TYPE=Debug", f"-DHUSSAR_LEAVE_OUT={unlinked}",
                f"-DHUSSAR_FINISHED={build}")
    operators = f"-DHUSSAR_OPERATORS={';'.join(THREAD_OPERATORS.split())}"
    # Where memory came from is told in two lines: a fifth to a third of the time went into longer ones.
    address_options = "allocator_may_return_null=1:max_allocation_size_mb=2000:malloc_context_size=2"
    fatal = {"UBSAN_OPTIONS": "print_stacktrace=1", "ASAN_OPTIONS": address_options}
    models = ROOT / "tests/models"
    used = sorted({path.stem for path in (ROOT / "src/ops").glob("*.cpp")} - set(UNUSED_OPERATORS.split()))
    address_build = build_commands(
        address, jobs, ["hussar_tests"], *sanitize, "-DHUSSAR_SANITIZE=address,undefined", "-DCMAKE_CXX_FLAGS_DEBUG=-O1 -g1",
        f"-DHUSSAR_OPERATORS={';'.join(used)}",
    )
    # These tests take two seconds: what takes time is compiling.
    thread_build = build_commands(
        thread, jobs, ["hussar_tests"], *sanitize, "-DHUSSAR_SANITIZE=thread", "-DCMAKE_CXX_FLAGS_DEBUG=-O0 -g1", operators
    )
    return [
        Stage("checks", [[python, ROOT / "tools/check/run.py"]]),
        Stage("build", build_commands(build, jobs, ["all", "tests"])),
        Stage("unit", [*build_commands(build, jobs, ["hussar_tests"]), ctest(build, jobs)]),
        Stage(
            "conformance",
            [[python, ROOT / "tests/conformance/run.py", "--runner", build / "bin/conformance_runner",
              "--target", target, "--json", build / name]
             for target, name in (("cpu", "conformance.json"), ("cpu:no_passes", "conformance_no_passes.json"))]
            # A few on the emulated GPU: its kernels have tests of their own, but nothing else runs this target.
            + [[python, ROOT / "tests/conformance/run.py", "--runner", build / "bin/conformance_runner",
                "--target", "emulated", "--only", "convtranspose", "--json", build / "conformance_emulated.json"]],
        ),
        Stage("command line", [[python, ROOT / "tests/cli/run.py"]], needs=ROOT / "tests/cli/run.py"),
        Stage("consumer", [[python, ROOT / "tests/consumer/run.py"]], needs=ROOT / "tests/consumer/run.py"),
        Stage("model tools", [[python, "-m", "unittest", "-q", models / "test_tools.py"]]),
        Stage("training", [[python, ROOT / "tests/python/run.py"]]),
        Stage("operators", [[python, models / "contributed.py"], [python, models / "zero_size.py"], [python, models / "quantized.py"],
                            [python, models / "exported.py"]]),
        Stage("models", [[python, models / "run.py"]]),
        Stage(
            "address and undefined behaviour",
            [*address_build, ctest(address, jobs, "-R", ADDRESS_TESTS)],
            environment={"HUSSAR_MUTATIONS": "20000", **fatal},
            ahead=address_build,
        ),
        Stage(
            "threads",
            [*thread_build, ctest(thread, 1, "-R", THREAD_TESTS)],
            environment={"TSAN_OPTIONS": "halt_on_error=1"},
            ahead=thread_build,
        ),
    ]  # fmt: skip


def read_counts(line: str, outcome: Outcome) -> None:
    """Adds what a summary line of our own scripts, of ctest or of unittest says."""
    if match := COUNTS.match(line):
        outcome.passed += int(match[1])
        outcome.failed += int(match[2])
        outcome.skipped += int(match[3] or 0)
    elif match := DATA_ERRORS.match(line):
        outcome.data_errors += int(match[1])
        outcome.failed -= int(match[1])
    elif match := CTEST.search(line):
        outcome.failed += int(match[1])
        outcome.passed += int(match[2]) - int(match[1])
    elif match := re.match(r"^Ran (\d+) tests? in", line):
        outcome.passed += int(match[1])
    elif match := re.match(r"^FAILED \((?:failures=(\d+))?(?:, )?(?:errors=(\d+))?", line):
        failed = int(match[1] or 0) + int(match[2] or 0)
        outcome.failed += failed
        outcome.passed -= failed


def run_command(command: list, stage: Stage, outcome: Outcome) -> int:
    environment = {**os.environ, **stage.environment}
    process = subprocess.Popen(
        [str(part) for part in command], cwd=ROOT, env=environment, text=True, errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    is_build = command[0] == "cmake"
    quiet = []
    for line in process.stdout:
        # Progress of builds and passed unit tests would hide what matters.
        if is_build or re.match(r"^(\s*Start +\d+:|\s*\d+/\d+ Test .* Passed )", line):
            quiet.append(line)
            continue
        if CTEST_SKIPPED.search(line) and "Test" in line:
            outcome.skipped += 1
            outcome.passed -= 1
        read_counts(line.rstrip("\n"), outcome)
        print(line, end="", flush=True)
    _, wait_status, usage = os.wait4(process.pid, 0)
    status = process.returncode = os.waitstatus_to_exitcode(wait_status)
    outcome.processor_seconds += usage.ru_utime + usage.ru_stime
    if status != 0 and is_build:
        print("".join(quiet), end="", flush=True)
    return status


def work_ahead(stage: Stage) -> None:
    """Errors are left to the stage, which runs the same commands again."""
    for command in stage.ahead:
        words = ["nice", "-n", "19", *map(str, command)]
        outcome = subprocess.run(words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if outcome.returncode != 0:
            return


def run_stages(stages: list[Stage]) -> dict[str, Outcome]:
    outcomes = {}
    background = concurrent.futures.ThreadPoolExecutor(1)
    ahead = {stage.name: background.submit(work_ahead, stage) for stage in stages if stage.ahead}
    try:
        for stage in stages:
            outcomes[stage.name] = run_stage(stage, ahead.get(stage.name))
    finally:
        background.shutdown(cancel_futures=True)
    return outcomes


def run_stage(stage: Stage, ahead: concurrent.futures.Future | None) -> Outcome:
    outcome = Outcome()
    print(f"== {stage.name}", flush=True)
    begin = time.monotonic()
    if stage.needs is not None and not stage.needs.exists():
        print(f"{stage.needs.relative_to(ROOT)} does not exist: one skipped", flush=True)
        outcome.skipped = 1
        return outcome
    if ahead is not None:
        ahead.result()
    for command in stage.commands:
        status = run_command(command, stage, outcome)
        if status == 0:
            continue
        if outcome.failed == 0:
            print(f"{stage.name}: `{' '.join(map(str, command[:3]))} ...` ended with status {status}", flush=True)
            outcome.failed = 1
        break
    outcome.seconds = time.monotonic() - begin
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--only", default="", help="comma-separated stages")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    stages = all_stages(arguments.build.resolve(), arguments.jobs)
    wanted = [name.strip() for name in arguments.only.split(",") if name.strip()]
    unknown = set(wanted) - {stage.name for stage in stages}
    if arguments.list or unknown:
        print("\n".join(stage.name for stage in stages))
        return 2 if unknown else 0
    outcomes = run_stages([stage for stage in stages if stage.name in wanted or not wanted])
    print(f"\n{'stage':34}{'passed':>8}{'failed':>8}{'bad data':>10}{'skipped':>9}{'seconds':>9}{'processor':>11}")
    for name, outcome in outcomes.items():
        counts = f"{outcome.passed:8}{outcome.failed:8}{outcome.data_errors:10}{outcome.skipped:9}"
        print(f"{name:34}{counts}{outcome.seconds:9.0f}{outcome.processor_seconds:11.0f}")
    passed = sum(outcome.passed for outcome in outcomes.values())
    failed = sum(outcome.failed for outcome in outcomes.values())
    skipped = sum(outcome.skipped for outcome in outcomes.values())
    data_errors = sum(outcome.data_errors for outcome in outcomes.values())
    if data_errors:
        print(f"{data_errors} more tests fail because their own data are wrong; they count neither way")
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
