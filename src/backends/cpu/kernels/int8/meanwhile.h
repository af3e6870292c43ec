// What is done while a tile of an INT8 product is multiplied: a part of it for every 64 of k. Internal to kernels/int8,
// kernels/half and kernels/attention, for files compiled per level only.
#pragma once
#include <stdint.h>
#include <xmmintrin.h>

#include "backends/cpu/simd/vec.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

struct NothingElse {
  HUSSAR_INLINE void operator()(int64_t) const {}
};

// Brings the weights that come next to the L2 cache.
struct FetchAhead {
  const int8_t* from;
  int lines;  // per 64 of k
  HUSSAR_INLINE void operator()(int64_t chunk) const {
    for (int i = 0; i < lines; ++i) _mm_prefetch(from + (chunk * lines + i) * 64, _MM_HINT_T1);
  }
  // Part `index` of `count` of what lies behind `weights`, `bytes` of it, by tiles of so many chunks.
  static FetchAhead part(const int8_t* weights, int64_t bytes, int64_t index, int64_t count, int64_t chunks) {
    const int64_t lines = (bytes / 64 + count * chunks - 1) / (count * chunks), done = index * chunks * lines * 64;
    return {weights + done, done < bytes ? static_cast<int>(lines) : 0};
  }
};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
