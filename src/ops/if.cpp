// If: runs one of two bodies. Import has turned outer values that the bodies read into inputs 1, 2, ...
#include "ops/evaluate.h"
#include "ops/infer.h"
#include "ops/op_def.h"

namespace hussar {

// The infos that one branch sees: all inputs but the condition. Captured values come first for then_branch
// (`then_inputs` of them), then those of else_branch.
static Status infer(InferContext& context) {
  auto then_count = static_cast<size_t>(context.attributes.get_int("then_inputs", 0));
  std::vector<ValueInfo> for_then, for_else;
  for (size_t i = 1; i < context.input_count(); ++i) {
    (i <= then_count ? for_then : for_else).push_back(context.info(i));
  }
  auto then_infos = context.infer_body("then_branch", std::move(for_then));
  auto else_infos = context.infer_body("else_branch", std::move(for_else));
  // A branch that cannot work for these inputs is one that is never taken for them.
  if (!then_infos && !else_infos) return tl::unexpected(then_infos.error());
  const std::vector<ValueInfo>& a = then_infos ? *then_infos : *else_infos;
  const std::vector<ValueInfo>& b = else_infos ? *else_infos : *then_infos;
  for (size_t i = 0; i < context.output_count(); ++i) {
    if (i >= a.size() || i >= b.size()) return context.fail("a branch gives fewer outputs than the node");
    DType dtype = a[i].dtype != DType::kUndefined ? a[i].dtype : b[i].dtype;
    if (!a[i].dims || !b[i].dims || a[i].dims->size() != b[i].dims->size()) {
      context.set_unknown(i, dtype);
      continue;
    }
    Dims dims;
    for (size_t axis = 0; axis < a[i].dims->size(); ++axis) {
      const Dim& dim = (*a[i].dims)[axis];
      dims.push_back(dim == (*b[i].dims)[axis] ? dim : context.fresh());
    }
    context.set(i, dtype, std::move(dims));
  }
  return {};
}

static Status evaluate(EvalContext& context) {
  auto then_count = static_cast<size_t>(context.attributes.get_int("then_inputs", 0));
  bool condition = context.number(0, 0) != 0;
  Loan arguments(context.workspace().lists);
  for (size_t i = 1; i < context.input_count(); ++i) {
    if ((i <= then_count) == condition) arguments->push_back(context.input(i));
  }
  auto results = HUSSAR_TRY(context.run_body(condition ? "then_branch" : "else_branch", *arguments));
  if (results.size() < context.output_count()) return context.fail("the branch gave too few outputs");
  for (size_t i = 0; i < context.output_count(); ++i) {
    if (context.wants(i)) context.copy_output(i, results[i]);
  }
  return {};
}

extern const OpDef if_op = {.name = "If",
                            .min_inputs = 1,
                            .max_inputs = -1,
                            .min_outputs = 1,
                            .max_outputs = -1,
                            .traits = kSizesOutputs,
                            .infer = infer,
                            .evaluate = evaluate};

}  // namespace hussar
