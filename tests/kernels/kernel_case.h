// Runs one kernel on one node and compares it with the reference evaluator of the operator.
#pragma once
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "hussar/tensor.h"
#include "tensor/attributes.h"
#include "tensor/layout.h"
#include "tensor/program.h"
#include "tests/kernels/levels.h"

namespace hussar {

struct Argument {
  Tensor tensor;  // plain; invalid: omitted
  bool constant = false;
  Layout layout = Layout::kPlain;
  int64_t gap = 0;  // channels-last: pitch - channels
};

struct KernelCase {
  std::string kernel;
  std::string op;
  std::vector<Argument> inputs;
  Attributes attributes = {};
  size_t outputs = 1;
  Layout output_layout = Layout::kPlain;
  int64_t output_gap = 0;
  // Of |difference| <= tolerance * max(1, |expected|); 0: the same bits, any NaN equal to any. Bytes of a device's
  // kernels may differ by one, and FP8 may be its neighbour, with any tolerance: the last bit of a number may decide
  // about them.
  double tolerance = 0;
  // Fused work: the inputs from program_inputs on are its operands.
  std::optional<Program> program = std::nullopt;
  int32_t program_inputs = 0;
  bool tf32 = false;  // the kernel may round to it
  // Where the device is an emulated one, what it passes for: it knows the instructions of product_ampere.cuh of 80 and
  // 89, and those of product_hopper.cuh of 90.
  int emulated_sm = 0;
  bool only_usual = false;  // in no other configuration than the one that the tactic prefers
  // Elements of every output that mean something, from the first on; what is behind them may be anything. -1: all.
  int64_t meant = -1;
  // Of a device: so many of so many rows of the outputs are needed (Run::row_count); -1: all. Only these are compared.
  int64_t needed_rows = -1, all_rows = 1;
  bool leaves_other_rows = false;  // they stay as they were
};

// Checks on 1 and 2 threads: the tactic takes the node, all outputs agree with the reference and are the same on any
// number of threads, nothing outside of the outputs is written, and run() allocates nothing. Kernels of a device run on
// the one of use_test_device(), once.
void expect_kernel_agrees(const KernelCase& test);
// Half of the time, where there are images: input 0 is channels-last with a gap, and, if it keeps its rank, the output
// may be.
void pick_layouts(KernelCase& test, bool keeps_rank);
// What the tactic says to the node; nullopt: takes it.
std::optional<std::string> refusal_of(const KernelCase& test);
// The text that the tactic of a device compiles for the node.
std::string source_of(const KernelCase& test, int sm);
// The error message of run(), "" when it succeeds.
std::string run_error_of(const KernelCase& test);

// Random plain tensors. Integers come from [low, high], floats from [low, high).
Tensor random_tensor(DType dtype, const Shape& shape, double low = -2, double high = 2);
Tensor integers(std::initializer_list<int64_t> values, DType dtype = DType::kInt64);
Tensor integers(const Ints& values, DType dtype = DType::kInt64);
Attributes attributes(std::initializer_list<std::pair<const char*, Attribute>> list);

// A random integer in [low, high].
inline int64_t pick(int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(cpu::random_engine());
}

}  // namespace hussar
