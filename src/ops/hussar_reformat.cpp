// hussar.Reformat: the same tensor in another memory layout. Passes insert it; the layouts are those of its values.
#include "ops/elementwise.h"

namespace hussar {

static Status evaluate(EvalContext& context) {
  const Tensor& input = context.input(0);
  std::copy(input.raw(), input.raw() + input.bytes(), context.output().raw());
  return {};
}

extern const OpDef hussar_reformat_op = {.name = "hussar.Reformat",
                                         .min_inputs = 1,
                                         .max_inputs = 1,
                                         .traits = kChannelsLastOk,
                                         .infer = infer_same<0>,
                                         .evaluate = evaluate};

}  // namespace hussar
