// ai.onnx.ml.ArrayFeatureExtractor: the elements of the last axis that the indices name. The indices count as one list,
// and the output has at least two dimensions.
#include <cstring>

#include "ops/arguments.h"
#include "ops/evaluate.h"
#include "ops/op_def.h"

namespace hussar {

static Status infer(InferContext& context) {
  const Dims* data = context.dims(0);
  const Dims* indices = context.dims(1);
  if (is_floating(context.dtype(1))) return context.fail("indices must be integers");
  if (data == nullptr) {
    context.set_unknown(0, context.dtype(0));
    return {};
  }
  if (data->empty()) return context.fail("nothing can be taken from a scalar");
  Dims out(data->begin(), data->end() - 1);
  if (out.empty()) out.push_back(Dim(1));
  out.push_back(indices == nullptr ? context.fresh() : HUSSAR_TRY(checked_product(context, *indices)));
  context.set(0, context.dtype(0), std::move(out));
  return {};
}

static Status evaluate(EvalContext& context) {
  const Tensor& data = context.input(0);
  int64_t length = data.shape()[data.shape().rank() - 1];
  int64_t rows = data.shape().elements(0, data.shape().rank() - 1);
  Ints indices = context.integers(1);
  for (int64_t index : indices) {
    if (index < 0 || index >= length) return context.fail("index {} is out of range for {}", index, length);
  }
  size_t width = dtype_size(data.dtype());
  std::byte* to = context.output().raw();
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t index : indices) {
      std::memcpy(to, data.raw() + static_cast<size_t>(row * length + index) * width, width);
      to += width;
    }
  }
  return {};
}

extern const OpDef array_feature_extractor_op = {
    .name = "ai.onnx.ml.ArrayFeatureExtractor", .min_inputs = 2, .max_inputs = 2, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
