// Reading and resolving sliding windows.
#include "ops/window.h"

namespace hussar {
namespace {

constexpr int64_t kLimit = int64_t{1} << 31;

Result<Ints> read_list(const Node& node, const char* name, size_t count, int64_t otherwise, int64_t lowest) {
  Ints values = node.attributes.get_ints(name);
  if (values.empty()) values.assign(count, otherwise);
  HUSSAR_CHECK(values.size() == count, ErrorCode::kInvalidModel, "{}: {} has {} values, {} are needed", describe(node),
               name, values.size(), count);
  for (int64_t value : values) {
    HUSSAR_CHECK(value >= lowest && value < kLimit, ErrorCode::kInvalidModel, "{}: {} contains {}", describe(node),
                 name, value);
  }
  return values;
}

}  // namespace

Result<Window> read_window(const Node& node, Ints kernel) {
  Window window;
  size_t rank = kernel.size();
  for (int64_t size : kernel) {
    HUSSAR_CHECK(size >= 1 && size < kLimit, ErrorCode::kInvalidModel, "{}: a kernel has the size {}", describe(node),
                 size);
  }
  window.kernel = std::move(kernel);
  window.strides = HUSSAR_TRY(read_list(node, "strides", rank, 1, 1));
  window.dilations = HUSSAR_TRY(read_list(node, "dilations", rank, 1, 1));
  for (size_t axis = 0; axis < rank; ++axis) {
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
  Ints pads(2 * rank, 0);
  if (window.auto_pad == Window::AutoPad::kNone) pads = HUSSAR_TRY(read_list(node, "pads", 2 * rank, 0, 0));
  window.pads_begin.assign(pads.begin(), pads.begin() + static_cast<int64_t>(rank));
  window.pads_end.assign(pads.begin() + static_cast<int64_t>(rank), pads.end());
  return window;
}

Result<Window> read_window(const Node& node) {
  Ints kernel = node.attributes.get_ints("kernel_shape");
  HUSSAR_CHECK(!kernel.empty(), ErrorCode::kInvalidModel, "{}: the attribute kernel_shape is missing", describe(node));
  return read_window(node, std::move(kernel));
}

Result<Dim> window_output(const Node& node, const Window& window, size_t axis, const Dim& input) {
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
  for (size_t axis = 0; axis < window.rank(); ++axis) {
    int64_t size = input[static_cast<int>(axis) + 2];
    int64_t outputs = (size + window.strides[axis] - 1) / window.strides[axis];
    int64_t total = std::max<int64_t>((outputs - 1) * window.strides[axis] + window.extent(axis) - size, 0);
    window.pads_begin[axis] = upper ? total / 2 : total - total / 2;
    window.pads_end[axis] = total - window.pads_begin[axis];
  }
}

}  // namespace hussar
