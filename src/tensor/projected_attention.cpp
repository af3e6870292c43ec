#include "tensor/projected_attention.h"

namespace hussar::projected {

// Of packed nodes: what their kernel notes.
static constexpr std::string_view kOfKernels = "hussar_";

Attributes product_attributes(const Attributes& attributes) {
  Attributes own;
  for (const auto& [name, value] : attributes.all()) {
    if (name.starts_with(kOfProduct)) own.set(name.substr(kOfProduct.size()), value);
  }
  return own;
}

Attributes attention_attributes(const Attributes& attributes) {
  Attributes own;
  for (const auto& [name, value] : attributes.all()) {
    const bool is_other =
        name.starts_with(kOfProduct) || name.starts_with(kOfKernels) || name == kAttention || name == kParts;
    if (!is_other) own.set(name, value);
  }
  return own;
}

Program sum_with_bias() {
  Program program{};
  program.operand_count = 1;
  program.step_count = 1;
  program.steps[0].op = ProgramOp::kAdd;
  program.steps[0].source = ProgramSource::kOperand;
  return program;
}

std::string byte_attention(const Attributes& attributes) {
  const Strings names = attributes.get_strings(kParts);
  const bool is_one = attributes.get_string(kAttention, "") == "hussar.QuantizedAttention" && names.size() == 2;
  return is_one ? names[1] : "";
}

}  // namespace hussar::projected
