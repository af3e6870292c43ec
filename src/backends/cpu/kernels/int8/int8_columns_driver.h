// The walk of an INT8 product with 2:4 weights of single columns. Internal to kernels/int8, for files compiled per
// level only.
#pragma once
#include "backends/cpu/kernels/int8/int8_columns.h"
#include "backends/cpu/kernels/int8/int8_driver.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

// Panels of weights, panel_bytes apart, and rows as Multiply::form makes them, of `pitch` bytes each.
struct ColumnPanels {
  const uint8_t* a;
  int64_t pitch;
  const int8_t* b;
  int64_t panel_bytes;
  int64_t k;
};
HUSSAR_INLINE int column_steps_of(int64_t k) {
  return static_cast<int>(k >= kColumnChunk ? kColumnChunk / kInt8ColumnStep : int8_column_steps(k));
}
constexpr int64_t kColumnStepBytes = kColumnColumns * 4;

// Multiply: kBytes of a row's element; form(eight bytes, out), which makes 8 * kBytes of them; most_panels(rows); and
// multiply<rows, panels>(in, sums), which writes sums [rows][panels * 16] and is not inlined: among so many copies of
// it registers would be spilled.
template <class Multiply, int kRows, int kPanels>
void multiply_columns(const ColumnPanels& in, int rows, int panels, int32_t* sums) {
  if constexpr (kPanels > 1) {
    if (panels < kPanels) return multiply_columns<Multiply, kRows, kPanels / 2>(in, rows, panels, sums);
  }
  Multiply::template multiply<kRows, kPanels>(in, sums);
}
template <class Multiply>
void multiply_columns(const ColumnPanels& in, int rows, int panels, int32_t* sums) {
  switch (rows) {
    case 1: return multiply_columns<Multiply, 1, Multiply::most_panels(1)>(in, rows, panels, sums);
    case 2: return multiply_columns<Multiply, 2, Multiply::most_panels(2)>(in, rows, panels, sums);
    case 3: return multiply_columns<Multiply, 3, Multiply::most_panels(3)>(in, rows, panels, sums);
    default: return multiply_columns<Multiply, 4, Multiply::most_panels(4)>(in, rows, panels, sums);
  }
}

template <class Multiply>
void form_rows(const Int8Args& args, int64_t first, int count, int64_t pitch, uint8_t* out) {
  const int64_t k = args.conv.channels;
  for (int r = 0; r < count; ++r) {
    const uint8_t* const row = args.input + (first + r) * args.conv.input_pitch;
    for (int64_t i = 0; i < k; i += kInt8ColumnStep) {
      uint64_t eight = 0;
      memcpy(&eight, row + i, static_cast<size_t>(k - i < kInt8ColumnStep ? k - i : kInt8ColumnStep));
      Multiply::form(eight, out + r * pitch + i * Multiply::kBytes);
    }
  }
}

template <class Multiply>
void run_columns_share(const Int8Args& args, Share share, void* scratch) {
  const int64_t k = args.conv.channels, rows = args.conv.out[2], filters = args.conv.filters;
  const int64_t bytes = int8_column_panel(k), pitch = column_chunks(k) * kColumnChunk * Multiply::kBytes;
  const Range panels = part_of(column_panels(filters), share.count, share.index);
  auto* const formed = static_cast<uint8_t*>(scratch);
  alignas(64) int32_t sums[kInt8TileSums];
  Int8Columns facts;
  for (int64_t row = 0; row < rows; row += kInt8ColumnRows) {
    const int count = static_cast<int>(rows - row < kInt8ColumnRows ? rows - row : kInt8ColumnRows);
    form_rows<Multiply>(args, row, count, pitch, formed);
    int step = Multiply::most_panels(count);
    for (int64_t panel = panels.begin; panel < panels.end; panel += step) {
      while (step > panels.end - panel) step /= 2;
      const int8_t* const weights = args.weights + panel * bytes;
      const int64_t first = panel * kColumnColumns, width = step * kColumnColumns;
      const int columns = static_cast<int>(filters - first < width ? filters - first : width);
      read_columns(args, weights + bytes - kColumnStepBytes, bytes, step, first, columns, facts);
      multiply_columns<Multiply>({formed, pitch, weights, bytes, k}, count, step, sums);
      finish_int8_tile(args, facts, {sums, width, row, count, first, columns});
    }
  }
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
