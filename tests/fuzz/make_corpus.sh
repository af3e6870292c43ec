#!/bin/sh
# Makes the seed plans of fuzz_plan from the seed models: tests/fuzz/make_corpus.sh. Run it when the plan format changes.
set -eu
cd "$(dirname "$0")/../.."
mkdir -p tests/fuzz/corpus/plan
for model in tests/bad_input/seeds/*.onnx; do
  build/bin/hussar build "$model" -o "tests/fuzz/corpus/plan/$(basename "$model" .onnx).plan" --target cpu:avx2 --threads 1
done
