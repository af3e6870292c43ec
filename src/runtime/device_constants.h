// The constants of a plan in the memory of a device, shared by all sessions of the plan.
#pragma once
#include <memory>
#include <vector>

#include "plan/device.h"
#include "plan/plan.h"

namespace hussar {

class DeviceConstants {
 public:
  // Those of the main graph for which `wanted` is true, by value. Any thread.
  static Result<std::shared_ptr<const DeviceConstants>> share(const Plan& plan, int device_index,
                                                              const std::vector<bool>& wanted);
  // Null where it is not a constant that was wanted.
  std::byte* find(size_t value) const { return pointers_[value]; }

 private:
  Status upload(const Plan& plan, const std::vector<bool>& wanted);

  std::unique_ptr<Device> device_;
  DeviceMemory memory_;
  std::vector<std::byte*> pointers_;
};

}  // namespace hussar
