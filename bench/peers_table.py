#!/usr/bin/env python3
"""The report of bench/peers_cpu.py as a markdown section.

    bench/peers_table.py bench/results/FILE.json                        # prints it
    bench/peers_table.py bench/results/FILE.json --update-docs SECTION  # replaces that section of docs/benchmarks.md
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import sys

import report_section

HALVES = {"hussar_fp16": "fp16", "hussar_bf16": "bf16"}
LABELS = {
    "hussar": "Hussar", "hussar_fp16": "Hussar FP16", "hussar_bf16": "Hussar BF16", "ort": "ONNX Runtime",
    "openvino_f32": "OpenVINO f32", "openvino": "OpenVINO default",
}  # fmt: skip

# OpenVINO's settings; where its default is another precision than FP32, it may be less exact.
SETTINGS = ("openvino_f32", "openvino")


def number(value: float | None) -> str:
    """Three significant digits; a dash for what is absent."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def dig(row: dict, engine: str, *path: str):
    entry = row["engines"].get(engine)
    for key in path:
        entry = entry.get(key) if isinstance(entry, dict) else None
    return entry


def milliseconds(row: dict, engine: str) -> str:
    median, low, high = (dig(row, engine, "latency_ms", key) for key in ("median", "min", "p90"))
    if median is None:
        return "fails" if dig(row, engine, "error") else "-"
    return f"{number(median)} ({number(low)}, {number(high)})"


def megabytes(value: int | None) -> str:
    return number(None if value is None else value / 1e6)


def progress_line(row: dict) -> str:
    if "unavailable" in row:
        return f"{row['model']}: skipped, {row['unavailable']}"
    parts = []
    for engine, entry in row["engines"].items():
        if "error" in entry:
            text = f"error: {entry['error']}"
        elif "latency_ms" in entry:
            text = f"{number(entry['latency_ms']['median'])} ms"
        else:
            text = f"load {number(dig(row, engine, 'process', 'load_ms'))} ms"
        if "agreement" in entry:
            text += f" (error {entry['agreement']['max_relative']:.1e})"
        parts.append(f"{engine} {text}")
    return f"{row['model']}: " + "; ".join(parts)


def openvino_ratio(row: dict) -> float | None:
    """Hussar's time by that of the fastest of OpenVINO's settings whose outputs are acceptable as FP32."""
    times = [dig(row, name, "latency_ms", "median") for name in SETTINGS if dig(row, name, "agreement", "acceptable")]
    own = dig(row, "hussar", "latency_ms", "median")
    known = [time for time in times if time is not None]
    return own / min(known) if own is not None and known else None


def bfloat_ratio(row: dict) -> float | None:
    """Hussar's time with --bf16 by that of OpenVINO's default, which is BF16 where the processor has it."""
    own, peer = (dig(row, name, "latency_ms", "median") for name in ("hussar_bf16", "openvino"))
    return own / peer if own is not None and peer is not None else None


def latency_table(rows: list[dict], engines: list[str]) -> list[str]:
    peers = [engine for engine in engines if engine != "hussar" and engine not in HALVES]
    halves = [engine for engine in engines if engine in HALVES] if "hussar" in engines else []
    has_settings = "hussar" in engines and all(name in engines for name in SETTINGS)
    head = ["model", *(LABELS[engine] for engine in engines)]
    if "hussar" in engines:
        head += [f"Hussar / {LABELS[peer]}" for peer in peers]
    if has_settings:
        head.append("Hussar / OpenVINO, the fastest within 1e-3")
    for half in halves:
        head.append(f"{LABELS[half]} / Hussar")
    if "hussar_bf16" in halves and "openvino" in peers:
        head.append("Hussar BF16 / OpenVINO default")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [row["model"] + ("*" if row["weights"] == "random" else "")]
        cells += [milliseconds(row, engine) for engine in engines]
        if "hussar" in engines:
            cells += [number(row.get("ratio", {}).get(peer)) for peer in peers]
        if has_settings:
            cells.append(number(openvino_ratio(row)))
        cells += [number(row.get(f"{HALVES[half]}_ratio")) for half in halves]
        if "hussar_bf16" in halves and "openvino" in peers:
            cells.append(number(bfloat_ratio(row)))
        lines.append("| " + " | ".join(cells) + " |")
    if "hussar" in engines and len(rows) > 1:
        lines.append("| " + " | ".join(means_row(rows, engines, peers)) + " |")
    return lines


def geometric_mean(values: list[float]) -> float | None:
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def means_row(rows: list[dict], engines: list[str], peers: list[str]) -> list[str]:
    """Geometric means of the ratios over the models that both engines run."""
    cells = ["geometric mean", *[""] * len(engines)]
    for peer in peers:
        cells.append(number(geometric_mean([row["ratio"][peer] for row in rows if peer in row.get("ratio", {})])))
    if all(name in engines for name in SETTINGS):
        cells.append(number(geometric_mean([ratio for row in rows if (ratio := openvino_ratio(row)) is not None])))
    for key in [f"{HALVES[engine]}_ratio" for engine in engines if engine in HALVES]:
        cells.append(number(geometric_mean([row[key] for row in rows if key in row])))
    if "hussar_bf16" in engines and "openvino" in peers:
        cells.append(number(geometric_mean([ratio for row in rows if (ratio := bfloat_ratio(row)) is not None])))
    return cells


def scaling_table(rows: list[dict], threads: int) -> list[str]:
    measured = [row for row in rows if "scaling" in row]
    if not measured:
        return []
    head = ["model", "Hussar, 1 thread", f"Hussar, {threads} threads", "speed-up"]
    lines = ["", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in measured:
        one = row["scaling"]["one_thread_ms"]
        first = f"{number(one['median'])} ({number(one['min'])}, {number(one['p90'])})"
        cells = [row["model"], first, milliseconds(row, "hussar"), f"{row['scaling']['speedup']:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    mean = geometric_mean([row["scaling"]["speedup"] for row in measured])
    return [*lines, f"| geometric mean | | | {mean:.2f} |"]


def agreement_table(rows: list[dict], engines: list[str]) -> list[str]:
    judged = [engine for engine in engines if any(dig(row, engine, "agreement") for row in rows)]
    if not judged:
        return []
    head = ["model", *(f"{LABELS[engine]}: error, flips" for engine in judged)]
    lines = ["", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [row["model"]]
        for engine in judged:
            report = dig(row, engine, "agreement")
            cells.append(
                f"{report['max_relative']:.1e}, {report['flips_no_tie']} of {report['decisions']}" if report else "-"
            )
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def cost_table(rows: list[dict], engines: list[str]) -> list[str]:
    measured = [engine for engine in engines if any(dig(row, engine, "process", "load_ms") for row in rows)]
    if not measured:
        return []
    own = "hussar" in measured
    head = ["model", "ONNX MB", *(["plan MB", "build s", "build s, untuned"] if own else [])]
    for engine in measured:
        head += [f"{LABELS[engine]}: load ms", "peak RSS MB", "of it the model"]
    lines = ["", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [row["model"], megabytes(row["onnx_bytes"])]
        if own:
            cells.append(megabytes(dig(row, "hussar", "plan_bytes")))
            cells += [number(dig(row, "hussar", key)) for key in ("build_seconds", "build_seconds_untuned")]
        for engine in measured:
            cells.append(number(dig(row, engine, "process", "load_ms")))
            cells += [megabytes(dig(row, engine, "process", key)) for key in ("peak_bytes", "model_bytes")]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def failures(rows: list[dict]) -> list[str]:
    lines = []
    for row in rows:
        for engine, entry in row["engines"].items():
            if "error" in entry:
                lines.append(f"- {row['model']}, {LABELS[engine]}: {entry['error']}")
    return ["", "Not measured:", *lines] if lines else []


def closing_lines(rows: list[dict], skipped: list[dict]) -> list[str]:
    """What is not in the tables, and why."""
    return [*failures(rows), *([""] if skipped else []), *(f"- {row['model']} skipped: {row['unavailable']}" for row in skipped)]


def markdown(report: dict) -> str:
    facts, settings = report["machine"], report["settings"]
    rows = [row for row in report["models"] if "unavailable" not in row]
    skipped = [row for row in report["models"] if "unavailable" in row]
    engines = [engine for engine in LABELS if any(engine in row["engines"] for row in rows)]
    precisions = {dig(row, "openvino", "precision") for row in rows} - {None}
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items() if version)
    lines = [
        f"Measured {facts['date']} at commit {facts['commit']} on {facts['cpu']} ({facts['cpu_family_model']}), "
        f"{facts['cores']} cores, {' '.join(facts['features'])}; governor {facts['governor'] or 'not visible'}; "
        f"load average at the start {facts['load_average']}; "
        f"{versions}.",
    ]
    if settings.get("cost_only"):
        text = f"{settings['threads']} threads, plans that are not tuned. Load times and memory are medians of three processes."
        return "\n".join([*lines, text, *cost_table(rows, engines), *closing_lines(rows, skipped)])
    lines += [
        f"{settings['threads']} threads, {settings['rounds']} rounds in rotating order, bursts of about "
        f"{settings['burst_ms']:.0f} ms after pauses of {settings['pause_ms']:.0f} ms. "
        "Milliseconds: median (minimum, 90th percentile). * = random weights.",
    ]
    if "note" in report:
        lines.append(f"Note: {report['note']}.")
    if precisions:
        lines.append(f"OpenVINO's default precision here: {', '.join(sorted(precisions))}.")
    lines += ["", *latency_table(rows, engines), *scaling_table(rows, settings["threads"])]
    lines += [*agreement_table(rows, engines), *cost_table(rows, engines), *closing_lines(rows, skipped)]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=pathlib.Path)
    parser.add_argument("--update-docs", metavar="SECTION", help="the name between the markers, such as peers_cpu_avx2")
    arguments = parser.parse_args()
    report = json.loads(arguments.report.read_text())
    text = markdown(report)
    if not arguments.update_docs:
        print(text)
    else:
        subject = "Load and memory" if report["settings"].get("cost_only") else "CPU"
        heading = f"{subject} beside the peers: {report['machine']['cpu']}"
        report_section.update(arguments.update_docs, "bench/peers_table.py", heading, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
