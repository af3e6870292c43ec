#include "passes/support/smoothable.h"

#include <algorithm>

#include "ops/product_weights.h"

namespace hussar {

static bool is_vector_of(const Value* value, const Dim& size) {
  return value != nullptr && value->is_constant() && value->dtype == DType::kFloat32 &&
         value->constant->shape().rank() == 1 && size.is(value->constant->elements());
}

bool is_smoothable(const Graph& graph, const Value& value) {
  const Node* norm = value.producer;
  if (norm == nullptr || (norm->op != "LayerNormalization" && norm->op != "RMSNormalization")) return false;
  if (norm->outputs[0] != &value || norm->program || value.dtype != DType::kFloat32 || value.rank() < 1) return false;
  const int64_t axis = norm->attributes.get_int("axis", -1);
  if (axis != -1 && axis != value.rank() - 1) return false;
  const Dim& size = value.dims->back();
  if (!is_vector_of(norm->input(1), size) || (norm->input(2) != nullptr && !is_vector_of(norm->input(2), size)))
    return false;
  return !graph.is_output(&value) && !value.users.empty() &&
         std::all_of(value.users.begin(), value.users.end(), [&](const Node* user) {
           auto weights = product_weights(*user);
           return weights && user->op != "Conv" && user->inputs[0] == &value && size.is(weights->elements) &&
                  std::count(user->inputs.begin(), user->inputs.end(), &value) == 1;
         });
}

}  // namespace hussar
