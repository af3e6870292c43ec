// Products of bytes, hussar.QuantizedMatMul and hussar.QuantizedConv (ops/quantized_product.h), as the kernels take
// them: sums of unsigned times signed bytes, or of FP8, which a table turns into numbers afterwards.
#pragma once
#include "backends/cuda/kernel_support.h"
#include "tensor/conv_sum.h"

namespace hussar::cuda {

// Multiplies floats, and rounds to bytes (hussar.ConvToBytes).
inline constexpr std::string_view kConvToBytes = "hussar.ConvToBytes";

// Multiplies bytes of two activations; inputs 2 and 3 are their zero points, one number each, or missing.
inline constexpr std::string_view kIntegerMatMul = "hussar.IntegerMatMul";

inline bool is_byte_product(std::string_view op) { return op.starts_with("hussar.Quantized"); }

// Where the scales of x are found when the model runs: they are input 4.
enum class RunScales {
  kNone,
  kRows,   // one for each row, whose bytes are signed and have no zero point
  kTensor  // one number, and the zero point is input 5
};
inline constexpr size_t kScaleInput = 4, kZeroPointInput = 5;
// `own`: inputs before those of the program.
inline RunScales run_scales(std::string_view op, DType x, size_t own) {
  if (!is_byte_product(op) || op == "hussar.QuantizedAttention" || is_conv_sum(op)) return RunScales::kNone;
  if (x == DType::kInt8) return RunScales::kRows;
  return own > kZeroPointInput ? RunScales::kTensor : RunScales::kNone;
}

// Of any product or convolution, whether its two factors and its results are of types that kernels multiply: floats; or
// bytes with constant weights of int8 (or both in FP8), one scale per column, and a scale of x that is known, or, of
// matrix products, found when the model runs.
Refusal check_factors(const Problem& problem);

// Makes input 2, the scales of the n columns, a table of three rows of n: factors of the sums, what is added then (the
// bias, less what the zero point of x has added to the sum), and the scales; of other products nothing. Where the zero
// point is found when the model runs the first row has the sums of the weights of each column, as bits of integers. The
// weights must not have been packed. `subtracts`: the kernel takes the zero point off every byte, so that it adds
// nothing. And back.
void make_table(Packing& packing, bool subtracts = false);
Status forget_table(Packing& packing);
// Those of both convolutions of hussar.QuantizedConvSum, inputs 2 and 6. The first has the sum of what is added.
void make_two_tables(Packing& packing);
Status forget_two_tables(Packing& packing);

// The table's size in a plan.
bool is_table(const Operand& table, int64_t columns);

}  // namespace hussar::cuda
