#include "tensor/fake_quantize.h"

#include <algorithm>

namespace hussar {

ProgramStep fake_quantize_step(const QuantParams& params, int step) {
  constexpr ProgramOp kOps[kFakeQuantizeSteps] = {ProgramOp::kDiv, ProgramOp::kRound, ProgramOp::kClip,
                                                  ProgramOp::kMul};
  ProgramStep result{};
  result.op = kOps[step];
  result.source = ProgramSource::kConstant;
  const auto zero_point = static_cast<float>(params.zero_point);
  if (result.op == ProgramOp::kClip) {
    result.p0 = 0 - zero_point;
    result.p1 = 255 - zero_point;
  } else if (result.op != ProgramOp::kRound) {
    result.p0 = params.scale;
  }
  return result;
}

std::optional<QuantParams> fake_quantize_at(const Program& program, int first) {
  if (first < 0 || first + kFakeQuantizeSteps > program.step_count) return std::nullopt;
  const ProgramStep* steps = program.steps + first;
  QuantParams params;
  params.scale = steps[0].p0;
  const float lowest = steps[2].p0;
  if (!(params.scale > 0) || !(lowest >= -255 && lowest <= 0)) return std::nullopt;
  params.zero_point = static_cast<int32_t>(-lowest);
  for (int i = 0; i < kFakeQuantizeSteps; ++i) {
    const ProgramStep wanted = fake_quantize_step(params, i);
    const ProgramStep& step = steps[i];
    const bool same = step.op == wanted.op && step.dst == 0 && step.a == 0 && step.p0 == wanted.p0 &&
                      step.p1 == wanted.p1 && (!reads_b(step.op) || step.source == ProgramSource::kConstant);
    if (!same) return std::nullopt;
  }
  return params;
}

void erase_fake_quantize(Program& program, int first) {
  std::copy(program.steps + first + kFakeQuantizeSteps, program.steps + program.step_count, program.steps + first);
  for (int i = 0; i < kFakeQuantizeSteps; ++i) program.steps[--program.step_count] = {};
}

}  // namespace hussar
