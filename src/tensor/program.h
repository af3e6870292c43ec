// The vector program: a short list of elementwise steps over a 2-D block of floats. It is the general epilogue of the
// GEMM and convolution kernels and the body of fused elementwise kernels.
//
// A program has 8 registers, each a block [rows][columns]. Register 0 starts as the input block; the others must be
// written before they are read. A step computes dst = op(a) or dst = op(a, b), where a is a register and b is a
// register, an operand (a tensor bound at run time) or the constant p0. The result of the program is what its last
// step writes. Example, silu(x) * scale[column] + residual:
//   {kSilu, dst 0, a 0}  {kMul, dst 0, a 0, b operand 0}  {kAdd, dst 0, a 0, b operand 1}
//
// These are plain data: a plan stores Program, the caller fills ProgramOperand for every run.
#pragma once
#include <stdint.h>

namespace hussar {

// NaN in an input gives NaN in the result for every op. Values are stored in plans: append only.
enum class ProgramOp : uint8_t {
  kCopy = 0,  // b
  kAdd,       // a + b
  kSub,       // a - b
  kMul,       // a * b
  kDiv,       // a / b
  kMin,
  kMax,
  kPow,              // a to the power b, as powf
  kPrelu,            // a < 0 ? a * b : a
  kRelu,             // max(a, 0)
  kClip,             // min(max(a, p0), p1)
  kLeakyRelu,        // a < 0 ? p0 * a : a
  kElu,              // a > 0 ? a : p0 * (exp(a) - 1)
  kSelu,             // a > 0 ? p1 * a : p1 * p0 * (exp(a) - 1), p0 = alpha, p1 = gamma
  kCelu,             // max(0, a) + min(0, p0 * (exp(a / p0) - 1)), p0 > 0
  kSigmoid,          // 1 / (1 + exp(-a))
  kHardSigmoid,      // clip(p0 * a + p1, 0, 1)
  kHardSwish,        // a * clip(a / 6 + 1/2, 0, 1)
  kSilu,             // a * sigmoid(a)
  kTanh,             //
  kGeluErf,          // a / 2 * (1 + erf(a / sqrt(2)))
  kGeluTanh,         // a / 2 * (1 + tanh(sqrt(2/pi) * (a + 0.044715 a^3)))
  kQuickGelu,        // a * sigmoid(p0 * a)
  kErf,              //
  kExp,              //
  kLog,              //
  kSqrt,             //
  kRsqrt,            // 1 / sqrt(a)
  kReciprocal,       // 1 / a
  kNeg,              //
  kAbs,              //
  kSquare,           // a * a
  kFloor,            //
  kCeil,             //
  kRound,            // half to even
  kSign,             // -1, 0 or 1
  kSoftplus,         // log(1 + exp(a))
  kSoftsign,         // a / (1 + |a|)
  kMish,             // a * tanh(softplus(a))
  kThresholdedRelu,  // a > p0 ? a : 0
};
constexpr int kProgramOpCount = static_cast<int>(ProgramOp::kThresholdedRelu) + 1;

constexpr bool reads_b(ProgramOp op) { return op <= ProgramOp::kPrelu; }
constexpr bool reads_a(ProgramOp op) { return op != ProgramOp::kCopy; }

enum class ProgramSource : uint8_t { kRegister = 0, kOperand = 1, kConstant = 2 };

struct ProgramStep {
  ProgramOp op;
  uint8_t dst;           // register
  uint8_t a;             // register
  ProgramSource source;  // what b is
  uint8_t b;             // register or operand index; not read for a constant
  uint8_t reserved[3];   // 0
  float p0;              // parameter of the op, or the constant b
  float p1;
};
static_assert(sizeof(ProgramStep) == 16);

constexpr int kProgramSteps = 32;
constexpr int kProgramRegisters = 8;
constexpr int kProgramOperands = 16;

struct Program {
  uint8_t step_count;  // 1..kProgramSteps
  uint8_t operand_count;
  uint8_t reserved[6];  // 0
  ProgramStep steps[kProgramSteps];
};

// Element (row, column) of the operand is data[row * row_stride + column * column_stride], strides in elements,
// column_stride 0 or 1: scalar (0, 0), per column (0, 1), per row (1, 0), full (pitch, 1).
struct ProgramOperand {
  const float* data;
  int64_t row_stride;
  int64_t column_stride;
};

// A rectangle of a larger block: rows [row, row + rows) and columns [column, column + columns) of the operands.
// input and output point at its first element. output may be input (with equal pitches), no other overlap.
struct ProgramBlock {
  const float* input;
  float* output;
  int64_t input_pitch;   // elements from row to row
  int64_t output_pitch;  // elements from row to row
  int64_t row;
  int64_t column;
  int64_t rows;
  int64_t columns;
};

// Whether a program read from a file may be run: known ops, registers written before they are read, indices in range.
bool is_valid(const Program& program);
// Whether the program adds operand `index` to its input, which it may fake-quantize before, and then only bounds the
// sum: what products can do while the operand is still an integer.
bool adds_and_bounds(const Program& program, int index);
// The op's name in lower case with underscores ("hard_swish"); "?" for a value that is not an op.
const char* program_op_name(ProgramOp op);

}  // namespace hussar
