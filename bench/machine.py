"""What a reader needs to know about the machine and the versions behind a benchmark result."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import pathlib
import platform
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[1]
FEATURES = ("avx2", "fma", "avx_vnni", "avx512f", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile",
            "amx_int8", "amx_bf16")  # fmt: skip


def cpu_fields() -> dict[str, str]:
    """The first processor's entries of /proc/cpuinfo."""
    fields = {}
    for line in pathlib.Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        fields[key.strip()] = value.strip()
    return fields


def first_line(path: str) -> str | None:
    try:
        return pathlib.Path(path).read_text().strip()
    except OSError:
        return None


def version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit() -> str:
    """The commit of the working tree, with "-dirty" when tracked files differ from it."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    outcome = subprocess.run(command, capture_output=True, text=True)
    return outcome.stdout.strip() or "unknown"


def facts() -> dict:
    fields = cpu_fields()
    flags = set(fields.get("flags", "").split())
    memory = int(first_line("/proc/meminfo").splitlines()[0].split()[1]) // 1024
    return {
        "cpu": fields.get("model name", "unknown"),
        "cpu_family_model": f"{fields.get('vendor_id')} {fields.get('cpu family')}/{fields.get('model')}",
        "cores": len(os.sched_getaffinity(0)),
        "features": [feature for feature in FEATURES if feature in flags],
        "governor": first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "load_average": round(os.getloadavg()[0], 2),
        "memory_mib": memory,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: version_of(name) for name in ("onnx", "onnxruntime", "openvino", "nncf", "torch", "numpy")},
        "commit": commit(),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
