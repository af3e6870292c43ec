// choose_int8: which products compute in INT8, by what they take in the model.
//
// The plan in FP32 and the plan with everything in INT8 that may be run in turn, round after round, and every step is
// timed in both. A product stays in FP32 where it would take longer in INT8, the conversions of its input included;
// products that FP32 computes in one step (inverted residuals) are decided together. The plan with these products in
// FP32 then runs against the two others, and the fastest of the three, as measured in this build, wins. On a GPU there
// is a fourth plan, with attention in floats and all else in INT8: it tells what products gain that write bytes for
// attention.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "compile/compile.h"

namespace hussar {

// Of the plans that are compared: which has what its products take measured before, and which work of its own.
enum class PlanRole { kAllFloat, kAllInt8, kAttentionApart, kMixed };
// Compiles the graph that import made with a Quantization; null: in FP32.
using CompileWith = std::function<Result<Plan>(std::shared_ptr<const Quantization>, PlanRole)>;

// `shapes` are those to measure at where the model leaves them open.
Result<Plan> choose_int8(const CompileWith& compile, const std::shared_ptr<const Quantization>& allowed,
                         const NamedShapes& shapes, Int8Report& report);

}  // namespace hussar
