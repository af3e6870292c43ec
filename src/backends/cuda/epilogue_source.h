// The fused program of a product or convolution as the epilogue of its kernel, over rows and columns of the output.
#pragma once
#include <string>
#include <vector>

#include "backends/cuda/kernel_support.h"

namespace hussar::cuda {

// Whether every operand of the node's program can be addressed as rows and columns of the output.
Refusal check_epilogue(const Problem& problem);

// `struct EpilogueOperands` and
//   template <int N> void epilogue_of(float (&value)[N], const EpilogueOperands&, long long row, int column)
//   void epilogue(float (&value)[8], ...)
// which finish N neighbours of a row. `bias`: an input of the node that is added first, one number per column; -1:
// none.
std::string epilogue_source(const Node& node, int bias);

// Which input is the operator's own bias: Conv's third, or -1.
inline int bias_input(const Node& node) {
  const size_t own = node.program ? static_cast<size_t>(node.program_inputs) : node.inputs.size();
  return own > 2 && node.inputs[2] != nullptr ? 2 : -1;
}
inline int bias_input(const PlanStep& step) {
  const size_t own = step.program ? static_cast<size_t>(step.program_inputs) : step.inputs.size();
  return own > 2 && step.inputs[2] >= 0 ? 2 : -1;
}

// What EpilogueOperands holds in a run.
class EpilogueState {
 public:
  Status prepare(const Prepare& prepare, int bias);
  // A pointer and a pitch for each operand.
  void put(const Run& run, Words& words) const;

 private:
  int count_ = 0;
  struct {
    int32_t input;
    int64_t pitch;
  } operands_[kProgramOperands + 1];
};

}  // namespace hussar::cuda
