// Products of bytes, hussar.QuantizedMatMul and hussar.QuantizedConv (ops/quantized_product.h), as the kernels take
// them: sums of unsigned times signed bytes, or of FP8, which a table turns into numbers afterwards.
#pragma once
#include "backends/cuda/kernel_support.h"

namespace hussar::cuda {

// Multiplies floats, and rounds to bytes (hussar.ConvToBytes).
inline constexpr std::string_view kConvToBytes = "hussar.ConvToBytes";

inline bool is_byte_product(std::string_view op) { return op.starts_with("hussar.Quantized"); }

// Input 4 of products whose rows have scales of their own (x is int8): one number each.
inline constexpr size_t kRowScales = 4;
inline bool has_row_scales(std::string_view op, DType x) { return is_byte_product(op) && x == DType::kInt8; }

// Of any product or convolution, whether its two factors and its results are of types that kernels multiply: floats; or
// bytes with constant weights of int8 (or both in FP8), one scale per column, and a scale of x that is known, or one
// for each row.
Refusal check_factors(const Problem& problem);

// Makes input 2, the scales of the n columns, a table of three rows of n: factors of the sums, what is added then (the
// bias, less what the zero point of x has added to the sum), and the scales; of other products nothing. The weights
// must not have been packed. `subtracts`: the kernel takes the zero point off every byte, so that it adds nothing. And
// back.
void make_table(Packing& packing, bool subtracts = false);
Status forget_table(Packing& packing);

// The table's size in a plan.
bool is_table(const Operand& table, int64_t columns);

}  // namespace hussar::cuda
