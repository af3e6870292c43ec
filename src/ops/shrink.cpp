// Shrink: x + bias below -lambd, x - bias above lambd, 0 between. Integers too.
#include "ops/elementwise.h"

namespace hussar {

static Status evaluate(EvalContext& context) {
  double bias = context.attributes.get_float("bias", 0);
  double lambd = context.attributes.get_float("lambd", 0.5F);
  auto x = context.read<double>(0);
  auto y = context.write<double>();
  for (int64_t i = 0; i < x.size(); ++i) {
    y[i] = x[i] < -lambd ? x[i] + bias : x[i] > lambd ? x[i] - bias : 0;
  }
  return {};
}

extern const OpDef shrink_op = unary_op("Shrink", infer_same, evaluate);

}  // namespace hussar
