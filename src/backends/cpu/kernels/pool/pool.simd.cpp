// Channels-last: vectors of channels, all taps of one pixel in registers. Plain: whole rows of outputs, tap by tap.
#include "backends/cpu/kernels/pool/pool.h"

#include "backends/cpu/simd/bytes.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

// The taps of one window along one axis that lie inside of the input, and how many lie inside of the padded one.
struct Taps {
  int64_t begin, end, padded;
  int64_t first;  // the input position of tap 0
};

int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t at_least(int64_t a, int64_t b) { return a > b ? a : b; }
int64_t divide_up(int64_t a, int64_t b) { return a <= 0 ? 0 : (a + b - 1) / b; }

Taps taps_of(const PoolArgs& args, int axis, int64_t output) {
  Taps taps;
  taps.first = output * args.stride[axis] - args.pad[axis];
  const int64_t dilation = args.dilation[axis], kernel = args.kernel[axis], size = args.in[axis];
  if (taps.first >= 0 && taps.first + (kernel - 1) * dilation < size) {
    // Most windows: three divisions less.
    taps.begin = 0;
    taps.end = taps.padded = kernel;
    return taps;
  }
  taps.begin = at_most(divide_up(-taps.first, dilation), kernel);
  taps.end = at_least(at_most(kernel, divide_up(size - taps.first, dilation)), taps.begin);
  taps.padded = at_most(kernel, divide_up(size + args.pad_end[axis] - taps.first, dilation));
  return taps;
}

float scale_of(const PoolArgs& args, int64_t inside, int64_t padded) {
  return 1.0f / static_cast<float>(at_least(args.include_pad ? padded : inside, 1));
}

// kVectors vectors of channels of one output pixel.
template <bool kMax, int kVectors>
HUSSAR_INLINE void channel_block(const PoolArgs& args, const Taps (&taps)[3], const float* image, float* output,
                                 float scale, int last) {
  Vec sums[kVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) sums[v] = set(kMax ? -INFINITY : 0.0f);
  const int64_t step = args.dilation[2] * args.input_pitch;
  for (int64_t z = taps[0].begin; z < taps[0].end; ++z) {
    for (int64_t y = taps[1].begin; y < taps[1].end; ++y) {
      const int64_t row = (taps[0].first + z * args.dilation[0]) * args.in[1] + taps[1].first + y * args.dilation[1];
      const float* x = image + (row * args.in[2] + taps[2].first) * args.input_pitch + taps[2].begin * step;
      for (int64_t tap = taps[2].begin; tap < taps[2].end; ++tap, x += step) {
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) {
          const Vec value = v + 1 < kVectors ? load(x + v * kLanes) : load_up_to(x + v * kLanes, last);
          sums[v] = kMax ? max(value, sums[v]) : sums[v] + value;
        }
      }
    }
  }
  const Vec factor = set(scale);
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
    const Vec result = kMax ? sums[v] : sums[v] * factor;
    if (v + 1 < kVectors) {
      store(output + v * kLanes, result);
    } else {
      store_up_to(output + v * kLanes, result, last);
    }
  }
}

// All channels of one output pixel.
template <bool kMax>
HUSSAR_INLINE void channels_of(const PoolArgs& args, const Taps (&taps)[3], const float* image, float* output,
                               float scale) {
  int64_t channel = 0;
  for (; channel + 8 * kLanes <= args.channels; channel += 8 * kLanes) {
    channel_block<kMax, 8>(args, taps, image + channel, output + channel, scale, kLanes);
  }
  for (; channel + 4 * kLanes <= args.channels; channel += 4 * kLanes) {
    channel_block<kMax, 4>(args, taps, image + channel, output + channel, scale, kLanes);
  }
  for (; channel < args.channels; channel += kLanes) {
    const int last = static_cast<int>(at_most(kLanes, args.channels - channel));
    channel_block<kMax, 1>(args, taps, image + channel, output + channel, scale, last);
  }
}

// kVectors whole vectors of bytes of one output pixel.
template <int kVectors>
HUSSAR_INLINE void byte_block(const PoolArgs& args, const Taps (&taps)[3], const uint8_t* image, uint8_t* output) {
  ByteVec best[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) best[v] = zero_bytes();
  const int64_t step = args.dilation[2] * args.input_pitch;
  for (int64_t z = taps[0].begin; z < taps[0].end; ++z) {
    for (int64_t y = taps[1].begin; y < taps[1].end; ++y) {
      const int64_t row = (taps[0].first + z * args.dilation[0]) * args.in[1] + taps[1].first + y * args.dilation[1];
      const uint8_t* x = image + (row * args.in[2] + taps[2].first) * args.input_pitch + taps[2].begin * step;
      for (int64_t tap = taps[2].begin; tap < taps[2].end; ++tap, x += step) {
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) best[v] = max(best[v], load_whole(x + v * kByteLanes));
      }
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) store_whole(output + v * kByteLanes, best[v]);
}

// The same of fewer bytes than a vector has.
void few_bytes(const PoolArgs& args, const Taps (&taps)[3], const uint8_t* image, uint8_t* output, int64_t count) {
  uint8_t best[kByteLanes] = {};
  for (int64_t z = taps[0].begin; z < taps[0].end; ++z) {
    for (int64_t y = taps[1].begin; y < taps[1].end; ++y) {
      const int64_t row = (taps[0].first + z * args.dilation[0]) * args.in[1] + taps[1].first + y * args.dilation[1];
      for (int64_t tap = taps[2].begin; tap < taps[2].end; ++tap) {
        const uint8_t* x = image + (row * args.in[2] + taps[2].first + tap * args.dilation[2]) * args.input_pitch;
        for (int64_t c = 0; c < count; ++c) best[c] = x[c] > best[c] ? x[c] : best[c];
      }
    }
  }
  for (int64_t c = 0; c < count; ++c) output[c] = best[c];
}

template <bool kMax>
HUSSAR_INLINE void channels_of(const PoolArgs& args, const Taps (&taps)[3], const uint8_t* image, uint8_t* output,
                               float) {
  static_assert(kMax);
  int64_t channel = 0;
  for (; channel + 4 * kByteLanes <= args.channels; channel += 4 * kByteLanes) {
    byte_block<4>(args, taps, image + channel, output + channel);
  }
  for (; channel + kByteLanes <= args.channels; channel += kByteLanes) {
    byte_block<1>(args, taps, image + channel, output + channel);
  }
  if (channel == args.channels) return;
  if (args.channels >= kByteLanes) {
    // Some bytes twice: cheaper than a part of a vector.
    channel = args.channels - kByteLanes;
    byte_block<1>(args, taps, image + channel, output + channel);
  } else {
    few_bytes(args, taps, image + channel, output + channel, args.channels - channel);
  }
}

template <bool kMax, class T>
void pixels_of(const PoolArgs& args, int64_t begin, int64_t end) {
  if (begin >= end) return;  // also where an output has no elements
  const int64_t image_size = args.in[0] * args.in[1] * args.in[2] * args.input_pitch;
  int64_t x = begin % args.out[2], y = begin / args.out[2] % args.out[1];
  int64_t z = begin / (args.out[2] * args.out[1]) % args.out[0];
  int64_t batch = begin / (args.out[2] * args.out[1] * args.out[0]);
  Taps taps[3] = {taps_of(args, 0, z), taps_of(args, 1, y), {}};
  for (int64_t pixel = begin; pixel < end; ++pixel) {
    taps[2] = taps_of(args, 2, x);
    const T* image = static_cast<const T*>(args.input) + batch * image_size;
    T* output = static_cast<T*>(args.output) + pixel * args.output_pitch;
    int64_t inside = 1, padded = 1;
    for (const Taps& axis : taps) {
      inside *= axis.end - axis.begin;
      padded *= axis.padded;
    }
    const float scale = kMax ? 1.0f : scale_of(args, inside, padded);
    channels_of<kMax>(args, taps, image, output, scale);
    if (++x < args.out[2]) continue;
    x = 0;
    if (++y == args.out[1]) {
      y = 0;
      if (++z == args.out[0]) {
        z = 0;
        ++batch;
      }
      taps[0] = taps_of(args, 0, z);
    }
    taps[1] = taps_of(args, 1, y);
  }
}

void pixels(const PoolArgs& args, int64_t begin, int64_t end) {
  if (args.is_bytes) return pixels_of<true, uint8_t>(args, begin, end);
  if (args.is_max) return pixels_of<true, float>(args, begin, end);
  pixels_of<false, float>(args, begin, end);
}

// out[i] = max or sum with in[i * stride]; the loops are simple enough for the compiler's vectorizer.
template <bool kMax, class T>
void add_tap(T* __restrict out, const T* __restrict in, int64_t count, int64_t stride) {
  auto combine = [](T sum, T value) -> T {
    if constexpr (kMax) return value > sum || value != value ? value : sum;
    return sum + value;
  };
  if (stride == 1) {
    for (int64_t i = 0; i < count; ++i) out[i] = combine(out[i], in[i]);
  } else if (stride == 2) {
    for (int64_t i = 0; i < count; ++i) out[i] = combine(out[i], in[2 * i]);
  } else {
    for (int64_t i = 0; i < count; ++i) out[i] = combine(out[i], in[i * stride]);
  }
}

template <bool kMax, class T>
void output_row(const PoolArgs& args, const T* plane, T* row, int64_t z_out, int64_t y_out) {
  const Taps zs = taps_of(args, 0, z_out), ys = taps_of(args, 1, y_out);
  const int64_t width = args.in[2], stride = args.stride[2];
  constexpr T kLeast = kMax && std::is_same_v<T, float> ? static_cast<T>(-INFINITY) : T{0};
  for (int64_t x = 0; x < args.out[2]; ++x) row[x] = kLeast;
  for (int64_t z = zs.begin; z < zs.end; ++z) {
    for (int64_t y = ys.begin; y < ys.end; ++y) {
      const T* x = plane + ((zs.first + z * args.dilation[0]) * args.in[1] + ys.first + y * args.dilation[1]) * width;
      for (int64_t tap = 0; tap < args.kernel[2]; ++tap) {
        // 0 <= o * stride + offset < width
        const int64_t offset = tap * args.dilation[2] - args.pad[2];
        const int64_t begin = divide_up(-offset, stride), end = at_most(divide_up(width - offset, stride), args.out[2]);
        if (begin < end) add_tap<kMax>(row + begin, x + begin * stride + offset, end - begin, stride);
      }
    }
  }
  if constexpr (!kMax) {
    const int64_t inside = (zs.end - zs.begin) * (ys.end - ys.begin), padded = zs.padded * ys.padded;
    for (int64_t x = 0; x < args.out[2]; ++x) {
      const Taps xs = taps_of(args, 2, x);
      row[x] *= scale_of(args, inside * (xs.end - xs.begin), padded * xs.padded);
    }
  }
}

template <bool kMax, class T>
void planes_of(const PoolArgs& args, int64_t begin, int64_t end) {
  for (int64_t plane = begin; plane < end; ++plane) {
    const T* input = static_cast<const T*>(args.input) + plane * args.in[0] * args.in[1] * args.in[2];
    T* row = static_cast<T*>(args.output) + plane * args.out[0] * args.out[1] * args.out[2];
    for (int64_t z = 0; z < args.out[0]; ++z) {
      for (int64_t y = 0; y < args.out[1]; ++y, row += args.out[2]) output_row<kMax>(args, input, row, z, y);
    }
  }
}

void planes(const PoolArgs& args, int64_t begin, int64_t end) {
  if (args.is_bytes) return planes_of<true, uint8_t>(args, begin, end);
  if (args.is_max) return planes_of<true, float>(args, begin, end);
  planes_of<false, float>(args, begin, end);
}

}  // namespace

extern const PoolTable pool_table = {pixels, planes};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
