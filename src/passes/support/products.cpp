#include "passes/support/products.h"

#include <algorithm>

#include "ops/op_def.h"

namespace hussar {

std::string no_int8(std::string_view reason, bool fp8) {
  std::string note(fp8 ? kNoFp8 : kNoInt8);
  note += reason;
  return note;
}

std::optional<std::string> reason_in(std::string_view notes) {
  for (std::string_view prefix : {kNoInt8, kNoFp8}) {
    const size_t at = notes.find(prefix);
    if (at == std::string_view::npos) continue;
    const size_t begin = at + prefix.size(), end = std::min(notes.find('\n', begin), notes.size());
    return std::string(notes.substr(begin, end - begin));
  }
  return std::nullopt;
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
