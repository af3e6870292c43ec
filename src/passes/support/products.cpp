#include "passes/support/products.h"

#include "ops/op_def.h"

namespace hussar {

std::string no_int8(std::string_view reason) {
  std::string note(kNoInt8);
  note += reason;
  return note;
}

bool multiplies_floats(std::string_view op, DType dtype) {
  const bool is_float =
      dtype == DType::kFloat32 || dtype == DType::kFloat16 || dtype == DType::kBFloat16 || dtype == DType::kFloat64;
  if (!is_float) return false;
  if (op == "Einsum") return true;
  const OpDef* def = find_op(op);
  return def != nullptr && def->flops != nullptr;
}

}  // namespace hussar
