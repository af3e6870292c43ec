#include "backends/cpu/kernels/tile/sparse_columns.h"

#include "backends/cpu/column_packing.h"
#include "backends/cpu/kernels/tile/tile_core.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

constexpr int kVecsOfPanel = static_cast<int>(kColumnColumns) / kLanes;

// Four activations, for every four lanes; and one of them for each lane, by the lowest two bits of its code.
#if defined(__AVX512F__)
HUSSAR_INLINE Vec four(const float* p) { return {_mm512_broadcast_f32x4(_mm_loadu_ps(p))}; }
HUSSAR_INLINE Vec pick(Vec a, IVec codes) { return {_mm512_permutevar_ps(a.v, codes.v)}; }
constexpr int most_panels(int rows) { return rows == 1 ? 8 : 4; }
#elif defined(__AVX2__)
HUSSAR_INLINE Vec four(const float* p) { return {_mm256_broadcast_ps(reinterpret_cast<const __m128*>(p))}; }
HUSSAR_INLINE Vec pick(Vec a, IVec codes) { return {_mm256_permutevar_ps(a.v, codes.v)}; }
constexpr int most_panels(int rows) { return rows <= 2 ? 2 : 1; }
#else
HUSSAR_INLINE const float* four(const float* p) { return p; }
HUSSAR_INLINE Vec pick(const float* a, IVec codes) { return {a[codes.v & 3]}; }
constexpr int most_panels(int) { return 1; }
#endif
constexpr int kMostRows = static_cast<int>(kFewRows);
static_assert(most_panels(1) * kColumnColumns <= kTileFloats && kMostRows * 4 * kColumnColumns <= kTileFloats);

// Panels of one product, with the rows that they meet: sums [rows][panels * 16] = bias + a x B.
struct Panels {
  const float* a;
  int64_t a_pitch;
  const float* b;
  int64_t panel_stride;
  int64_t k;
};

template <int kRows, int kPanels>
void multiply(const Panels& in, const float* bias, float* sums) {
  constexpr int kVecs = kPanels * kVecsOfPanel;
  Vec sum[kRows][kVecs];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) sum[r][v] = load(bias + v * kLanes);
  }
  const auto place = [&](int v) { return (v / kVecsOfPanel) * in.panel_stride + (v % kVecsOfPanel) * kLanes; };
  const float* a = in.a;
  const float* b = in.b;
  for (int64_t k = in.k; k > 0; k -= kColumnChunk) {
    IVec codes[kVecs];
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) codes[v] = bits(load(b + place(v)));
    b += kColumnColumns;
    const int groups = static_cast<int>(k < kColumnChunk ? k : kColumnChunk) / 4;
    for (int group = 0; group < groups; ++group, a += 4) {
      decltype(four(a)) row[kRows];
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) row[r] = four(a + r * in.a_pitch);
#pragma GCC unroll 2
      for (int kept = 0; kept < 2; ++kept, b += kColumnColumns) {
        if constexpr (kPanels == 1) __builtin_prefetch(b + kColumnAhead / 4);
#pragma GCC unroll 16
        for (int v = 0; v < kVecs; ++v) {
          const Vec weight = load(b + place(v));
#pragma GCC unroll 4
          for (int r = 0; r < kRows; ++r) sum[r][v] = fma(pick(row[r], codes[v]), weight, sum[r][v]);
          codes[v] = shift_right<2>(codes[v]);
        }
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) store(sums + (r * kVecs + v) * kLanes, sum[r][v]);
  }
}

using Multiply = void (*)(const Panels& in, const float* bias, float* sums);
constexpr int kPanelSizes = 4;  // 1, 2, 4, 8
struct MultiplyTable {
  Multiply of[kMostRows + 1][kPanelSizes];
};
template <int kRows, int kLog>
constexpr void fill(MultiplyTable& table) {
  if constexpr ((1 << kLog) <= most_panels(kRows)) {
    table.of[kRows][kLog] = multiply<kRows, 1 << kLog>;
    fill<kRows, kLog + 1>(table);
  } else if constexpr (kRows < kMostRows) {
    fill<kRows + 1, 0>(table);
  }
}
constexpr MultiplyTable make_multiply_table() {
  MultiplyTable table{};
  fill<1, 0>(table);
  return table;
}
constexpr MultiplyTable kMultiply = make_multiply_table();

void run_product(const ConvArgs& args, Share share) {
  const int64_t k = args.channels, rows = args.out[2], stride = float_column_panel(k);
  const Range panels = part_of(column_panels(args.filters), share.count, share.index);
  const Product product = {k, args.filters, nullptr, args.output, args.output_pitch, 0, 0, 1, &args.epilogue};
  alignas(64) float sums[kTileFloats];
  for (int64_t row = 0; row < rows; row += kMostRows) {
    const int count = static_cast<int>(rows - row < kMostRows ? rows - row : kMostRows);
    int step = most_panels(count);
    for (int64_t panel = panels.begin; panel < panels.end; panel += step) {
      while (step > panels.end - panel) step /= 2;
      const Panels in = {args.input + row * args.input_pitch, args.input_pitch, args.filter + panel * stride, stride,
                         k};
      emit_tile(product, row, count, panel, step, {}, [&](const TileOutput& out) {
        kMultiply.of[count][__builtin_ctz(static_cast<unsigned>(step))](in, out.bias, sums);
        store_rows(sums, count, step * static_cast<int>(kColumnColumns), out);
      });
    }
  }
}

}  // namespace

extern const SparseColumnsTable sparse_columns_table = {run_product};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
