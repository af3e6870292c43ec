// What the values of a plan stand for in the ONNX model that it was made of.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "plan/kernel.h"
#include "plan/plan.h"
#include "tensor/quant_params.h"

namespace hussar {

struct PlanTensor {
  // Under which the model may know it, the likeliest first: its own, and those of copies of it in another layout or in
  // bytes.
  std::vector<std::string> names;
  // Of bytes: what they stand for.
  std::optional<QuantParams> params;
  // What the model's value is divided by here, per channel: of axis 1, or the last one of rows; empty: nothing.
  std::vector<float> divisors;
  bool are_of_rows = false;
};

// One per value of the main graph.
std::vector<PlanTensor> plan_tensors(const Plan& plan);

// A dense plain tensor with the numbers that an operand stands for: float32 for bytes, else of its own type.
Tensor real_numbers(const Operand& operand, const PlanTensor& meaning);
// Overwrites what lies there with numbers of the same shape.
void store_real_numbers(const Tensor& numbers, const PlanTensor& meaning, const Operand& operand);

}  // namespace hussar
