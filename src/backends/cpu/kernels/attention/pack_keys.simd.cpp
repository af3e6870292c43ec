// Keys to panels: 16 keys side by side, transposed in registers.
#include <xmmintrin.h>

#include "backends/cpu/kernels/attention/attention_parts.h"
#include "backends/cpu/simd/vec.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

#if defined(__AVX512F__)

// 4 elements of 16 keys. Quarter q of row r is key 4 q + r, so that transposing the quarters orders the keys.
HUSSAR_INLINE void transpose_4(const float* keys, int64_t stride, float* out) {
  __m512 rows[4];
  for (int r = 0; r < 4; ++r) {
    rows[r] = _mm512_castps128_ps512(_mm_loadu_ps(keys + r * stride));
    rows[r] = _mm512_mask_broadcast_f32x4(rows[r], 0x00f0, _mm_loadu_ps(keys + (4 + r) * stride));
    rows[r] = _mm512_mask_broadcast_f32x4(rows[r], 0x0f00, _mm_loadu_ps(keys + (8 + r) * stride));
    rows[r] = _mm512_mask_broadcast_f32x4(rows[r], 0xf000, _mm_loadu_ps(keys + (12 + r) * stride));
  }
  const __m512d low01 = _mm512_castps_pd(_mm512_unpacklo_ps(rows[0], rows[1]));
  const __m512d high01 = _mm512_castps_pd(_mm512_unpackhi_ps(rows[0], rows[1]));
  const __m512d low23 = _mm512_castps_pd(_mm512_unpacklo_ps(rows[2], rows[3]));
  const __m512d high23 = _mm512_castps_pd(_mm512_unpackhi_ps(rows[2], rows[3]));
  _mm512_storeu_ps(out, _mm512_castpd_ps(_mm512_unpacklo_pd(low01, low23)));
  _mm512_storeu_ps(out + 16, _mm512_castpd_ps(_mm512_unpackhi_pd(low01, low23)));
  _mm512_storeu_ps(out + 32, _mm512_castpd_ps(_mm512_unpacklo_pd(high01, high23)));
  _mm512_storeu_ps(out + 48, _mm512_castpd_ps(_mm512_unpackhi_pd(high01, high23)));
}

#else

HUSSAR_INLINE void transpose_4(const float* keys, int64_t stride, float* out) {
  for (int key = 0; key < 16; key += 4, keys += 4 * stride) {
    __m128 v0 = _mm_loadu_ps(keys), v1 = _mm_loadu_ps(keys + stride);
    __m128 v2 = _mm_loadu_ps(keys + 2 * stride), v3 = _mm_loadu_ps(keys + 3 * stride);
    _MM_TRANSPOSE4_PS(v0, v1, v2, v3);
    _mm_storeu_ps(out + key, v0);
    _mm_storeu_ps(out + key + 16, v1);
    _mm_storeu_ps(out + key + 32, v2);
    _mm_storeu_ps(out + key + 48, v3);
  }
}

#endif

}  // namespace

void pack_keys(const PackKeysArgs& args) {
  for (int64_t first = 0; first < args.key_count; first += 16) {
    const float* keys = args.keys + first * args.key_stride;
    float* out = args.out + first * args.dim;
    const int64_t left = args.key_count - first;
    int64_t i = 0;
    if (left >= 16) {
      for (; i + 4 <= args.dim; i += 4) transpose_4(keys + i, args.key_stride, out + i * 16);
    }
    for (; i < args.dim; ++i) {
      for (int64_t key = 0; key < 16; ++key) out[i * 16 + key] = key < left ? keys[key * args.key_stride + i] : 0.0f;
    }
  }
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
