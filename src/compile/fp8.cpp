// Symmetric ranges, and targets.
#include "compile/fp8.h"

#include <algorithm>

#include "backends/cuda/kernel_support.h"
#include "base/error.h"

namespace hussar {

std::shared_ptr<Quantization> in_fp8(const Quantization& quantization) {
  auto result = std::make_shared<Quantization>(quantization);
  result->fp8 = true;
  result->corrections.clear();
  for (auto& [name, params] : result->activations) {
    const auto largest = static_cast<float>(std::max(params.zero_point, 255 - params.zero_point));
    params = {params.scale * largest / kLargestFp8, 0, kFp8};
  }
  return result;
}

Status check_fp8_target(Place place, int sm) {
  HUSSAR_CHECK(
      place == Place::kDevice, ErrorCode::kUsage,
      "FP8 is for GPUs, no CPU multiplies in it: --target cuda (or cuda:sm_90a for a GPU that is elsewhere), or "
      "INT8, which CPUs have");
  // An emulated GPU, for tests, is sm_0.
  HUSSAR_CHECK(
      sm == 0 || sm >= cuda::kFp8Cores, ErrorCode::kUsage,
      "FP8 needs a GPU of compute capability 8.9 or newer (Ada, Hopper), this one has {}.{}: INT8 and FP16 are "
      "what it computes in",
      sm / 10, sm % 10);
  return {};
}

}  // namespace hussar
