// hussar.ConvToBytes(x, w, bias?): Conv of floats whose result, behind the fused program, is bytes by y_scale and
// y_zero_point (ops/quantized_product.h). Products stay in floats: the first convolution of an INT8 network.
#include "ops/conv.h"
#include "ops/quantized_product.h"

namespace hussar {

static Status infer(InferContext& context) {
  const DType bytes = HUSSAR_TRY(check_byte_meanings(context));
  if (!is_quantized(bytes)) return context.fail("has no y_scale");
  return infer_conv(context, 0, 1, 2, bytes);
}

static Status evaluate(EvalContext& context) {
  Tensor real(DType::kFloat32, context.output().shape());
  const auto own = context.node.program ? static_cast<size_t>(context.node.program_inputs) : context.input_count();
  EvalContext convolution(context.node, context.inputs().first(own), {&real, 1}, context.evaluation());
  HUSSAR_TRY(find_op("Conv")->evaluate(convolution));
  return finish_quantized(context, std::vector<float>(real.data<float>(), real.data<float>() + real.elements()));
}

static double flops(const Node& node) { return conv_flops(node, 1); }

extern const OpDef hussar_conv_to_bytes_op = {.name = "hussar.ConvToBytes",
                                              .min_inputs = 2,
                                              .max_inputs = 3,
                                              .traits = kOwnProgram,
                                              .infer = infer,
                                              .evaluate = evaluate,
                                              .flops = flops};

}  // namespace hussar
