"""The report of bench/system_cpu.py as a markdown section."""

from __future__ import annotations

LABELS = {"hussar": "Hussar", "ort": "ONNX Runtime"}


def number(value: float | None) -> str:
    """Three significant digits; a dash for what is absent."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = ["", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def by_engine(report: dict, key: str, columns: dict[str, str], inner: str | None = None) -> list[str]:
    """One row per model, `columns` (field -> title) per engine."""
    rows = [row for row in report["models"] if key in row]
    if not rows:
        return []
    engines = [name for name in LABELS if name in (rows[0][key][inner] if inner else rows[0][key])]
    head = ["model", *(f"{LABELS[name]}: {title}" for name in engines for title in columns.values())]
    cells = []
    for row in rows:
        part = row[key][inner] if inner else row[key]
        cells.append([row["model"], *(number(part[name].get(field)) for name in engines for field in columns)])
    return table(head, cells)


def markdown(report: dict) -> str:
    facts, settings = report["machine"], report["settings"]
    threads = settings["threads"]
    lines = [
        f"Measured {facts['date']} at commit {facts['commit']} on {facts['cpu']} ({facts['cpu_family_model']}), "
        f"{facts['cores']} cores; load average at the start {facts['load_average']}; "
        f"onnxruntime {facts['versions']['onnxruntime']}. Medians of {settings['rounds']} rounds, milliseconds per run.",
    ]
    callers = by_engine(report, "callers", {"in_turn_ms": "in turn", "at_once_ms": "at once", "cost": "cost"})
    if callers:
        lines += ["", f"Two callers, {threads} threads each (cost: at once / in turn):", *callers]
    columns = {"quiet_ms": f"{threads} threads", "many_ms": "4 x cores", "busy_ms": "a core is busy"}
    crowd = by_engine(report, "crowd", columns, "engines")
    if crowd:
        lines += ["", "More threads than cores, and a core that another process keeps busy:", *crowd]
    idle = by_engine(report, "idle", {"idle_percent": "% of a core"})
    if idle:
        lines += ["", "Processor time in the second after a burst of runs:", *idle]
    if "region" in report:
        keys = ("empty_ns", "met_ns", "met_p90_ns", "first_met_ns")
        rows = [[f"{entry['threads']}", *(number(entry[key]) for key in keys)] for entry in report["region"]["regions"]]
        lines += ["", "Fork and join of a parallel region, ns. Met: every share waits for all threads to arrive. First: of"]
        lines += ["a run, with the workers asleep."]
        lines += table(["threads", "empty", "met", "met, 90th percentile", "first, met"], rows)
    return "\n".join(lines)
