// A GPU that is a CPU: compiles the texts of src/backends/cuda/device with the compiler of the tests, and runs the
// blocks of a launch one after another, their threads as fibers that change at barriers. What it does not show: races,
// the arithmetic of tensor cores, most inline PTX, and time.
#pragma once
#include <cstdint>
#include <string>

namespace hussar::tests {

// From now on the process has this device for every plan with a target of cuda. With HUSSAR_TEST_GPU=1 in the
// environment it has the first real GPU instead. Returns the target: "cuda:sm_0" or the GPU's.
const std::string& use_test_device();
inline bool is_emulated(const std::string& target) { return target == "cuda:sm_0"; }

// What all emulated devices have done so far. There are two of them; a machine with a GPU may have one.
struct DeviceCounts {
  int64_t allocations, recordings;  // of memory of the device and pinned memory; of what is replayed
  int64_t bytes_in, bytes_out;      // copied from the host, and to it
};
DeviceCounts device_counts();

}  // namespace hussar::tests
