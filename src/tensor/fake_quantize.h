// Fake quantization as steps of a program: what a number becomes as a byte that stands for (q - zero_point) * scale.
//   a / scale, round, clip to [-zero_point, 255 - zero_point], * scale
#pragma once
#include <optional>

#include "tensor/program.h"
#include "tensor/quant_params.h"

namespace hussar {

inline constexpr int kFakeQuantizeSteps = 4;
// step: 0 to kFakeQuantizeSteps - 1.
ProgramStep fake_quantize_step(const QuantParams& params, int step);
// Of the steps from `first` on, when they are those.
std::optional<QuantParams> fake_quantize_at(const Program& program, int first);
// Takes the steps [first, first + kFakeQuantizeSteps) out.
void erase_fake_quantize(Program& program, int first);

}  // namespace hussar
