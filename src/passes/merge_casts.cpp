// Casts of casts: the first one is left out where it loses nothing.
#include <algorithm>

#include "passes/pass.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

// Every value of `from` has an equal in `to`, so that a cast from there gives what a cast from here gives.
bool keeps_everything(DType from, DType to) {
  auto is = [](DType dtype, std::initializer_list<DType> list) {
    return std::find(list.begin(), list.end(), dtype) != list.end();
  };
  switch (from) {
    case DType::kFloat16:
    case DType::kBFloat16: return is(to, {DType::kFloat32, DType::kFloat64});
    case DType::kFloat32: return to == DType::kFloat64;
    case DType::kInt8: return is(to, {DType::kInt16, DType::kInt32, DType::kInt64});
    case DType::kUInt8: return is(to, {DType::kInt16, DType::kInt32, DType::kInt64, DType::kUInt16, DType::kUInt32});
    case DType::kInt32: return to == DType::kInt64;
    default: return false;
  }
}

Result<int> run(PassContext& context) {
  return rewrite_each(context.graph, [&](Node* node) {
    if (node->op != "Cast" || node->program) return false;
    Node* first = produced_by(node->input(0), "Cast");
    if (first == nullptr || first->program || first->input(0) == nullptr || first->input(0)->slice_of != nullptr) {
      return false;
    }
    if (!keeps_everything(first->inputs[0]->dtype, first->output()->dtype)) return false;
    context.graph.set_input(node, 0, first->inputs[0]);
    unlink_unused(context.graph, first);
    return true;
  });
}

}  // namespace

extern const Pass merge_casts_pass = {.name = "merge_casts",
                                      .summary = "Cast(Cast(x:float16 => float32) => int64) => Cast(x => int64)",
                                      .run = run,
                                      .after = "fold_constants"};

}  // namespace hussar
