// The fused program of a product or convolution as the epilogue of its kernel, over rows and columns of the output.
#pragma once
#include <string>
#include <vector>

#include "backends/cuda/kernel_support.h"
#include "backends/cuda/results.h"

namespace hussar::cuda {

// Whether every operand of the node's program can be addressed as rows and columns of the output.
Refusal check_epilogue(const Problem& problem);

// `struct EpilogueOperands` and
//   template <int N> struct SumMeaning
//   template <int N> void load_meaning(SumMeaning<N>&, const EpilogueOperands&, int column)
//   struct RowMeaning, RowMeaning row_meaning(const EpilogueOperands&, long long row)
//   template <int N, class Sum> void real_sums(const Sum (&sum)[N], float (&value)[N], const SumMeaning<N>&,
//                                              const RowMeaning&)
//   template <int N> struct EpilogueInputs
//   template <int N, class Near> void load_inputs(EpilogueInputs<N>&, const EpilogueOperands&, long long row, int
//                                                 column, const Near&)
//   template <int N> void epilogue_of(float (&value)[N], const EpilogueInputs<N>&, const EpilogueOperands&)
//   template <int N, class T> void store_finished(T* to, const float (&value)[N], const EpilogueOperands&)
// which finish N neighbours of a row: numbers of sums, with the operator's own bias; then the program. Products of
// bytes have the table of byte_product.h as input 2. `near`: of the program's operands the input that
// Near::load(data, row, column, numbers) gives; 0: none.
std::string epilogue_source(const Node& node, size_t near = 0);

// Elements from row to row of an operand as rows and columns of the output.
int64_t row_pitch_of(const Operand& operand);

// The input, an operand of the program, that the copy engine can bring as a matrix of halves or bytes; 0: none.
size_t near_operand(const Node& node);

// What EpilogueOperands holds in a run.
class EpilogueState {
 public:
  Status prepare(const Prepare& prepare);
  // A pointer and a pitch for each operand, then what bytes stand for: of results, and of operands.
  void put(const Run& run, Words& words) const;
  // From row to row of an operand of the program, in elements.
  int64_t pitch_of(int32_t input) const;

 private:
  // Those that are found when the model runs.
  Status put_run_scales(const Prepare& prepare, size_t own);

  bool writes_bytes_ = false, reads_bytes_ = false;
  SumBytes of_results_;
  ScaledBytes of_operands_;
  int count_ = 0;
  struct {
    int32_t input;
    int64_t pitch;
  } operands_[kProgramOperands + 3];
};

}  // namespace hussar::cuda
