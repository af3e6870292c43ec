#!/bin/sh
# Builds the fuzz targets with clang and runs each: tests/fuzz/run.sh [SECONDS] [JOBS]. What they find lies in
# build-fuzz/findings; the exit status is 1 when there is any.
set -eu
cd "$(dirname "$0")/../.."
seconds="${1:-60}"
jobs="${2:-2}"
build=build-fuzz

cmake -G Ninja -S . -B $build --log-level=WARNING -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG="-O1 -g1" \
  -DCMAKE_C_COMPILER=clang-14 -DCMAKE_CXX_COMPILER=clang++-14 -DHUSSAR_BUILD_FUZZERS=ON \
  -DHUSSAR_UNITY=ON -DHUSSAR_SANITIZE=fuzzer-no-link,address,undefined >/dev/null
cmake --build $build -j "$jobs" --target fuzz_onnx fuzz_plan >$build/build.log 2>&1 || { cat $build/build.log; exit 1; }

mkdir -p $build/findings $build/corpus/onnx $build/corpus/plan
passed=0
failed=0
for target in onnx plan; do
  seeds=tests/fuzz/corpus/$target
  [ $target = plan ] || seeds="$seeds tests/bad_input/seeds"
  echo "== fuzz_$target, $seconds s"
  if ASAN_OPTIONS=allocator_may_return_null=1:max_allocation_size_mb=1024 \
    $build/bin/fuzz_$target -max_total_time="$seconds" -timeout=30 -rss_limit_mb=6000 -max_len=16384 \
    -print_final_stats=1 -verbosity=0 -artifact_prefix=$build/findings/$target- \
    $build/corpus/$target $seeds; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
  fi
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
