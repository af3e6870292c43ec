// Channels-last: vectors of channels. Plain: rows are blended first, then gathered along the width.
#include "backends/cpu/kernels/resize/resize.h"

#include "backends/cpu/simd/vec.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

template <int kRows, int kColumns>
HUSSAR_INLINE void one_pixel(const ResizeArgs& args, const float* image, const ResizeTap& row, const ResizeTap& column,
                             float* out) {
  const float* from[kRows * kColumns];
  Vec weights[kRows * kColumns];
  for (int r = 0; r < kRows; ++r) {
    for (int c = 0; c < kColumns; ++c) {
      from[r * kColumns + c] = image + (row.index[r] * args.in_width + column.index[c]) * args.input_pitch;
      weights[r * kColumns + c] = set(row.weight[r] * column.weight[c]);
    }
  }
  for (int64_t channel = 0; channel < args.channels; channel += kLanes) {
    const int64_t left = args.channels - channel;
    const int n = left < kLanes ? static_cast<int>(left) : kLanes;
    Vec sum = load_up_to(from[0] + channel, n) * weights[0];
    for (int t = 1; t < kRows * kColumns; ++t) sum = fma(load_up_to(from[t] + channel, n), weights[t], sum);
    store_up_to(out + channel, sum, n);
  }
}

template <int kRows, int kColumns>
void pixels_of(const ResizeArgs& args, int64_t begin, int64_t end) {
  const float* input = static_cast<const float*>(args.input);
  float* out = static_cast<float*>(args.output) + begin * args.out_width * args.output_pitch;
  for (int64_t row = begin; row < end; ++row) {
    const float* image = input + row / args.out_height * args.in_height * args.in_width * args.input_pitch;
    const ResizeTap& tap = args.rows[row % args.out_height];
    for (int64_t x = 0; x < args.out_width; ++x, out += args.output_pitch) {
      one_pixel<kRows, kColumns>(args, image, tap, args.columns[x], out);
    }
  }
}

void pixels(const ResizeArgs& args, int64_t begin, int64_t end) {
  // An axis that keeps its size has one tap.
  if (args.row_taps == 2 && args.column_taps == 2) return pixels_of<2, 2>(args, begin, end);
  if (args.row_taps == 1 && args.column_taps == 2) return pixels_of<1, 2>(args, begin, end);
  if (args.row_taps == 2 && args.column_taps == 1) return pixels_of<2, 1>(args, begin, end);
  if (args.row_taps == 1 && args.column_taps == 1) return pixels_of<1, 1>(args, begin, end);
  if (args.row_taps == 1) return pixels_of<1, 4>(args, begin, end);
  if (args.column_taps == 1) return pixels_of<4, 1>(args, begin, end);
  pixels_of<4, 4>(args, begin, end);
}

void planes(const ResizeArgs& args, float* line, int64_t begin, int64_t end) {
  const float* input = static_cast<const float*>(args.input);
  float* out = static_cast<float*>(args.output) + begin * args.out_width;
  const int64_t width = args.in_width;
  for (int64_t row = begin; row < end; ++row, out += args.out_width) {
    const float* plane = input + row / args.out_height * args.in_height * width;
    const ResizeTap& tap = args.rows[row % args.out_height];
    for (int64_t x = 0; x < width; x += kLanes) {
      const int n = width - x < kLanes ? static_cast<int>(width - x) : kLanes;
      Vec sum = load_up_to(plane + tap.index[0] * width + x, n) * set(tap.weight[0]);
      for (int t = 1; t < args.row_taps; ++t) {
        sum = fma(load_up_to(plane + tap.index[t] * width + x, n), set(tap.weight[t]), sum);
      }
      store_up_to(line + x, sum, n);
    }
    for (int64_t x = 0; x < args.out_width; ++x) {
      const ResizeTap& column = args.columns[x];
      float sum = line[column.index[0]] * column.weight[0];
      for (int t = 1; t < args.column_taps; ++t) sum += line[column.index[t]] * column.weight[t];
      out[x] = sum;
    }
  }
}

void nearest_pixels(const ResizeArgs& args, int64_t begin, int64_t end) {
  const int64_t bytes = args.channels * args.element_size;
  const int64_t in_step = args.input_pitch * args.element_size, out_step = args.output_pitch * args.element_size;
  char* out = static_cast<char*>(args.output) + begin * args.out_width * out_step;
  for (int64_t row = begin; row < end; ++row) {
    const char* line =
        static_cast<const char*>(args.input) +
        (row / args.out_height * args.in_height + args.rows[row % args.out_height].index[0]) * args.in_width * in_step;
    for (int64_t x = 0; x < args.out_width; ++x, out += out_step) {
      memcpy(out, line + args.columns[x].index[0] * in_step, static_cast<size_t>(bytes));
    }
  }
}

template <class T>
void nearest_planes_of(const ResizeArgs& args, int64_t begin, int64_t end) {
  T* out = static_cast<T*>(args.output) + begin * args.out_width;
  for (int64_t row = begin; row < end; ++row, out += args.out_width) {
    const int32_t from = args.rows[row % args.out_height].index[0];
    const bool same_as_before =
        row > begin && row % args.out_height > 0 && args.rows[row % args.out_height - 1].index[0] == from;
    if (same_as_before) {
      memcpy(out, out - args.out_width, static_cast<size_t>(args.out_width) * sizeof(T));
      continue;
    }
    const T* line = static_cast<const T*>(args.input) + (row / args.out_height * args.in_height + from) * args.in_width;
    for (int64_t x = 0; x < args.out_width; ++x) out[x] = line[args.columns[x].index[0]];
  }
}

void nearest_planes(const ResizeArgs& args, int64_t begin, int64_t end) {
  switch (args.element_size) {
    case 1: return nearest_planes_of<uint8_t>(args, begin, end);
    case 2: return nearest_planes_of<uint16_t>(args, begin, end);
    case 4: return nearest_planes_of<uint32_t>(args, begin, end);
    default: return nearest_planes_of<uint64_t>(args, begin, end);
  }
}

}  // namespace

extern const ResizeTable resize_table = {pixels, planes, nearest_pixels, nearest_planes};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
