// The constants of a plan in the memory of a device, shared by all sessions of the plan, and by those of plans that
// have their constants in the same memory of the host.
#pragma once
#include <map>
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
  // What was uploaded at once.
  class Section {
   public:
    explicit Section(std::unique_ptr<Device> device) : device_(std::move(device)) {}
    // `wanted`: bytes by their offset in the plan.
    Status upload(const Plan& plan, const std::map<uint64_t, size_t>& wanted);
    // Null: not that many there.
    std::byte* find(uint64_t offset, size_t bytes) const;

   private:
    std::unique_ptr<Device> device_;
    DeviceMemory memory_;
    std::map<uint64_t, std::pair<size_t, size_t>> places_;  // by offset in the plan: bytes, offset in memory_
  };

  std::vector<std::shared_ptr<const Section>> sections_;
  std::vector<std::byte*> pointers_;
};

}  // namespace hussar
