// Inputs and outputs that lie on a device, and where callers want outputs.
#include <cstring>

#include "base/error.h"
#include "runtime/graph_run.h"

namespace hussar {

// Of inputs that lie on the device, what the host reads.
Status GraphRun::fetch_inputs() {
  bool waits = false;
  for (int32_t input : graph_.inputs) {
    const Slot& slot = bound_.slots[input];
    if (slot.given == nullptr || slot.data == nullptr) continue;
    const size_t bytes = bytes_of(input);
    HUSSAR_TRY(device_->copy_out(slot.data, slot.given, bytes));
    waits = true;
  }
  return waits ? device_->wait() : Status();
}

// Where the output is afterwards.
Result<std::byte*> GraphRun::give_output(size_t index, const OutputPlace& wanted) {
  const int32_t value = graph_.outputs[index];
  const Slot& slot = bound_.slots[value];
  const size_t bytes = bytes_of(value);
  const bool is_there = device_ != nullptr && placement_.ends_on_device[index];
  auto* to = static_cast<std::byte*>(wanted.data);
  HUSSAR_CHECK(to == nullptr || wanted.bytes >= bytes, ErrorCode::kUsage,
               "output '{}' has shape {}, which takes {} bytes; there is room for {}", graph_.values[value].name,
               slot.shape.to_string(), bytes, wanted.bytes);
  if (wanted.place == Place::kHost) {
    if (to == nullptr) return slot.data;
    if (is_there) HUSSAR_TRY(device_->copy_out(to, slot.device_data, bytes));
    if (!is_there && bytes > 0) std::memmove(to, slot.data, bytes);
    return to;
  }
  if (to == nullptr && is_there) return slot.device_data;
  if (to == nullptr) {
    device_outputs_.resize(graph_.outputs.size());
    to = HUSSAR_TRY(device_outputs_[index].reserve(*device_, bytes));
  }
  HUSSAR_TRY(is_there ? device_->copy_within(to, slot.device_data, bytes) : device_->copy_in(to, slot.data, bytes));
  return to;
}

Status GraphRun::give_outputs(const Places* places) {
  static constexpr OutputPlace kUsual;
  auto wanted = [&](size_t index) -> const OutputPlace& { return places == nullptr ? kUsual : places->outputs[index]; };
  for (const SideCopy& copy : placement_.end) {
    bool is_wanted = false;
    for (size_t i = 0; i < graph_.outputs.size(); ++i) {
      is_wanted = is_wanted || (root_of(graph_, graph_.outputs[i]) == copy.root && wanted(i).place == Place::kHost &&
                                wanted(i).data == nullptr);
    }
    const Slot& slot = bound_.slots[copy.root];
    const size_t bytes = bytes_of(copy.root);
    if (is_wanted) HUSSAR_TRY(device_->copy_out(slot.data, slot.device_data, bytes));
  }
  for (size_t i = 0; i < outputs_.size(); ++i) {
    const int32_t value = graph_.outputs[i];
    std::byte* data = HUSSAR_TRY(give_output(i, wanted(i)));
    outputs_[i] = Tensor::view(graph_.values[value].dtype, bound_.slots[value].shape, data);
  }
  return {};
}

}  // namespace hussar
