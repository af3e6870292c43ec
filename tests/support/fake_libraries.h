// NVIDIA's libraries in tests: stand-ins on the emulated device (tests/fake_libraries), the real ones on a GPU.
#pragma once

namespace hussar::tests {

// Whether cuBLASLt and cuDNN can be called on the device of use_test_device() from now on. Without a GPU always, where
// nobody has looked for them in this process before.
bool use_libraries();
// The same of cuSPARSELt.
bool use_sparse_library();

}  // namespace hussar::tests
