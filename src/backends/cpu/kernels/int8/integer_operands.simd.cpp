#include "backends/cpu/kernels/int8/integer_operands.h"

#include "backends/cpu/kernels/int8/byte_panels.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

// The sums of the columns of a panel go behind it.
void sum_columns(int8_t* panel, int64_t depth) {
  alignas(32) int32_t sums[kInt8Columns] = {};
#if defined(__AVX2__)
  const __m256i ones = _mm256_set1_epi8(1), pairs = _mm256_set1_epi16(1);
  __m256i low = _mm256_setzero_si256(), high = low;
  for (int64_t row = 0; row < depth; row += 4) {
    const auto* const four = reinterpret_cast<const __m256i*>(panel + row * kInt8Columns);
    low = _mm256_add_epi32(low, _mm256_madd_epi16(_mm256_maddubs_epi16(ones, _mm256_loadu_si256(four)), pairs));
    high = _mm256_add_epi32(high, _mm256_madd_epi16(_mm256_maddubs_epi16(ones, _mm256_loadu_si256(four + 1)), pairs));
  }
  _mm256_store_si256(reinterpret_cast<__m256i*>(sums), low);
  _mm256_store_si256(reinterpret_cast<__m256i*>(sums + 8), high);
#else
  for (int64_t i = 0; i < depth * kInt8Columns; ++i) sums[i / 4 % kInt8Columns] += panel[i];
#endif
  memcpy(panel + depth * kInt8Columns, sums, sizeof(sums));
}

void pack_right(const RightBytes& args, int64_t first_panel, int64_t end_panel) {
  const int64_t depth = int8_depth(args.k);
  for (int64_t p = first_panel; p < end_panel; ++p) {
    const int64_t left = args.n - p * kInt8Columns;
    int8_t* const panel = args.panels + p * int8_panel_bytes(args.k);
    pack_byte_panel(args.b + p * kInt8Columns, args.n, args.k, depth,
                    static_cast<int>(left < kInt8Columns ? left : kInt8Columns), args.flip, panel);
    sum_columns(panel, depth);
  }
}

// Of the bytes after the exclusive or, which go to `copy` where there is one.
uint32_t sum_row(const uint8_t* a, int64_t k, uint8_t flip, uint8_t* copy) {
  uint32_t sum = 0;
  int64_t i = 0;
#if defined(__AVX2__)
  const __m256i flips = _mm256_set1_epi8(static_cast<char>(flip));
  __m256i sums = _mm256_setzero_si256();
  for (; i + 32 <= k; i += 32) {
    const __m256i bytes = _mm256_xor_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(a + i)), flips);
    sums = _mm256_add_epi64(sums, _mm256_sad_epu8(bytes, _mm256_setzero_si256()));
    if (copy != nullptr) _mm256_storeu_si256(reinterpret_cast<__m256i*>(copy + i), bytes);
  }
  alignas(32) uint64_t lanes[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), sums);
  sum = static_cast<uint32_t>(lanes[0] + lanes[1] + lanes[2] + lanes[3]);
#endif
  for (; i < k; ++i) {
    const auto byte = static_cast<uint8_t>(a[i] ^ flip);
    sum += byte;
    if (copy != nullptr) copy[i] = byte;
  }
  return sum;
}

void prepare_left(const LeftBytes& args, int64_t first_row, int64_t end_row) {
  const uint32_t gone = static_cast<uint32_t>(args.k) * static_cast<uint32_t>(args.left_zero);
  for (int64_t row = first_row; row < end_row; ++row) {
    uint8_t* const copy = args.copy == nullptr ? nullptr : args.copy + row * args.k;
    const uint32_t sum = sum_row(args.a + row * args.k, args.k, args.flip, copy);
    args.corrections[row] = static_cast<int32_t>(static_cast<uint32_t>(args.right_zero) * (sum - gone));
  }
}

}  // namespace

extern const IntegerOperandsTable integer_operands_table = {pack_right, prepare_left};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
