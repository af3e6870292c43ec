// The packing of rows of A: plain matrix rows, and the gather of convolution windows. Only this file knows about
// strides, dilation and padding.
// Internal to kernels/tile, kernels/half and kernels/int8, for files compiled per level only.
#pragma once
#include "backends/cpu/kernels/tile/tile.h"
#include "backends/cpu/kernels/tile/tile_kernels.h"
#include "backends/cpu/simd/taps.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

// Rows of a matrix whose columns are contiguous.
struct PackRows {
  const float* a;
  int64_t row_stride;
  int64_t k;

  void operator()(int64_t row, int rows, float* dst) const {
    const int64_t whole = k / kTileChunk * kTileChunk;
    for (int r = 0; r < rows; ++r) {
      const float* source = a + (row + r) * row_stride;
      float* out = dst + r * kTileChunk;
      for (int64_t i = 0; i < whole; i += kTileChunk, out += rows * kTileChunk) copy16(out, source + i);
      for (int64_t i = whole; i < k; i += kLanes, out += kLanes) {
        store(out, load_up_to(source + i, static_cast<int>(k - i)));
      }
    }
  }
};

// Writes one row of a tile whose segments are multiples of 16 floats, straight to its place.
struct ChunkWriter {
  float* dst;
  int64_t chunk_stride;  // from 16 floats of the row to the next 16

  void copy(const float* source, int64_t count) {
    for (int64_t i = 0; i < count; i += kTileChunk, dst += chunk_stride) copy16(dst, source + i);
  }
  void zero(int64_t count) {
    for (int64_t i = 0; i < count; i += kTileChunk, dst += chunk_stride) zero16(dst);
  }
};

// Writes one row as a line of floats, and up to a vector of garbage behind it.
struct LineWriter {
  float* dst;

  void copy(const float* source, int64_t count) {
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) store(dst + i, load(source + i));
    if (i < count) store(dst + i, load_n(source + i, static_cast<int>(count - i)));
    dst += count;
  }
  void zero(int64_t count) {
    for (int64_t i = 0; i < count; i += kLanes) store(dst + i, set(0.0f));
    dst += count;
  }
};

// How rows of A are stored in FP32, in the form that WindowPacker takes. A line is a row that is not made of whole
// chunks while it is gathered: line_count(k) of line_elements(k) are needed.
struct FloatForm {
  using Source = float;
  using Element = float;
  static ChunkWriter chunks(float* dst, int64_t chunk_stride) { return {dst, chunk_stride}; }
  static LineWriter line(float* dst) { return {dst}; }
  static constexpr int64_t kChunk = kTileChunk;
  static constexpr int64_t line_elements(int64_t k) { return line_floats(k); }
  static constexpr int64_t line_count(int64_t k) { return ::hussar::cpu::line_count(k); }
  static void copy_chunk(float* dst, const float* line) { copy16(dst, line); }
  // What lies behind k in the last chunk is never used.
  static void close_line(float*) {}
};

// Whether every output pixel is a product of the input pixel in the same place.
inline bool is_pointwise(const ConvArgs& args) {
  for (int axis = 0; axis < 3; ++axis) {
    if (args.kernel[axis] != 1 || args.stride[axis] != 1 || args.pad[axis] != 0) return false;
    if (args.in[axis] != args.out[axis]) return false;
  }
  return true;
}

// Where a row's window starts: image and the first tap's coordinates, which may lie in the padding.
template <class Source>
struct Window {
  const Source* image;
  int64_t start[3];
};

template <class Form>
struct WindowPacker {
  using Source = typename Form::Source;
  using Element = typename Form::Element;

  const ConvArgs* args;
  const Source* input;  // of the group
  int64_t k;
  Element* lines;
  Form form = {};

  // Whether the taps along the width are one run of memory.
  bool contiguous_width() const { return args->dilation[2] == 1 && args->input_pitch == args->channels; }

  template <class Writer>
  void gather_width(Writer& writer, const Source* pixels, int64_t start, bool inside) const {
    const int64_t channels = args->channels, taps = args->kernel[2];
    if (!inside) return writer.zero(taps * channels);
    const int64_t dilation = args->dilation[2], pitch = args->input_pitch;
    const Taps valid = taps_inside(start, args->in[2], taps, dilation);
    if (valid.low > 0) writer.zero(valid.low * channels);
    if (contiguous_width()) {
      writer.copy(pixels + (start + valid.low) * pitch, (valid.high - valid.low) * channels);
    } else {
      for (int64_t tap = valid.low; tap < valid.high; ++tap) {
        writer.copy(pixels + (start + tap * dilation) * pitch, channels);
      }
    }
    if (valid.high < taps) writer.zero((taps - valid.high) * channels);
  }

  bool is_inside(const Window<Source>& window) const {
    for (int axis = 0; axis < 3; ++axis) {
      const int64_t last = window.start[axis] + (args->kernel[axis] - 1) * args->dilation[axis];
      if (window.start[axis] < 0 || last >= args->in[axis]) return false;
    }
    return true;
  }

  // A window that needs no padding.
  template <class Writer>
  void gather_inside(Writer& writer, const Window<Source>& window) const {
    const int64_t pitch = args->input_pitch, line_pitch = args->in[2] * pitch;
    const bool contiguous = contiguous_width();
    const int64_t runs = contiguous ? 1 : args->kernel[2];
    const int64_t run_elements = contiguous ? args->kernel[2] * args->channels : args->channels;
    for (int64_t z = 0; z < args->kernel[0]; ++z) {
      const int64_t in_z = window.start[0] + z * args->dilation[0];
      const Source* line = window.image + (in_z * args->in[1] + window.start[1]) * line_pitch + window.start[2] * pitch;
      for (int64_t y = 0; y < args->kernel[1]; ++y, line += args->dilation[1] * line_pitch) {
        const Source* run = line;
        for (int64_t i = 0; i < runs; ++i, run += args->dilation[2] * pitch) writer.copy(run, run_elements);
      }
    }
  }

  template <class Writer>
  void gather(Writer& writer, const Window<Source>& window) const {
    if (is_inside(window)) return gather_inside(writer, window);
    for (int64_t z = 0; z < args->kernel[0]; ++z) {
      const int64_t in_z = window.start[0] + z * args->dilation[0];
      for (int64_t y = 0; y < args->kernel[1]; ++y) {
        const int64_t in_y = window.start[1] + y * args->dilation[1];
        const bool inside = in_z >= 0 && in_z < args->in[0] && in_y >= 0 && in_y < args->in[1];
        const int64_t line_of_pixels = inside ? (in_z * args->in[1] + in_y) * args->in[2] : 0;
        const Source* pixels = window.image + line_of_pixels * args->input_pitch;
        gather_width(writer, pixels, window.start[2], inside);
      }
    }
  }

  void operator()(int64_t row, int rows, Element* dst) const {
    constexpr int64_t kChunk = Form::kChunk;
    const int64_t* out = args->out;
    int64_t x = row % out[2], y = row / out[2] % out[1];
    int64_t z = row / (out[2] * out[1]) % out[0], n = row / (out[2] * out[1] * out[0]);
    const int64_t image_elements = args->in[0] * args->in[1] * args->in[2] * args->input_pitch;
    const bool whole_chunks = args->channels % kChunk == 0;
    const bool batch_of_lines = Form::line_count(k) > 1;
    const int64_t line_pitch = batch_of_lines ? Form::line_elements(k) : 0;
    for (int r = 0; r < rows; ++r) {
      Window<Source> window = {input + n * image_elements, {}};
      const int64_t position[3] = {z, y, x};
      for (int axis = 0; axis < 3; ++axis) {
        window.start[axis] = position[axis] * args->stride[axis] - args->pad[axis];
      }
      if (whole_chunks) {
        auto writer = form.chunks(dst + r * kChunk, rows * kChunk);
        gather(writer, window);
      } else {
        auto writer = form.line(lines + r * line_pitch);
        gather(writer, window);
        Form::close_line(writer.dst);
        if (!batch_of_lines) spread(lines, dst + r * kChunk, rows);
      }
      if (++x == out[2]) {
        x = 0;
        if (++y == out[1]) {
          y = 0;
          if (++z == out[0]) {
            z = 0;
            ++n;
          }
        }
      }
    }
    if (whole_chunks || !batch_of_lines) return;
    for (int r = 0; r < rows; ++r) spread(lines + r * line_pitch, dst + r * kChunk, rows);
  }

 private:
  // One line to its chunks.
  void spread(const Element* line, Element* dst, int rows) const {
    for (int64_t i = 0; i < k; i += Form::kChunk) Form::copy_chunk(dst + i * rows, line + i);
  }
};
using PackWindows = WindowPacker<FloatForm>;

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
