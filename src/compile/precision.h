// The precisions that a plan's steps compute in, and those that its compilation may choose.
#pragma once
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "plan/plan.h"
#include "tactics/tactic.h"

namespace hussar {

// What the step multiplies in: the type of its first output unless its kernel goes below. kUndefined: it computes
// nothing.
DType precision_of(const PlanGraph& graph, const PlanStep& step);
// Its name: "float32", "float16", "bfloat16", "int8", "fp8", "tf32" for floats that are rounded when they are
// multiplied; "": none.
std::string precision_name(const PlanGraph& graph, const PlanStep& step);
// How many steps are INT8 or FP8 products, and how many of them because the model itself is quantized.
int64_t count_int8_steps(const PlanGraph& graph);
int64_t count_quantized_in_model(const PlanGraph& graph);
// The steps, those of bodies included, that compute in float16, or in bfloat16, in the order of execution.
struct HalfStep {
  std::string name, output;  // of the step, of its first output
};
std::vector<HalfStep> half_steps(const PlanGraph& graph, DType half);
int64_t count_half_steps(const PlanGraph& graph, DType half);
int64_t count_tf32_steps(const PlanGraph& graph);
// "FP16" or "BF16".
std::string_view half_name(DType half);

// Whether a step of the main graph computes in INT8 on a CPU, or in FP8.
bool has_int8_steps(const PlanGraph& graph);
bool has_fp8_steps(const PlanGraph& graph);

// The largest error relative to the output range that a check allows when nothing else was said.
// With INT8, what differs in the last bit before it is rounded to a byte may differ by a whole step of 4e-3 behind it.
// FP8 has steps of up to a fourteenth of the range, and its sums on tensor cores lose bits.
// BF16 rounds to 8 bits where FP16 and TF32 have 11, and its errors add up as theirs do: it has eight times their
// bound.
inline constexpr double kFp32Tolerance = 1e-3, kFp16Tolerance = 1e-2, kBf16Tolerance = 8e-2, kInt8Tolerance = 3e-2,
                        kFp8Tolerance = 1e-1;
// What suits the floats that steps compute in. A CPU that stores a model's FP16 or BF16 computes in FP32.
double tolerance_of_floats(const PlanGraph& graph);
// The same for a model that arrives quantized, against its own steps one by one: there sums of floating-point numbers
// are rounded where INT8 products are exact, and attention is less exact than in one step.
inline constexpr double kQuantizedModelTolerance = 1e-1;

// Whether `part` is one of the names of ONNX nodes that are joined by '+' in `whole`, or several of them in a row.
bool names_part(std::string_view whole, std::string_view part);

// Nodes that stay in FP32 whatever else is allowed: by the name of an ONNX node or of all that were fused into one step
// ("conv1", "conv1+relu1"), or by the name of their first output.
class KeptNodes {
 public:
  KeptNodes(const std::vector<std::string>& names, const std::set<std::string>& outputs)
      : names_(names.begin(), names.end()), unseen_(names_), outputs_(outputs) {}
  // `problem`, whose target may compute in FP16 or BF16, as it may be solved.
  Problem restrict(const Problem& problem);
  // Names that no node had; "" when there are none.
  std::string unseen() const { return unseen_.empty() ? "" : *unseen_.begin(); }

 private:
  std::set<std::string, std::less<>> names_, unseen_;
  std::set<std::string> outputs_;
};

}  // namespace hussar
