// What kernels do that run device/norm_rows.cuh: the operators that normalize rows, whatever the rows are made of.
// Scale, bias and factors are the inputs 1 to 3 of their nodes.
#pragma once
#include "backends/cuda/results.h"
#include "backends/cuda/rows.h"

namespace hussar::cuda {

inline constexpr std::string_view kLayerNorm = "LayerNormalization", kRootNorm = "RMSNormalization",
                                  kNormToBytes = "hussar.NormToBytes", kNormToRows = "hussar.NormToRows";

// Which output of `op` holds the result as numbers.
size_t norm_numbers_of(std::string_view op);

// Refuses types and layouts of what is beside the rows, for the normalization `op`, which the node does.
Refusal refuse_norm(const Problem& problem, std::string_view op);
// Refuses scales and biases of other shapes than `row`.
Refusal refuse_norm_shapes(const Problem& problem, const Dims& row);

// Where the rows of a node come from: `input` stands for what they are read from, `rows` as row_form() has it.
struct NormRows {
  const Value& input;
  int64_t length, rows;
};
// More or fewer threads for a row than usual.
std::vector<Configuration> norm_configurations(const Problem& problem, std::string_view op, const NormRows& rows,
                                               double cost);
Status attach_norm(Packing& packing, std::string_view op, const NormRows& rows, DType x, Defines defines,
                   std::string_view text);

struct NormState {
  int64_t rows, length;
  float epsilon;
  ByteMeaning meaning;
  // Which outputs are what; -1: none.
  int8_t numbers, bytes, scales, statistics;
};
NormState norm_state(const PlanStep& step, std::string_view op, int64_t rows, int64_t length);
// The parameters, as the struct Normalization of the text has them.
void put_norm(const Run& run, const NormState& state, Words& words);

}  // namespace hussar::cuda
