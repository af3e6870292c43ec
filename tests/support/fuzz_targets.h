// What the fuzz targets do with a file, and the replay of their corpus.
#pragma once
#include <cstddef>
#include <span>

namespace hussar::tests {

// Any bytes as an ONNX model: import, inference, passes, compilation, and a run when it is small.
void try_any_model(std::span<const std::byte> bytes);
// Any bytes as a plan, once as they are and once with checksums that fit, so that what comes after them is reached; and
// a run when it is small.
void try_any_plan(std::span<const std::byte> bytes);

}  // namespace hussar::tests
