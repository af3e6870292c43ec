// hussar.Pointwise: a fused chain of elementwise operators, written by passes as Node::program. With program_inputs 1,
// input 0 has the output's shape and starts in register 0; with 0, every input is an operand. Numbers may be bytes,
// which stand for reals as ops/quantized_product.h says: input 0 by x_scale, operands by operand_scale, the output by
// y_scale.
#include <numeric>

#include "ops/elementwise.h"
#include "ops/quantized_product.h"
#include "ops/scalar_program.h"

namespace hussar {

static Status infer(InferContext& context) {
  bool has_bytes = context.attributes.has("y_scale");
  for (size_t i = 0; i < context.input_count(); ++i) has_bytes = has_bytes || is_quantized(context.dtype(i));
  if (!has_bytes) return infer_broadcast(context);
  for (size_t i = 0; i < context.input_count(); ++i) {
    if (context.dtype(i) != DType::kUInt8 && !is_floating(context.dtype(i)))
      return context.fail("takes floats and uint8, input {} is {}", i, dtype_name(context.dtype(i)));
  }
  const DType dtype = HUSSAR_TRY(check_byte_meanings(context));
  std::vector<size_t> all(context.input_count());
  std::iota(all.begin(), all.end(), 0);
  auto dims = HUSSAR_TRY(context.broadcast(all));
  if (dims) {
    context.set(0, dtype, std::move(*dims));
  } else {
    context.set_unknown(0, dtype);
  }
  return {};
}

static Status evaluate(EvalContext& context) {
  if (!context.node.program || !is_valid(*context.node.program)) return context.fail("has no valid program");
  bool has_bytes = is_quantized(context.output().dtype());
  for (size_t i = 0; i < context.input_count(); ++i) has_bytes = has_bytes || is_quantized(context.input(i).dtype());
  if (!has_bytes) return evaluate_program(context, nullptr);
  std::vector<float> start(static_cast<size_t>(context.output().elements()));
  if (context.node.program_inputs > 0) {
    if (!(context.shape(0) == context.output().shape())) return context.fail("input 0 has another shape");
    auto x = context.read<float>(0);
    const bool is_bytes = is_quantized(context.input(0).dtype());
    const float scale = is_bytes ? context.attributes.get_float("x_scale", 1) : 1;
    const auto zero_point = static_cast<float>(is_bytes ? context.attributes.get_int("x_zero_point", 0) : 0);
    for (size_t i = 0; i < start.size(); ++i) start[i] = (x[static_cast<int64_t>(i)] - zero_point) * scale;
  }
  return finish_quantized(context, std::move(start));
}

extern const OpDef hussar_pointwise_op = {.name = "hussar.Pointwise",
                                          .min_inputs = 1,
                                          .max_inputs = -1,
                                          .traits = kElementwise | kChannelsLastOk | kOwnProgram,
                                          .infer = infer,
                                          .evaluate = evaluate};

}  // namespace hussar
