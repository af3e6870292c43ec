// Any bytes as an ONNX model.
#include <cstdint>

#include "tests/support/fuzz_targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  hussar::tests::try_any_model(std::as_bytes(std::span(data, size)));
  return 0;
}
