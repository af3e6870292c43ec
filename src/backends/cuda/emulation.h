// A stand-in for GPU and compiler, so that tests run the texts of device/ on machines that have neither.
#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "hussar/status.h"
#include "hussar/tensor.h"
#include "plan/device.h"

namespace hussar::cuda {

struct Emulation {
  // Instead of open_device(); what it opens is a Queue.
  Result<std::unique_ptr<Device>> (*open)(std::string_view target, int index);
  // Instead of compile_cuda().
  Result<Tensor> (*compile)(const std::string& source, int sm);
};

// From now on, for the whole process; null: the real ones. `emulation` must outlive its use.
void set_emulation(const Emulation* emulation);
const Emulation* emulation();

}  // namespace hussar::cuda
