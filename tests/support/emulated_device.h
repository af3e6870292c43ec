// A GPU that is a CPU: compiles the texts of src/backends/cuda/device with the compiler of the tests, and runs the
// blocks of a launch one after another, their threads as fibers that change at barriers. What it does not show: races,
// the arithmetic of tensor cores, inline PTX, and time.
#pragma once
#include <string>

namespace hussar::tests {

// From now on the process has this device for every plan with a target of cuda. With HUSSAR_TEST_GPU=1 in the
// environment it has the first real GPU instead. Returns the target: "cuda:sm_0" or the GPU's.
const std::string& use_test_device();

}  // namespace hussar::tests
