// Depthwise convolution of bytes: two taps at a time by 16-bit multiply-adds, 16 channels of a pixel in two registers.
#include "backends/cpu/kernels/int8/int8_driver.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

constexpr int kPixels = 8;     // of a line, finished together
constexpr int kChannels = 64;  // whose facts are at hand
static_assert(kPixels * kChannels <= kInt8TileSums && kChannels <= kInt8TileColumns);

// sums [16] of the taps at `taps` + channel; count is even. May read 16 bytes from every tap.
HUSSAR_INLINE void sum_taps(const uint8_t* const* taps, int64_t count, int64_t channel, const int8_t* weights,
                            int32_t* sums) {
#if defined(__AVX2__)
  __m256i low = _mm256_setzero_si256(), high = _mm256_setzero_si256();
  for (int64_t tap = 0; tap < count; tap += 2, weights += 64) {
    const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(taps[tap] + channel));
    const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(taps[tap + 1] + channel));
    const __m256i low_pairs = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(a, b));
    const __m256i high_pairs = _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(a, b));
    const auto* pairs = reinterpret_cast<const __m256i*>(weights);
    low = _mm256_add_epi32(low, _mm256_madd_epi16(low_pairs, _mm256_loadu_si256(pairs)));
    high = _mm256_add_epi32(high, _mm256_madd_epi16(high_pairs, _mm256_loadu_si256(pairs + 1)));
  }
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums), low);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + 8), high);
#else
  for (int i = 0; i < 16; ++i) sums[i] = 0;
  for (int64_t tap = 0; tap < count; ++tap) {
    for (int i = 0; i < 16; ++i) {
      int16_t weight;
      memcpy(&weight, weights + tap / 2 * 64 + i * 4 + tap % 2 * 2, 2);
      sums[i] += taps[tap][channel + i] * weight;
    }
  }
#endif
}

// The same where fewer than 16 channels are left: nothing beyond them is read.
void sum_last_taps(const uint8_t* const* taps, int64_t count, int64_t channel, int64_t left, const int8_t* weights,
                   int32_t* sums) {
  alignas(16) uint8_t copies[kInt8DepthwiseTaps][16] = {};
  const uint8_t* rows[kInt8DepthwiseTaps];
  for (int64_t tap = 0; tap < count; ++tap) {
    memcpy(copies[tap], taps[tap] + channel, static_cast<size_t>(left));
    rows[tap] = copies[tap];
  }
  sum_taps(rows, count, 0, weights, sums);
}

// The addresses of the taps of output pixel (y, x) of an image; those in the padding are `zeros`, and so is the partner
// of a last odd tap.
HUSSAR_INLINE void find_taps(const ConvArgs& conv, const uint8_t* image, int64_t y, int64_t x, const uint8_t* zeros,
                             const uint8_t** taps) {
  int64_t tap = 0;
  for (int64_t ky = 0; ky < conv.kernel[1]; ++ky) {
    const int64_t in_y = y * conv.stride[1] - conv.pad[1] + ky * conv.dilation[1];
    for (int64_t kx = 0; kx < conv.kernel[2]; ++kx) {
      const int64_t in_x = x * conv.stride[2] - conv.pad[2] + kx * conv.dilation[2];
      const bool inside = in_y >= 0 && in_y < conv.in[1] && in_x >= 0 && in_x < conv.in[2];
      taps[tap++] = inside ? image + (in_y * conv.in[2] + in_x) * conv.input_pitch : zeros;
    }
  }
  if (tap % 2 == 1) taps[tap] = zeros;
}

}  // namespace

void run_int8_depthwise(const Int8Args& args, Share share, void* scratch) {
  const ConvArgs& conv = args.conv;
  const int64_t taps = conv.kernel[1] * conv.kernel[2], even_taps = (taps + 1) / 2 * 2;
  const int64_t block_bytes = int8_depthwise_block_bytes(taps), sums_at = block_bytes - kInt8Columns * 4;
  auto* const zeros = static_cast<uint8_t*>(scratch);
  memset(zeros, args.input_zero_point, static_cast<size_t>(int8_depthwise_scratch_bytes(conv.groups)));
  const Range lines = part_of(conv.batch * conv.out[1], share.count, share.index);
  const uint8_t* pixel_taps[kPixels][kInt8DepthwiseTaps];
  alignas(64) int32_t sums[kPixels * kChannels];
  Int8Columns facts;
  for (int64_t first = 0; first < conv.groups; first += kChannels) {
    const int64_t channels = conv.groups - first < kChannels ? conv.groups - first : kChannels;
    const int panels = static_cast<int>(int8_panel_count(channels));
    const int8_t* const weights = args.weights + first / kInt8Columns * block_bytes;
    read_columns(args, weights + sums_at, block_bytes, panels, first, static_cast<int>(channels), facts);
    for (int64_t line = lines.begin; line < lines.end; ++line) {
      const uint8_t* image = args.input + line / conv.out[1] * conv.in[1] * conv.in[2] * conv.input_pitch;
      for (int64_t x = 0; x < conv.out[2]; x += kPixels) {
        const int pixels = static_cast<int>(conv.out[2] - x < kPixels ? conv.out[2] - x : kPixels);
        for (int p = 0; p < pixels; ++p) find_taps(conv, image, line % conv.out[1], x + p, zeros, pixel_taps[p]);
        for (int panel = 0; panel < panels; ++panel) {
          const int64_t channel = first + panel * kInt8Columns, left = conv.groups - channel;
          for (int p = 0; p < pixels; ++p) {
            int32_t* const out = sums + p * kChannels + panel * kInt8Columns;
            if (left >= kInt8Columns) {
              sum_taps(pixel_taps[p], even_taps, channel, weights + panel * block_bytes, out);
            } else {
              sum_last_taps(pixel_taps[p], even_taps, channel, left, weights + panel * block_bytes, out);
            }
          }
        }
        finish_int8_tile(args, facts, sums, kChannels, line * conv.out[2] + x, pixels, first,
                         static_cast<int>(channels));
      }
    }
  }
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
