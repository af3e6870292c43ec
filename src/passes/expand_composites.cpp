// Operators that are defined by others are written as those, so that only their parts need recognition and kernels:
//   com.microsoft.SkipLayerNormalization(x, skip)  =>  LayerNormalization(x + skip)
#include <algorithm>

#include "ops/builder.h"
#include "ops/op_def.h"
#include "passes/pass.h"

namespace hussar {
namespace {

// Matrix products read transposed operands directly. One that only scales is a MatMul, which more passes know.
bool is_kept(const Node& node) {
  constexpr const char* kFlags[] = {"transA", "transB", "transBatchA", "transBatchB"};
  return node.op == "com.microsoft.FusedMatMul" &&
         std::any_of(std::begin(kFlags), std::end(kFlags),
                     [&](const char* flag) { return node.attributes.get_int(flag, 0) != 0; });
}

bool is_expandable(const Node& node) {
  const OpDef* op = find_op(node.op);
  if (op == nullptr || op->expand == nullptr || is_kept(node)) return false;
  return std::all_of(node.inputs.begin(), node.inputs.end(),
                     [](const Value* value) { return value == nullptr || value->dtype != DType::kUndefined; });
}

Result<int> run(PassContext& context) {
  int rewrites = 0;
  for (Node* node : context.graph.snapshot()) {
    if (!is_expandable(*node)) continue;
    HUSSAR_TRY(expand_node(context.graph, node));
    ++rewrites;
  }
  return rewrites;
}

}  // namespace

extern const Pass expand_composites_pass = {
    .name = "expand_composites", .summary = "com.microsoft.BiasGelu(x, b) => Gelu(x + b)", .run = run};

}  // namespace hussar
