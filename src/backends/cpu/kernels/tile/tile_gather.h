// The gather of convolution windows as packed rows of A. Only this file knows about strides, dilation and padding.
// Internal to kernels/tile, for *.simd.cpp files only.
#pragma once
#include "backends/cpu/kernels/tile/tile.h"
#include "backends/cpu/kernels/tile/tile_kernels.h"
#include "backends/cpu/simd/taps.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

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

// Writes one row as a line of floats.
struct LineWriter {
  float* dst;

  void copy(const float* source, int64_t count) {
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) store(dst + i, load(source + i));
    if (i < count) store_n(dst + i, load_n(source + i, static_cast<int>(count - i)), static_cast<int>(count - i));
    dst += count;
  }
  void zero(int64_t count) {
    for (int64_t i = 0; i < count; ++i) dst[i] = 0.0f;
    dst += count;
  }
};

// Where a row's window starts: image and the first tap's coordinates, which may lie in the padding.
struct Window {
  const float* image;
  int64_t start[3];
};

struct PackWindows {
  const ConvArgs* args;
  const float* input;  // of the group
  int64_t k;
  float* line;  // room for one row, rounded up to 16

  // Whether the taps along the width are one run of memory.
  bool contiguous_width() const { return args->dilation[2] == 1 && args->input_pitch == args->channels; }

  template <class Writer>
  void gather_width(Writer& writer, const float* pixels, int64_t start, bool inside) const {
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

  template <class Writer>
  void gather(Writer& writer, const Window& window) const {
    for (int64_t z = 0; z < args->kernel[0]; ++z) {
      const int64_t in_z = window.start[0] + z * args->dilation[0];
      for (int64_t y = 0; y < args->kernel[1]; ++y) {
        const int64_t in_y = window.start[1] + y * args->dilation[1];
        const bool inside = in_z >= 0 && in_z < args->in[0] && in_y >= 0 && in_y < args->in[1];
        const int64_t line_of_pixels = inside ? (in_z * args->in[1] + in_y) * args->in[2] : 0;
        const float* pixels = window.image + line_of_pixels * args->input_pitch;
        gather_width(writer, pixels, window.start[2], inside);
      }
    }
  }

  void operator()(int64_t row, int rows, float* dst) const {
    const int64_t* out = args->out;
    int64_t x = row % out[2], y = row / out[2] % out[1];
    int64_t z = row / (out[2] * out[1]) % out[0], n = row / (out[2] * out[1] * out[0]);
    const int64_t image_floats = args->in[0] * args->in[1] * args->in[2] * args->input_pitch;
    const bool whole_chunks = args->channels % kTileChunk == 0;
    for (int r = 0; r < rows; ++r) {
      Window window = {input + n * image_floats, {}};
      const int64_t position[3] = {z, y, x};
      for (int axis = 0; axis < 3; ++axis) {
        window.start[axis] = position[axis] * args->stride[axis] - args->pad[axis];
      }
      float* const target = dst + r * kTileChunk;
      if (whole_chunks) {
        ChunkWriter writer = {target, rows * kTileChunk};
        gather(writer, window);
      } else {
        LineWriter writer = {line};
        gather(writer, window);
        for (int64_t i = 0; i < k; i += kTileChunk) copy16(target + i * rows, line + i);
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
  }
};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
