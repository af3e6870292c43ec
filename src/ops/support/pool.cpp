// Inference of pools.
#include "ops/pool.h"

namespace hussar {

Status infer_pool_to(InferContext& context, DType dtype) {
  Window window = HUSSAR_TRY(read_window(context.node));
  const Dims* input = context.dims(0);
  if (input != nullptr && std::ssize(*input) != window.rank() + 2) {
    return context.fail("kernel_shape has {} axes, the input has rank {}", window.rank(), input->size());
  }
  Dims output;
  for (int axis = 0; axis < window.rank() + 2; ++axis) {
    if (input == nullptr)
      output.push_back(context.fresh());
    else if (axis < 2)
      output.push_back((*input)[axis]);
    else
      output.push_back(HUSSAR_TRY(window_output(context.node, window, axis - 2, (*input)[axis])));
  }
  context.set(1, DType::kInt64, output);
  context.set(0, dtype, std::move(output));
  return {};
}

Status infer_pool(InferContext& context) { return infer_pool_to(context, context.dtype(0)); }

Result<Window> pool_window(const EvalContext& context) {
  Window window = HUSSAR_TRY(read_window(context.node));
  resolve_padding(window, context.shape(0));
  return window;
}

// As the kernels for whole images count.
static constexpr int64_t kAverageTaps = 1 << 20;

bool fits_average_bytes(const Attributes& attributes) {
  int64_t taps = 1;
  for (int64_t size : attributes.get_ints("kernel_shape")) {
    if (size < 1 || size > kAverageTaps / taps) return false;
    taps *= size;
  }
  return true;
}

Status infer_global_pool(InferContext& context) {
  const Dims* input = context.dims(0);
  if (input == nullptr) return context.set_unknown(0, context.dtype(0)), Status();
  if (input->size() < 2) return context.fail("the input has rank {}, at least 2 is needed", input->size());
  Dims output(input->begin(), input->begin() + 2);
  output.resize(input->size(), Dim(1));
  context.set(0, context.dtype(0), std::move(output));
  return {};
}

}  // namespace hussar
