// ScatterElements: a copy of `data` where data[indices[i][j]][j] (for axis 0, and so on) is replaced by, or combined
// with, updates[i][j]. Opset 9 and 10 called it Scatter.
#include "ops/arguments.h"
#include "ops/elementwise.h"
#include "ops/scatter.h"

namespace hussar {

static Status infer(InferContext& context) {
  HUSSAR_TRY(infer_same(context));
  HUSSAR_TRY(check_reduction(context));
  HUSSAR_TRY(check_element_indices(context, 0, 1));
  if (context.dtype(2) != context.dtype(0)) return context.fail("data and updates have different dtypes");
  const Dims* indices = context.dims(1);
  const Dims* updates = context.dims(2);
  if (indices == nullptr || updates == nullptr) return {};
  if (indices->size() != updates->size()) return context.fail("indices and updates have different ranks");
  for (size_t i = 0; i < indices->size(); ++i) HUSSAR_TRY(same_dim(context, (*indices)[i], (*updates)[i]));
  return {};
}

static Status evaluate(EvalContext& context) {
  return scatter_updates(context, HUSSAR_TRY(element_offsets(context, 0, 1)), 1);
}

extern const OpDef scatter_elements_op = {.name = "ScatterElements",
                                          .aliases = "Scatter",
                                          .min_inputs = 3,
                                          .max_inputs = 3,
                                          .infer = infer,
                                          .evaluate = evaluate};

}  // namespace hussar
