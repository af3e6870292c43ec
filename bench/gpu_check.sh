#!/usr/bin/env bash
# Checks Hussar on the first GPU of this machine: kernels and sessions, the ONNX backend tests, memory and races
# (compute-sanitizer, where it is installed), and times beside PyTorch (where that has CUDA).
#
#   bench/gpu_check.sh [FOLDER]        results go to FOLDER (default build/gpu_check)
#
# Environment: BIN, a folder with hussar, hussar_tests and conformance_runner that are built already; PYTHON, with onnx
# and, for the times, torch, transformers and torchvision (default .venv/bin/python); CASES, the cases of
# bench/peers_gpu.py ("none": no times).
# Writes FOLDER/gpu_check.json, and a log for each stage. Exit status: 0 when no stage failed; 1 when one did; 3, with
# one line, when there is no GPU.
set -u
cd "$(dirname "$0")/.." || exit 2
folder=${1:-build/gpu_check}
mkdir -p "$folder" || exit 2
folder=$(cd "$folder" && pwd)
python=${PYTHON:-.venv/bin/python}

if [ -z "${BIN:-}" ]; then
  make --no-print-directory venv configure || exit 1
  cmake --build build -j "$(nproc)" --target hussar_cli hussar_tests conformance_runner || exit 1
  BIN=build/bin
fi
export HUSSAR="$BIN/hussar" HUSSAR_TEST_GPU=1
"$HUSSAR" doctor --json "$folder/doctor.json" --quiet >/dev/null 2>&1
if ! "$python" -c 'import json, sys; sys.exit(not json.load(open(sys.argv[1]))["gpu"]["devices"])' "$folder/doctor.json"; then
  echo "no GPU: nothing is checked (hussar doctor says why)"
  exit 3
fi

# stage NAME COMMAND...: its output goes to a log, its end to a file; says how it ended.
stage() {
  local name=$1 begin=$SECONDS status
  shift
  "$@" >"$folder/$name.log" 2>&1
  status=$?
  printf '%-14s %s, %d s\n' "$name" "$([ $status = 0 ] && echo passed || echo "FAILED ($status): $folder/$name.log")" $((SECONDS - begin))
  echo "{\"$name\": {\"status\": $status, \"seconds\": $((SECONDS - begin))}}" >"$folder/$name.stage"
}
leave_out() {
  printf '%-14s skipped: %s\n' "$1" "$2"
  echo "{\"$1\": {\"skipped\": \"$2\"}}" >"$folder/$1.stage"
}
rm -f "$folder"/*.stage

# The tests of kernels in several processes: most of their time is NVRTC's, on the host. Without those that compile only,
# which need no GPU, and the messages of this NVRTC.
kernels() {
  local shards=$(($(nproc) > 8 ? $(nproc) - 5 : 1)) failed=0 shard children=()
  for ((shard = 0; shard < shards; ++shard)); do
    GTEST_TOTAL_SHARDS=$shards GTEST_SHARD_INDEX=$shard "$BIN/hussar_tests" --gtest_filter='*Cuda*:-*CudaCompile*' --gtest_brief=1 &
    children+=($!)
  done
  for child in "${children[@]}"; do wait "$child" || failed=1; done
  return $failed
}

# What checks runs side by side; what measures, alone.
stage kernels kernels &
stage conformance "$python" tests/conformance/run.py --runner "$BIN/conformance_runner" --target cuda \
  --json "$folder/conformance_cuda.json" &
sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
if [ -n "$sanitizer" ]; then
  for tool in memcheck racecheck synccheck; do
    stage $tool "$sanitizer" --tool $tool --error-exitcode 9 --target-processes all \
      "$BIN/hussar_tests" --gtest_filter='CudaAttention.*:CudaConv.FewChannels:CudaNorm.*:CudaSoftmax.*:CudaSession.LowerPrecisions:CudaPacked.TokenOrder:CudaPacked.AttentionTensor' &
  done
else
  leave_out sanitizer "compute-sanitizer is not installed"
fi
wait
if [ "${CASES:-}" = none ]; then
  leave_out peers "CASES=none"
elif "$python" -c 'import torch, transformers, torchvision, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
  stage peers "$python" bench/peers_gpu.py --json "$folder/peers_gpu.json" ${CASES:+--cases "$CASES"}
  sed -n '/^|/p' "$folder/peers.log"
else
  leave_out peers "no PyTorch with CUDA"
fi

"$python" - "$folder" <<'MERGE'
import json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
stages = {}
for path in sorted(folder.glob("*.stage")):
    stages |= json.loads(path.read_text())
    path.unlink()
report = {"schema_version": 1, "stages": stages, "doctor": json.loads((folder / "doctor.json").read_text())}
(folder / "gpu_check.json").write_text(json.dumps(report, indent=1) + "\n")
sys.exit(any(stage.get("status") for stage in stages.values()))
MERGE
