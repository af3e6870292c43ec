// Products of few rows with a matrix that lies as the model made it: it is read once, where it is. Packing it first
// would write and read it once more.
#include "backends/cpu/kernels/tile/tile_core.h"
#include "backends/cpu/kernels/tile/tile_drivers.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

// Sums of so many columns stay in the L1 cache while the rows of B pass by, each a run of whole pages' length.
constexpr int64_t kSumColumns = 1024;
// So many panels are finished at once.
constexpr int64_t kEmitPanels = 4;
static_assert(kFewRows * kEmitPanels * kPanelColumns <= kTileFloats);

// Some columns of one product: sums [m][kSumColumns] += a [m][k] x B.
struct Columns {
  const float* a;
  int64_t a_pitch;
  const float* b;    // row 0 of the first column
  int64_t b_stride;  // from row to row, or from column to column where those are contiguous
  int64_t k;
  int64_t columns;
  float* sums;
};

// kSteps rows of B from row k on.
template <int kRows, int kSteps>
HUSSAR_INLINE void add_rows(const Columns& work, int64_t k) {
  Vec weight[kRows][kSteps];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int s = 0; s < kSteps; ++s) weight[r][s] = set(work.a[r * work.a_pitch + k + s]);
  }
  const float* const b = work.b + k * work.b_stride;
  const int64_t stride = work.b_stride, columns = work.columns;
  float* const sums = work.sums;
  auto add = [&](int64_t column, auto take) {
    Vec value[kSteps];
#pragma GCC unroll 8
    for (int s = 0; s < kSteps; ++s) value[s] = take(b + s * stride + column);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      float* const at = sums + r * kSumColumns + column;
      Vec sum = load(at);
#pragma GCC unroll 8
      for (int s = 0; s < kSteps; ++s) sum = fma(weight[r][s], value[s], sum);
      store(at, sum);
    }
  };
  int64_t column = 0;
  for (; column + kLanes <= columns; column += kLanes) add(column, [](const float* p) { return load(p); });
  const int rest = static_cast<int>(columns - column);
  if (rest > 0) add(column, [rest](const float* p) { return load_n(p, rest); });
}

// B's rows are contiguous.
template <int kRows>
void add_all_rows(const Columns& work) {
  // As many rows at a time as there are registers for their factors.
  constexpr int kSteps = kRows == 1 ? 8 : kRows == 2 ? 4 : 2;
  int64_t k = 0;
  for (; k + kSteps <= work.k; k += kSteps) add_rows<kRows, kSteps>(work, k);
  for (; k < work.k; ++k) add_rows<kRows, 1>(work, k);
}

template <int kRows, int kColumns>
HUSSAR_INLINE void add_dots(const Columns& work, int64_t column) {
  Vec sum[kRows][kColumns];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) sum[r][c] = set(0.0f);
  }
  const float* const b = work.b + column * work.b_stride;
  const int64_t stride = work.b_stride, pitch = work.a_pitch;
  auto add = [&](int64_t k, auto take) {
    Vec row[kRows];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) row[r] = take(work.a + r * pitch + k);
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) {
      const Vec value = take(b + c * stride + k);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) sum[r][c] = fma(row[r], value, sum[r][c]);
    }
  };
  int64_t k = 0;
  for (; k + kLanes <= work.k; k += kLanes) add(k, [](const float* p) { return load(p); });
  const int rest = static_cast<int>(work.k - k);
  if (rest > 0) add(k, [rest](const float* p) { return load_n(p, rest); });
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) work.sums[r * kSumColumns + column + c] += sum_lanes(sum[r][c]);
  }
}

// B's columns are contiguous.
template <int kRows>
void add_all_dots(const Columns& work) {
  constexpr int kColumns = kRows == 1 ? 8 : kRows == 2 ? 4 : 2;
  int64_t column = 0;
  for (; column + kColumns <= work.columns; column += kColumns) add_dots<kRows, kColumns>(work, column);
  for (; column < work.columns; ++column) add_dots<kRows, 1>(work, column);
}

using AddFunction = void (*)(const Columns& work);
constexpr AddFunction kAddRows[kFewRows] = {add_all_rows<1>, add_all_rows<2>, add_all_rows<3>, add_all_rows<4>};
constexpr AddFunction kAddDots[kFewRows] = {add_all_dots<1>, add_all_dots<2>, add_all_dots<3>, add_all_dots<4>};

// The columns [first, first + columns) of one product, whose rows of A lie at a.
void run_columns(const Product& product, const FewRowsArgs& args, Columns work, int64_t first) {
  const GemmArgs& gemm = args.gemm;
  const bool dots = args.b_row_stride == 1;
  work.b += first * args.b_column_stride;
  work.b_stride = dots ? args.b_column_stride : args.b_row_stride;
  const float* bias = product.epilogue->bias;
  for (int64_t r = 0; r < gemm.m; ++r) {
    for (int64_t c = 0; c < work.columns; c += kLanes) {
      const Vec start = bias == nullptr ? set(0.0f) : load_up_to(bias + first + c, static_cast<int>(work.columns - c));
      store(work.sums + r * kSumColumns + c, start);
    }
  }
  (dots ? kAddDots : kAddRows)[gemm.m - 1](work);
  const int64_t panels = panel_count(work.columns);
  for (int64_t panel = 0; panel < panels; panel += kEmitPanels) {
    const int count = static_cast<int>(panels - panel < kEmitPanels ? panels - panel : kEmitPanels);
    emit_tile(product, 0, static_cast<int>(gemm.m), first / kPanelColumns + panel, count, {},
              [&](const TileOutput& out) {
                store_rows(work.sums + panel * kPanelColumns, static_cast<int>(gemm.m), kSumColumns, out);
              });
  }
}

}  // namespace

void run_few_rows(const FewRowsArgs& args, Share share, void* scratch) {
  const GemmArgs& gemm = args.gemm;
  float* const sums = static_cast<float*>(scratch);
  float* const rows = sums + kFewRows * kSumColumns;
  const int64_t panels = panel_count(gemm.n);
  const Range mine = part_of(gemm.batch * panels, share.count, share.index);
  for (int64_t at = mine.begin; at < mine.end;) {
    const int64_t item = at / panels, panel = at % panels;
    int64_t count = mine.end - at < panels - panel ? mine.end - at : panels - panel;
    if (count > kSumColumns / kPanelColumns) count = kSumColumns / kPanelColumns;
    const Product product = {
        gemm.k, gemm.n, nullptr,       gemm.c + item * gemm.c_batch_stride, gemm.c_row_stride, item * gemm.m,
        0,      1,      &gemm.epilogue};
    const int64_t first = panel * kPanelColumns;
    const int64_t columns = gemm.n - first < count * kPanelColumns ? gemm.n - first : count * kPanelColumns;
    const float* a = gemm.a + item * gemm.a_batch_stride;
    int64_t pitch = gemm.a_row_stride;
    if (gemm.a_column_stride != 1) {
      for (int64_t r = 0; r < gemm.m; ++r) {
        for (int64_t i = 0; i < gemm.k; ++i) rows[r * gemm.k + i] = a[r * pitch + i * gemm.a_column_stride];
      }
      a = rows;
      pitch = gemm.k;
    }
    run_columns(product, args, {a, pitch, gemm.b + item * gemm.b_batch_stride, 0, gemm.k, columns, sums}, first);
    at += count;
  }
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
