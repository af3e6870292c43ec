// hussar.GatherBytes: rows of a table of bytes, as real numbers.
//
//   y[i..., column] = (table[indices[i...]][column] - 128) * scales[indices[i...]]
//
// Inputs: table [rows][columns] uint8, scales [rows] float32, indices int32 or int64, from -rows to rows - 1. y is of
// the type y_type (ops/quantized_product.h).
#include "ops/arguments.h"
#include "ops/axis.h"
#include "ops/movement.h"
#include "ops/quantized_product.h"

namespace hussar {

static Status infer(InferContext& context) {
  const Dims* table = context.dims(0);
  const Dims* scales = context.dims(1);
  const Dims* indices = context.dims(2);
  if (context.dtype(0) != DType::kUInt8 || context.dtype(1) != DType::kFloat32) {
    return context.fail("takes a table of uint8 and scales of float32");
  }
  if (context.dtype(2) != DType::kInt32 && context.dtype(2) != DType::kInt64) {
    return context.fail("indices must be int32 or int64");
  }
  const DType dtype = HUSSAR_TRY(check_byte_meanings(context));
  if (table == nullptr || scales == nullptr || indices == nullptr) {
    context.set_unknown(0, dtype);
    return {};
  }
  if (table->size() != 2 || scales->size() != 1) return context.fail("takes a matrix and a scale for each of its rows");
  HUSSAR_TRY(same_dim(context, (*table)[0], (*scales)[0]));
  Dims out = *indices;
  out.push_back((*table)[1]);
  context.set(0, dtype, std::move(out));
  return {};
}

static Status evaluate(EvalContext& context) {
  const Shape& shape = context.shape(0);
  const auto* table = context.input(0).data<uint8_t>();
  const auto* scales = context.input(1).data<float>();
  auto y = context.write<float>();
  int64_t at = 0;
  for (int64_t index : context.integers(2)) {
    const int64_t row = HUSSAR_TRY(wrap_index(context, index, shape[0]));
    for (int64_t column = 0; column < shape[1]; ++column) {
      y[at++] = static_cast<float>(table[row * shape[1] + column] - 128) * scales[row];
    }
  }
  return {};
}

extern const OpDef hussar_gather_bytes_op = {
    .name = "hussar.GatherBytes", .min_inputs = 3, .max_inputs = 3, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
