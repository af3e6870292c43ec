// What a GraphRun has prepared for the shapes that it has seen, and the memory that goes with it.
#include <algorithm>

#include "base/error.h"
#include "runtime/graph_run.h"

namespace hussar {
namespace {

size_t device_aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }

}  // namespace

Status GraphRun::bind_memory() {
  size_t pinned_bytes = 0, settled_bytes = 0;
  for (size_t i = 0; i < graph_.values.size(); ++i) {
    const Slot& slot = bound_.slots[i];
    if (slot.block < 0 || (device_ != nullptr && !placement_.on_host[i])) continue;
    bound_.blocks[slot.block].bytes = homes_[i] == Home::kArena ? bytes_of(i) : 0;
    if (homes_[i] == Home::kPinned) pinned_bytes += aligned(bytes_of(i));
    if (homes_[i] == Home::kSettled) settled_bytes += aligned(bytes_of(i));
  }
  bound_.packed_bytes = pack_blocks(bound_.blocks, pack_memory_);
  bound_.pinned_bytes = pinned_bytes;
  bound_.settled_bytes = settled_bytes;
  bound_.settled.reserve(settled_bytes);
  return {};
}

// Other shapes may have needed more since, or failed to get it.
Status GraphRun::reserve_memory() {
  arena_.reserve(bound_.packed_bytes);
  if (device_ == nullptr) return {};
  if (bound_.pinned_bytes > 0) HUSSAR_TRY(pinned_.reserve(*device_, bound_.pinned_bytes));
  HUSSAR_TRY(device_arena_.reserve(*device_, bound_.device_packed_bytes));
  if (bound_.device_scratch_bytes > 0) HUSSAR_TRY(device_scratch_.reserve(*device_, bound_.device_scratch_bytes));
  return {};
}

void GraphRun::point_memory() {
  std::byte* pinned = pinned_.data();
  std::byte* settled = bound_.settled.data();
  for (size_t i = 0; i < graph_.values.size(); ++i) {
    Slot& slot = bound_.slots[i];
    if (slot.block < 0) continue;
    slot.data = arena_.data() + bound_.blocks[slot.block].offset;
    if (homes_[i] == Home::kArena || (device_ != nullptr && !placement_.on_host[i])) continue;
    std::byte*& next = homes_[i] == Home::kPinned ? pinned : settled;
    slot.data = next;
    next += aligned(bytes_of(i));
  }
  bound_.arena = arena_.data();
  bound_.pinned = pinned_.data();
}

Status GraphRun::bind_device_memory() {
  if (device_ == nullptr) return {};
  drop_recordings();
  size_t settled_bytes = 0;
  for (size_t i = 0; i < bound_.slots.size(); ++i) {
    const int32_t block = bound_.slots[i].device_block;
    if (block < 0) continue;
    const size_t bytes = device_aligned(bytes_of(i));
    bound_.device_blocks[block].bytes = homes_[i] == Home::kSettled ? 0 : bytes;
    if (homes_[i] == Home::kSettled) settled_bytes += bytes;
  }
  bound_.device_packed_bytes = pack_blocks(bound_.device_blocks, pack_memory_);
  bound_.device_settled_bytes = settled_bytes;
  if (settled_bytes > 0) HUSSAR_TRY(bound_.device_settled.reserve(*device_, settled_bytes));
  return {};
}

void GraphRun::point_device_memory() {
  if (device_ == nullptr) return;
  std::byte* settled = bound_.device_settled.data();
  for (size_t i = 0; i < bound_.slots.size(); ++i) {
    Slot& slot = bound_.slots[i];
    if (slot.device_block < 0) continue;
    slot.device_data = device_arena_.data() + bound_.device_blocks[slot.device_block].offset;
    if (homes_[i] != Home::kSettled) continue;
    slot.device_data = settled;
    settled += device_aligned(bytes_of(i));
  }
  for (size_t i = 0; i < graph_.values.size(); ++i) {
    const PlanValue& value = graph_.values[i];
    if (value.storage != Storage::kAlias || bound_.slots[value.alias_of].device_data == nullptr) continue;
    bound_.slots[i].device_data =
        bound_.slots[value.alias_of].device_data + value.channel_offset * static_cast<int64_t>(dtype_size(value.dtype));
  }
  bound_.device_arena = device_arena_.data();
  bound_.device_scratch = device_scratch_.data();
}

bool GraphRun::has_moved() {
  const bool has_moved_there =
      bound_.device_arena != device_arena_.data() || bound_.device_scratch != device_scratch_.data();
  if (has_moved_there) drop_recordings();
  return has_moved_there || bound_.arena != arena_.data() || bound_.pinned != pinned_.data();
}

void GraphRun::drop_recordings() {
  for (int& recording : bound_.recordings) {
    if (recording >= 0) device_->drop_recording(recording);
    recording = -1;
  }
}

// As the one in use is before it is prepared.
GraphRun::Binding GraphRun::new_binding() const {
  Binding binding;
  binding.slots = std::vector<Slot>(bound_.slots.size());
  for (size_t i = 0; i < bound_.slots.size(); ++i) {
    static_cast<SlotPlace&>(binding.slots[i]) = bound_.slots[i];
  }
  binding.blocks = bound_.blocks;
  binding.device_blocks = bound_.device_blocks;
  binding.recordings.assign(bound_.recordings.size(), -1);
  std::byte* states = binding.states.reserve(state_bytes_);
  for (const StepRun& step : steps_) {
    StepBinding& own = binding.steps.emplace_back();
    own.inputs.resize(step.inputs.size());
    own.outputs.resize(step.outputs.size());
    own.spares.resize(step.spares.size());
    own.state = states + step.state_offset;
  }
  return binding;
}

void GraphRun::exchange(Binding& parked) {
  bound_.last_use = ++uses_;
  std::swap(bound_, parked);
  for (size_t i = 0; i < steps_.size(); ++i) std::swap(static_cast<StepBinding&>(steps_[i]), bound_.steps[i]);
  std::swap(bound_.steps, parked.steps);
  // Memory whose size only a run tells is not kept for shapes that may not come again, but for what settled steps left.
  for (int32_t value : passing_heaps_) {
    Slot &slot = bound_.slots[value], &other = parked.slots[value];
    std::swap(slot.heap, other.heap);
    slot.data = nullptr;
  }
}

void GraphRun::select_binding(std::span<const Tensor> inputs) {
  auto fits = [&](const Binding& binding) {
    bool same = binding.is_bound;
    for (size_t i = 0; i < inputs.size() && same; ++i) same = binding.shapes[i] == inputs[i].shape();
    return same;
  };
  if (fits(bound_)) return;
  auto parked = std::find_if(parked_.begin(), parked_.end(), fits);
  if (parked == parked_.end() && bound_.is_bound) {
    if (parked_.size() < most_parked_) {
      parked_.push_back(new_binding());
      parked = parked_.end() - 1;
    } else {
      parked = std::min_element(parked_.begin(), parked_.end(),
                                [](const Binding& a, const Binding& b) { return a.last_use < b.last_use; });
    }
  }
  if (parked != parked_.end()) exchange(*parked);
  if (!fits(bound_)) bound_.is_bound = false;
}

}  // namespace hussar
