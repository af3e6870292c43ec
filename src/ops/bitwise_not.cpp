// BitwiseNot: the complement of every bit.
#include "ops/bitwise.h"

namespace hussar {

static Status evaluate(EvalContext& context) {
  auto x = context.read<uint64_t>(0);
  auto y = context.write<uint64_t>();
  for (int64_t i = 0; i < x.size(); ++i) y[i] = ~x[i];
  return {};
}

extern const OpDef bitwise_not_op = unary_op("BitwiseNot", infer_broadcast_integers, evaluate);

}  // namespace hussar
