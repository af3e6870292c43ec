// Reading and resolving sliding windows.
#include "ops/window.h"

namespace hussar {
namespace {

constexpr int64_t kLimit = int64_t{1} << 31;

// The attribute, as many values as there are; without it all are `otherwise`.
Status read_list(const Node& node, const char* name, int64_t otherwise, int64_t lowest, std::span<int64_t> values) {
  std::fill(values.begin(), values.end(), otherwise);
  const Ints* given = node.attributes.find<Ints>(name);
  if (given == nullptr || given->empty()) return {};
  HUSSAR_CHECK(given->size() == values.size(), ErrorCode::kInvalidModel, "{}: {} has {} values, {} are needed",
               describe(node), name, given->size(), values.size());
  for (int64_t value : *given) {
    HUSSAR_CHECK(value >= lowest && value < kLimit, ErrorCode::kInvalidModel, "{}: {} contains {}", describe(node),
                 name, value);
  }
  std::copy(given->begin(), given->end(), values.begin());
  return {};
}

}  // namespace

Result<Window> read_window(const Node& node, std::span<const int64_t> kernel) {
  Window window;
  const size_t rank = kernel.size();
  HUSSAR_CHECK(rank <= kMaxRank, ErrorCode::kInvalidModel, "{}: a kernel of {} dimensions", describe(node), rank);
  for (int64_t size : kernel) {
    HUSSAR_CHECK(size >= 1 && size < kLimit, ErrorCode::kInvalidModel, "{}: a kernel has the size {}", describe(node),
                 size);
  }
  window.kernel = Shape(kernel);
  int64_t values[2 * kMaxRank];
  HUSSAR_TRY(read_list(node, "strides", 1, 1, {values, rank}));
  window.strides = Shape(std::span<const int64_t>(values, rank));
  HUSSAR_TRY(read_list(node, "dilations", 1, 1, {values, rank}));
  window.dilations = Shape(std::span<const int64_t>(values, rank));
  for (int axis = 0; axis < window.rank(); ++axis) {
    HUSSAR_CHECK(window.extent(axis) < kLimit, ErrorCode::kInvalidModel, "{}: the dilated kernel is too large",
                 describe(node));
  }
  window.ceil_mode = node.attributes.get_int("ceil_mode", 0) != 0;
  std::string auto_pad = node.attributes.get_string("auto_pad", "NOTSET");
  if (auto_pad == "SAME_UPPER")
    window.auto_pad = Window::AutoPad::kSameUpper;
  else if (auto_pad == "SAME_LOWER")
    window.auto_pad = Window::AutoPad::kSameLower;
  else if (auto_pad == "VALID")
    window.auto_pad = Window::AutoPad::kValid;
  else
    HUSSAR_CHECK(auto_pad == "NOTSET" || auto_pad.empty(), ErrorCode::kInvalidModel, "{}: unknown auto_pad '{}'",
                 describe(node), auto_pad);
  std::fill_n(values, 2 * rank, 0);
  if (window.auto_pad == Window::AutoPad::kNone) HUSSAR_TRY(read_list(node, "pads", 0, 0, {values, 2 * rank}));
  window.pads_begin = Shape(std::span<const int64_t>(values, rank));
  window.pads_end = Shape(std::span<const int64_t>(values + rank, rank));
  return window;
}

Result<Window> read_window(const Node& node) {
  const Ints* kernel = node.attributes.find<Ints>("kernel_shape");
  HUSSAR_CHECK(kernel != nullptr && !kernel->empty(), ErrorCode::kInvalidModel,
               "{}: the attribute kernel_shape is missing", describe(node));
  return read_window(node, *kernel);
}

Result<Dim> window_output(const Node& node, const Window& window, int axis, const Dim& input) {
  Dim stride(window.strides[axis]);
  if (window.auto_pad == Window::AutoPad::kSameUpper || window.auto_pad == Window::AutoPad::kSameLower) {
    return ceil_div(input, stride);
  }
  Dim free = input + Dim(window.pads_begin[axis] + window.pads_end[axis] - window.extent(axis));
  Dim output = floor_div(free, stride) + Dim(1);
  if (window.ceil_mode) {
    // No window may start beyond the input and its left padding.
    Dim last = floor_div(input + Dim(window.pads_begin[axis] - 1), stride);
    output = min(ceil_div(free, stride), last) + Dim(1);
  }
  HUSSAR_CHECK(!output.is_constant() || output.value() >= 0, ErrorCode::kInvalidModel,
               "{}: a window of {} does not fit into {} padded by {} and {}", describe(node), window.extent(axis),
               input.to_string(), window.pads_begin[axis], window.pads_end[axis]);
  return output;
}

void resolve_padding(Window& window, const Shape& input) {
  bool upper = window.auto_pad == Window::AutoPad::kSameUpper;
  if (!upper && window.auto_pad != Window::AutoPad::kSameLower) return;
  for (int axis = 0; axis < window.rank(); ++axis) {
    int64_t size = input[axis + 2];
    int64_t outputs = (size + window.strides[axis] - 1) / window.strides[axis];
    int64_t total = std::max<int64_t>((outputs - 1) * window.strides[axis] + window.extent(axis) - size, 0);
    window.pads_begin[axis] = upper ? total / 2 : total - total / 2;
    window.pads_end[axis] = total - window.pads_begin[axis];
  }
}

}  // namespace hussar
