// The part of a GraphRun that has to do with a device: where values lie, copies between the sides, recordings.
#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "runtime/graph_run.h"

namespace hussar {

Result<std::byte*> DeviceBuffer::reserve(Device& device, size_t bytes) {
  if (bytes > capacity_ || memory_.data() == nullptr) {
    if (memory_.data() != nullptr) HUSSAR_TRY(device.wait());
    memory_ = DeviceMemory();
    capacity_ = 0;
    memory_ = DeviceMemory(device, HUSSAR_TRY(device.allocate(bytes)));
    capacity_ = bytes;
  }
  return memory_.data();
}

Result<std::byte*> PinnedBuffer::reserve(Device& device, size_t bytes) {
  if (bytes > capacity_ || memory_ == nullptr) {
    if (memory_ != nullptr) HUSSAR_TRY(device.wait());
    memory_.reset();
    capacity_ = 0;
    memory_ = HUSSAR_TRY(device.allocate_pinned(bytes));
    capacity_ = bytes;
  }
  return memory_.get();
}

GraphRun::~GraphRun() {
  // What has been enqueued uses memory of this run.
  if (device_ != nullptr) static_cast<void>(device_->wait());
}

Status GraphRun::place_steps() {
  if (device_ == nullptr) return {};
  std::vector<StepPlace> places;
  for (size_t i = 0; i < steps_.size(); ++i) {
    const StepRun& step = steps_[i];
    HUSSAR_CHECK(place_of(step) == Place::kHost || step.is_static, ErrorCode::kPlanIncompatible,
                 "step '{}' runs on the device, but its shapes are not known in time; build the plan again",
                 graph_.steps[i].name);
    places.push_back({place_of(step), step.is_view && step.is_static, step.is_settled});
  }
  placement_ = place_values(graph_, places);
  bound_.recordings.assign(placement_.segments.size(), -1);
  device_constants_ = HUSSAR_TRY(DeviceConstants::share(plan_, device_index_, placement_.on_device));
  for (size_t i = 0; i < bound_.slots.size(); ++i) bound_.slots[i].device_data = device_constants_->find(i);
  for (const SideCopy& copy : placement_.end) {
    if (graph_.values[copy.root].storage == Storage::kArena) homes_[copy.root] = Home::kPinned;
  }
  return {};
}

// What is needed on the device lives there as long as it would on the host.
void GraphRun::split_lifetimes() {
  if (device_ == nullptr) return;
  for (size_t i = 0; i < bound_.slots.size(); ++i) {
    Slot& slot = bound_.slots[i];
    if (!placement_.on_device[i] || slot.device_data != nullptr) continue;
    Block block{0, static_cast<int32_t>(steps_.size()), 0, 0};
    if (slot.block >= 0) block = bound_.blocks[slot.block];
    slot.device_block = static_cast<int32_t>(bound_.device_blocks.size());
    bound_.device_blocks.push_back(block);
  }
}

Status GraphRun::copy_sides(std::span<const SideCopy> copies, bool repeats_settled) {
  bool waits = false;
  for (const SideCopy& copy : copies) {
    if (copy.is_settled && !repeats_settled) continue;
    const Slot& slot = bound_.slots[copy.root];
    const size_t bytes = bytes_of(copy.root);
    if (copy.to == Place::kDevice && slot.given != nullptr) {
      HUSSAR_TRY(device_->copy_within(slot.device_data, slot.given, bytes));
    } else if (copy.to == Place::kDevice) {
      HUSSAR_TRY(device_->copy_in(slot.device_data, slot.data, bytes));
    } else {
      HUSSAR_TRY(device_->copy_out(slot.data, slot.device_data, bytes));
      waits = true;
    }
  }
  return waits ? device_->wait() : Status();
}

Result<std::optional<size_t>> GraphRun::run_segment(size_t first, ThreadPool::Lease& pool) {
  const auto& segments = placement_.segments;
  auto it = std::find_if(segments.begin(), segments.end(), [&](const auto& segment) { return segment.first == first; });
  if (it == segments.end()) return std::optional<size_t>();
  int& recording = bound_.recordings[static_cast<size_t>(it - segments.begin())];
  if (recording < 0) {
    HUSSAR_TRY(device_->begin_recording());
    Status status;
    for (size_t i = it->first; i <= it->last && status; ++i) {
      if (!steps_[i].is_settled) status = run_step(i, pool);
    }
    // The queue records until it is told to stop.
    auto recorded = device_->end_recording();
    if (!status) return tl::unexpected(status.error());
    recording = HUSSAR_TRY(std::move(recorded));
  }
  HUSSAR_TRY(device_->replay(recording));
  return std::optional<size_t>(it->last);
}

Result<double> GraphRun::time_recordings(int count) {
  HUSSAR_CHECK(device_ != nullptr && bound_.recordings.size() == 1 && bound_.recordings[0] >= 0, ErrorCode::kUsage,
               "the plan does not run on a device alone");
  HUSSAR_TRY(device_->wait());
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < count; ++i) HUSSAR_TRY(device_->replay(bound_.recordings[0]));
  HUSSAR_TRY(device_->wait());
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count() / count;
}

Result<Tensor> GraphRun::read_device(int32_t value) const {
  const Operand there = operand(value, Place::kDevice);
  int64_t elements = there.shape.elements();
  // A channel slice ends before the last pixel of what holds it does.
  if (there.layout == Layout::kChannelsLast && there.shape.rank() > 1 && there.shape[1] > 0) {
    elements = elements == 0 ? 0 : (elements / there.shape[1] - 1) * there.pitch + there.shape[1];
  }
  Tensor bytes(there.dtype, Shape{elements});
  HUSSAR_TRY(device_->copy_out(bytes.raw(), there.data, bytes.bytes()));
  HUSSAR_TRY(device_->wait());
  Operand here = there;
  here.data = bytes.raw();
  return to_plain(here);
}

}  // namespace hussar
