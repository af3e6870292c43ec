// The vector of the tile kernels: Vec where it has lanes, four SSE lanes (part of every x86-64) at the scalar level.
#pragma once
#include "backends/cpu/simd/vec.h"

#if !defined(__AVX2__)
#include <xmmintrin.h>
#endif

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

#if defined(__AVX2__)

using TileVec = Vec;
constexpr int kTileLanes = kLanes;
HUSSAR_INLINE TileVec tile_load(const float* p) { return load(p); }
HUSSAR_INLINE TileVec tile_set(float x) { return set(x); }

#else

constexpr int kTileLanes = 4;
struct TileVec {
  __m128 v;
};
HUSSAR_INLINE TileVec tile_load(const float* p) { return {_mm_loadu_ps(p)}; }
HUSSAR_INLINE TileVec tile_set(float x) { return {_mm_set1_ps(x)}; }
HUSSAR_INLINE void store(float* p, TileVec a) { _mm_storeu_ps(p, a.v); }
HUSSAR_INLINE TileVec operator+(TileVec a, TileVec b) { return {_mm_add_ps(a.v, b.v)}; }
HUSSAR_INLINE TileVec operator-(TileVec a, TileVec b) { return {_mm_sub_ps(a.v, b.v)}; }
HUSSAR_INLINE TileVec operator*(TileVec a, TileVec b) { return {_mm_mul_ps(a.v, b.v)}; }
HUSSAR_INLINE TileVec fma(TileVec a, TileVec b, TileVec c) { return {_mm_add_ps(_mm_mul_ps(a.v, b.v), c.v)}; }
HUSSAR_INLINE TileVec min_second(TileVec a, TileVec b) { return {_mm_min_ps(a.v, b.v)}; }
HUSSAR_INLINE TileVec max_second(TileVec a, TileVec b) { return {_mm_max_ps(a.v, b.v)}; }

#endif

constexpr int kVecsPerPanel = 16 / kTileLanes;

HUSSAR_INLINE void copy16(float* dst, const float* src) {
  for (int v = 0; v < kVecsPerPanel; ++v) store(dst + v * kTileLanes, tile_load(src + v * kTileLanes));
}
HUSSAR_INLINE void zero16(float* dst) {
  for (int v = 0; v < kVecsPerPanel; ++v) store(dst + v * kTileLanes, tile_set(0.0f));
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
