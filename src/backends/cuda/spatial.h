// What pooling and resizing share: up to three spatial axes, in both layouts.
#pragma once
#include "backends/cuda/rows.h"

namespace hussar::cuda {

inline constexpr int kSpatialAxes = 3;

// Elements from one index to the next of the batch, the channels and three spatial axes; those that are missing come
// first.
struct SpatialStrides {
  int64_t values[2 + kSpatialAxes];
};
inline SpatialStrides spatial_strides(const Operand& operand) {
  int64_t own[kMaxRank] = {};
  strides_of(operand, own);
  SpatialStrides strides{{own[0], own[1]}};
  const int missing = kSpatialAxes - (operand.shape.rank() - 2);
  for (int slot = missing; slot < kSpatialAxes; ++slot) strides.values[2 + slot] = own[2 + slot - missing];
  return strides;
}

inline constexpr std::string_view kVectorAttribute = "hussar_vector";
// Channels that one thread can take: 16 bytes of them where elements have `least` bytes.
inline int64_t channel_vector(const Value& x, const Value& y, size_t least = 2) {
  if (x.layout != Layout::kChannelsLast) return 1;
  const int64_t channels = known((*x.dims)[1]);
  if (channels == 0) return 1;
  int64_t vector = 16 / static_cast<int64_t>(std::max(dtype_size(x.dtype), least));
  for (int64_t place : {channels, known_pitch(x), known_pitch(y), offset_in_holder(x), offset_in_holder(y)}) {
    while (place % vector != 0) vector /= 2;
  }
  return vector;
}
// What the step's code was made for, checked against what it gets.
inline Result<int64_t> channel_vector_of_step(const Prepare& prepare) {
  const Operand &x = prepare.inputs[0], &y = prepare.outputs[0];
  const int64_t vector = prepare.step.attributes.get_int(kVectorAttribute, 0);
  bool fits = vector == 1 || vector == 2 || vector == 4 || vector == 8 || vector == 16;
  if (fits && vector > 1) {
    const bool is_last = x.layout == Layout::kChannelsLast && y.layout == Layout::kChannelsLast;
    fits = is_last && x.shape[1] % vector == 0 && x.pitch % vector == 0 && y.pitch % vector == 0;
  }
  // Positions are 32-bit integers on the device.
  fits = fits && x.shape.elements() < INT32_MAX && y.shape.elements() < INT32_MAX;
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}': its code is for other shapes; build the plan again",
               prepare.step.name);
  return vector;
}

}  // namespace hussar::cuda
