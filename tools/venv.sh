#!/bin/sh
# Makes .venv with the pinned Python packages. Usage: tools/venv.sh [light|export|nncf]
#   light   tests, demo and benchmarks (numpy, onnx, onnxruntime, pillow)
#   export  also what exporting the PyTorch models and the OpenVINO peer need; about 1 GB
#   nncf    also OpenVINO's quantizer, a peer of bench/int8_cpu.py
# Does nothing, quickly, when the packages are there. PYTHON names the interpreter (default python3).
set -eu
cd "$(dirname "$0")/.."

level="${1:-light}"
pins="tools/requirements-export.txt tools/requirements.txt"
case "$level" in
  light) requirements=tools/requirements.txt ;;
  export) requirements=tools/requirements-export.txt ;;
  nncf) requirements=tools/requirements-nncf.txt; pins="$pins $requirements"; sh tools/venv.sh export ;;
  *) echo "venv.sh: no set '$level'; the sets are light, export and nncf" >&2; exit 2 ;;
esac

stamp=".venv/$level.$(cat $pins | sha256sum | cut -c1-16)"
[ -x .venv/bin/python ] && [ -e "$stamp" ] && exit 0

[ -x .venv/bin/python ] || "${PYTHON:-python3}" -m venv .venv
echo "installing the Python packages of $requirements into .venv" >&2
log=$(mktemp)
rest=tools/.requirements-rest.txt  # beside what it includes
trap 'rm -f "$log" "$rest"' EXIT
# Python compiles what it imports, on the first use: a small part of 11,000 files.
install() {
  .venv/bin/python -m pip install --no-compile --quiet --disable-pip-version-check "$@" >"$log" 2>&1 || {
    cat "$log" >&2
    echo "venv.sh: pip failed (above); is the package index reachable?" >&2
    exit 1
  }
}
grep -v '^torch==' "$requirements" >"$rest"
install -r "$rest"
# The wheels of PyTorch for CPUs lie in an index of their own; the ones of the main index carry CUDA. No other package is
# looked for there: where it cannot be reached, each would wait for it.
torch=$(grep '^torch==' "$requirements" || true)
[ -z "$torch" ] || install --no-deps --extra-index-url https://download.pytorch.org/whl/cpu "$torch"
touch "$stamp"
