// One statement per step of a program.
#include "backends/cuda/program_source.h"

#include <fmt/format.h>

#include <bit>

namespace hussar::cuda {
namespace {

// {a} and {b} are what the step reads, {p} and {q} its parameters.
constexpr const char* kExpressions[] = {
    "{b}",                                                      // copy
    "{a} + {b}",                                                // add
    "{a} - {b}",                                                // sub
    "{a} * {b}",                                                // mul
    "{a} / {b}",                                                // div
    "f_min({a}, {b})",                                          // min
    "f_max({a}, {b})",                                          // max
    "f_pow({a}, {b})",                                          // pow
    "{a} < 0.0f ? {a} * {b} : {a}",                             // prelu
    "f_max({a}, 0.0f)",                                         // relu
    "f_clip({a}, {p}, {q})",                                    // clip
    "{a} < 0.0f ? {p} * {a} : {a}",                             // leaky_relu
    "{a} > 0.0f ? {a} : {p} * expm1f({a})",                     // elu
    "{a} > 0.0f ? {q} * {a} : {q} * {p} * expm1f({a})",         // selu
    "f_max({a}, 0.0f) + f_min(0.0f, {p} * expm1f({a} / {p}))",  // celu
    "f_sigmoid({a})",                                           // sigmoid
    "f_clip({p} * {a} + {q}, 0.0f, 1.0f)",                      // hard_sigmoid
    "{a} * f_clip({a} * 0.16666667f + 0.5f, 0.0f, 1.0f)",       // hard_swish
    "{a} * f_sigmoid({a})",                                     // silu
    "tanhf({a})",                                               // tanh
    "f_gelu_erf({a})",                                          // gelu_erf
    "f_gelu_tanh({a})",                                         // gelu_tanh
    "{a} * f_sigmoid({p} * {a})",                               // quick_gelu
    "erff({a})",                                                // erf
    "expf({a})",                                                // exp
    "logf({a})",                                                // log
    "sqrtf({a})",                                               // sqrt
    "1.0f / sqrtf({a})",                                        // rsqrt
    "1.0f / {a}",                                               // reciprocal
    "-{a}",                                                     // neg
    "fabsf({a})",                                               // abs
    "{a} * {a}",                                                // square
    "floorf({a})",                                              // floor
    "ceilf({a})",                                               // ceil
    "rintf({a})",                                               // round
    "f_sign({a})",                                              // sign
    "f_softplus({a})",                                          // softplus
    "{a} / (1.0f + fabsf({a}))",                                // softsign
    "{a} * tanhf(f_softplus({a}))",                             // mish
    "{a} > {p} ? {a} : {a} != {a} ? {a} : 0.0f",                // thresholded_relu
};
static_assert(sizeof(kExpressions) / sizeof(kExpressions[0]) == kProgramOpCount);

std::string source_of(const ProgramStep& step) {
  switch (step.source) {
    case ProgramSource::kRegister: return fmt::format("r{}", step.b);
    case ProgramSource::kOperand: return fmt::format("o{}", step.b);
    case ProgramSource::kConstant: return literal(step.p0);
  }
  return {};
}

}  // namespace

std::string literal(float value) { return fmt::format("__uint_as_float(0x{:08x}U)", std::bit_cast<uint32_t>(value)); }

std::string type_name(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return "float";
    case DType::kFloat16: return "half";
    case DType::kBFloat16: return "bfloat";
    default: return {};
  }
}

std::string program_source(const Program& program) {
  std::string text = "__device__ __forceinline__ float run_program(float r0";
  for (int i = 0; i < program.operand_count; ++i) text += fmt::format(", float o{}", i);
  text += ") {\n  float r1, r2, r3, r4, r5, r6, r7;\n";
  for (int i = 0; i < program.step_count; ++i) {
    const ProgramStep& step = program.steps[i];
    text += fmt::format("  r{} = ", step.dst);
    text +=
        fmt::format(fmt::runtime(kExpressions[static_cast<size_t>(step.op)]), fmt::arg("a", fmt::format("r{}", step.a)),
                    fmt::arg("b", source_of(step)), fmt::arg("p", literal(step.p0)), fmt::arg("q", literal(step.p1)));
    text += ";\n";
  }
  return text + fmt::format("  return r{};\n}}\n", program.steps[program.step_count - 1].dst);
}

}  // namespace hussar::cuda
