// Identity: the input as it is.
#include "ops/elementwise.h"
#include "ops/movement.h"

namespace hussar {

static Status infer(InferContext& context) {
  HUSSAR_TRY(infer_same(context));
  infer_view_elements(context);
  return {};
}

extern const OpDef identity_op = {.name = "Identity",
                                  .min_inputs = 1,
                                  .max_inputs = 1,
                                  .traits = kElementwise | kView | kChannelsLastOk,
                                  .infer = infer,
                                  .evaluate = evaluate_view};

}  // namespace hussar
