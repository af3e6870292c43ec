// What the INT8 kernels share: what they cost, how their steps are prepared and run.
#pragma once
#include "backends/cpu/epilogue.h"
#include "backends/cpu/kernels/int8/int8_product.h"

namespace hussar::cpu {

struct Int8State {
  Int8Args args;
  EpilogueState epilogue;
  int32_t bias;  // the input, or -1
  bool dynamic;  // scale and zero point of x are the inputs 4 and 5
  // The inputs of the term of rank one, sums of rows and a factor per column, or -1.
  int32_t row_term, row_factors;
  // The program without what the end of a tile does before it; no steps: the step's own program.
  Program rest;
  int shares;
  int64_t scratch_per_share;
};

// Whether the operands behind the weights are what the operators say (ops/quantized_product.h), and 32 bits are enough
// for sums over k.
Refusal check_int8(const Problem& problem, int64_t k, int64_t filters);

// The same for a product with a constant matrix, and everything before it.
Refusal check_int8_matrix(const Problem& problem);

// Predicted microseconds of `rows` x k x filters in each of `groups` groups.
double int8_cost(const Problem& problem, double rows, int64_t k, int64_t filters, int64_t groups);

// The cuts of a dense product that are worth measuring; `usual`: its cost.
std::vector<Configuration> int8_configurations(const Problem& problem, double usual);

// What of a step prepare_epilogue asks for, with a program that may be changed.
PlanStep program_alone(const PlanStep& step);
void drop_first(Program& program);

// From state.args.conv, which is filled in and checked, to everything but the partition. k: of the sums.
Status prepare_int8_epilogue(Prepare& prepare, int64_t k, Int8State& state);
// The same for the tiles, with the partition; checks the size of the weights too.
Status prepare_int8_product(Prepare& prepare, Int8State& state);
Status prepare_int8_sparse(Prepare& prepare, Int8State& state);
Status run_int8_step(const Run& run, Int8Function function);
Status run_int8_product(const Run& run);
Status run_int8_sparse(const Run& run);

// For sparse_share (sparse_steps.h).
inline constexpr double kInt8Gather = 0.3;

}  // namespace hussar::cpu
