// hussar.FakeQuantize: QuantizeLinear to bytes and DequantizeLinear back, with one scale and zero point (0 to 255):
// clip(round(x / scale), -zero_point, 255 - zero_point) * scale, half to even; NaN stays NaN. Signed bytes differ in
// the zero point only.
#include <cmath>

#include "ops/elementwise.h"
#include "ops/scalar_program.h"
#include "tensor/fake_quantize.h"

namespace hussar {

static Status infer(InferContext& context) {
  if (context.dtype(0) != DType::kFloat32) return context.fail("takes float32");
  const float scale = context.attributes.get_float("scale", 0);
  const int64_t zero_point = context.attributes.get_int("zero_point", 0);
  if (!(scale > 0) || !std::isfinite(scale)) return context.fail("scale is {}", scale);
  if (zero_point < 0 || zero_point > 255) return context.fail("zero_point is {}", zero_point);
  return infer_same(context);
}

static Status evaluate(EvalContext& context) {
  QuantParams params;
  params.scale = context.attributes.get_float("scale", 1);
  params.zero_point = static_cast<int32_t>(context.attributes.get_int("zero_point", 0));
  auto x = context.read<float>(0);
  auto y = context.write<float>();
  for (int64_t i = 0; i < x.size(); ++i) {
    y[i] = x[i];
    for (int step = 0; step < kFakeQuantizeSteps; ++step) {
      const ProgramStep work = fake_quantize_step(params, step);
      y[i] = evaluate_program_op(work, y[i], work.p0);
    }
  }
  return {};
}

extern const OpDef hussar_fake_quantize_op = unary_op("hussar.FakeQuantize", infer, evaluate);

}  // namespace hussar
