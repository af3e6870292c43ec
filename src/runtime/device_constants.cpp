// Uploading constants, once per plan and device.
#include "runtime/device_constants.h"

#include <map>
#include <mutex>

#include "base/error.h"

namespace hussar {
namespace {

size_t bytes_of(const PlanValue& value) {
  size_t bytes = dtype_size(value.dtype);
  for (const Dim& dim : *value.dims) bytes *= static_cast<size_t>(dim.value());
  return bytes;
}

}  // namespace

Status DeviceConstants::upload(const Plan& plan, const std::vector<bool>& wanted) {
  const std::vector<PlanValue>& values = plan.graph.values;
  auto is_wanted = [&](size_t i) { return wanted[i] && values[i].storage == Storage::kConstant; };
  // Values with the same bytes have one offset.
  std::map<uint64_t, std::pair<size_t, size_t>> places;  // offset in the plan -> bytes, offset on the device
  for (size_t i = 0; i < values.size(); ++i) {
    if (!is_wanted(i)) continue;
    auto& bytes = places[values[i].constant_offset].first;
    bytes = std::max(bytes, bytes_of(values[i]));
  }
  size_t total = 0;
  for (auto& [offset, place] : places) {
    place.second = total;
    total += (place.first + 255) / 256 * 256;
  }
  if (total > 0) memory_ = DeviceMemory(*device_, HUSSAR_TRY(device_->allocate(total)));
  for (const auto& [offset, place] : places) {
    HUSSAR_TRY(device_->copy_in(memory_.data() + place.second, plan.constants.data() + offset, place.first));
  }
  HUSSAR_TRY(device_->wait());
  pointers_.resize(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    if (is_wanted(i)) pointers_[i] = memory_.data() + places[values[i].constant_offset].second;
  }
  return {};
}

Result<std::shared_ptr<const DeviceConstants>> DeviceConstants::share(const Plan& plan, int device_index,
                                                                      const std::vector<bool>& wanted) {
  static std::mutex mutex;
  static std::map<std::pair<const Plan*, int>, std::weak_ptr<const DeviceConstants>> uploaded;
  std::lock_guard lock(mutex);
  std::weak_ptr<const DeviceConstants>& entry = uploaded[{&plan, device_index}];
  if (auto constants = entry.lock()) return constants;
  auto constants = std::make_shared<DeviceConstants>();
  constants->device_ = HUSSAR_TRY(open_device(plan.meta.at("target"), device_index));
  HUSSAR_TRY(constants->upload(plan, wanted));
  entry = constants;
  std::erase_if(uploaded, [](const auto& item) { return item.second.expired(); });
  return std::shared_ptr<const DeviceConstants>(std::move(constants));
}

}  // namespace hussar
