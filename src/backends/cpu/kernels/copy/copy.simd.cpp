// Runs, fills, tiled transposes and element loops.
#include "backends/cpu/kernels/copy/copy.h"

#include <xmmintrin.h>

#include "backends/cpu/simd/vec.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

// Elements of any size at any address: a run of 2 floats is moved as one element of 8 bytes.
#define HUSSAR_ANY_ADDRESS __attribute__((packed, may_alias))
struct HUSSAR_ANY_ADDRESS Bytes1 {
  uint8_t value;
};
struct HUSSAR_ANY_ADDRESS Bytes2 {
  uint16_t value;
};
struct HUSSAR_ANY_ADDRESS Bytes4 {
  uint32_t value;
};
struct HUSSAR_ANY_ADDRESS Bytes8 {
  uint64_t value;
};
struct HUSSAR_ANY_ADDRESS Bytes16 {
  uint64_t low, high;
};
#undef HUSSAR_ANY_ADDRESS

int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }

template <int kBytes>
HUSSAR_INLINE void move(char* out, const char* in) {
  __builtin_memcpy(out, in, kBytes);
}

// Short runs without a call; the last move may overlap the one before.
HUSSAR_INLINE void copy_run(char* out, const char* in, int64_t bytes) {
  if (bytes >= 32) {
    if (bytes > 512) {
      memcpy(out, in, static_cast<size_t>(bytes));
      return;
    }
    int64_t i = 0;
    for (; i + 32 <= bytes; i += 32) move<32>(out + i, in + i);
    if (i < bytes) move<32>(out + bytes - 32, in + bytes - 32);
  } else if (bytes >= 16) {
    move<16>(out, in);
    move<16>(out + bytes - 16, in + bytes - 16);
  } else if (bytes >= 8) {
    move<8>(out, in);
    move<8>(out + bytes - 8, in + bytes - 8);
  } else if (bytes >= 4) {
    move<4>(out, in);
    move<4>(out + bytes - 4, in + bytes - 4);
  } else {
    for (int64_t i = 0; i < bytes; ++i) out[i] = in[i];
  }
}

template <class T>
void fill(char* out, const char* in, int64_t count) {
  T value;
  memcpy(&value, in, sizeof(T));
  T* to = reinterpret_cast<T*>(out);
  for (int64_t i = 0; i < count; ++i) to[i] = value;
}

template <class T>
void elements(char* out, const char* in, int64_t count, int64_t out_stride, int64_t in_stride) {
  if (out_stride == static_cast<int64_t>(sizeof(T))) {
    T* to = reinterpret_cast<T*>(out);
    for (int64_t i = 0; i < count; ++i) to[i] = *reinterpret_cast<const T*>(in + i * in_stride);
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    *reinterpret_cast<T*>(out + i * out_stride) = *reinterpret_cast<const T*>(in + i * in_stride);
  }
}

// ---- 4-byte transposes in registers --------------------------------------------------------------------------------

#if defined(__AVX2__)
// An 8 x 8 block: out row c holds in[0..7][c].
HUSSAR_INLINE void transpose_8x8(const char* in, int64_t row_in, char* out, int64_t column_out) {
  __m256 r[8], t[8];
  for (int i = 0; i < 8; ++i) r[i] = _mm256_loadu_ps(reinterpret_cast<const float*>(in + i * row_in));
  for (int i = 0; i < 4; ++i) {
    t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 2; ++i) {
    r[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
    r[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
    r[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
    r[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    _mm256_storeu_ps(reinterpret_cast<float*>(out + i * column_out), _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
    _mm256_storeu_ps(reinterpret_cast<float*>(out + (i + 4) * column_out),
                     _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
  }
}
#endif

#if defined(__AVX512F__)
// A 16 x 16 block: pairs of rows are interleaved four times.
HUSSAR_INLINE void transpose_16x16(const char* in, int64_t row_in, char* out, int64_t column_out) {
  __m512 r[16], t[16];
  for (int i = 0; i < 16; ++i) r[i] = _mm512_loadu_ps(reinterpret_cast<const float*>(in + i * row_in));
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  }
  // r[4 * group + k]: in every 128-bit lane L the rows 4 * group .. + 3 of column 4 * L + k.
  for (int i = 0; i < 4; ++i) {
    r[4 * i] = _mm512_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
    r[4 * i + 1] = _mm512_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
    r[4 * i + 2] = _mm512_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
    r[4 * i + 3] = _mm512_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
  }
  for (int k = 0; k < 4; ++k) {
    const __m512 a = _mm512_shuffle_f32x4(r[k], r[4 + k], 0x44), b = _mm512_shuffle_f32x4(r[8 + k], r[12 + k], 0x44);
    const __m512 c = _mm512_shuffle_f32x4(r[k], r[4 + k], 0xee), d = _mm512_shuffle_f32x4(r[8 + k], r[12 + k], 0xee);
    _mm512_storeu_ps(reinterpret_cast<float*>(out + k * column_out), _mm512_shuffle_f32x4(a, b, 0x88));
    _mm512_storeu_ps(reinterpret_cast<float*>(out + (4 + k) * column_out), _mm512_shuffle_f32x4(a, b, 0xdd));
    _mm512_storeu_ps(reinterpret_cast<float*>(out + (8 + k) * column_out), _mm512_shuffle_f32x4(c, d, 0x88));
    _mm512_storeu_ps(reinterpret_cast<float*>(out + (12 + k) * column_out), _mm512_shuffle_f32x4(c, d, 0xdd));
  }
}
#endif

// Rows lie too far apart for the processor to see what comes next. A block is as wide as a cache line.
constexpr int64_t kFetchedAhead = 32;
HUSSAR_INLINE void fetch_ahead(const char* in, int64_t row_in, int64_t row, int64_t rows) {
  const char* from = row < rows ? in + row * row_in : in + kTransposeColumns * 4 + (row - rows) * row_in;
  for (int r = 0; r < 16; ++r) __builtin_prefetch(from + r * row_in);
}

template <class T>
HUSSAR_INLINE void transpose_rest(const char* in, int64_t row_in, char* out, int64_t column_out, int64_t rows,
                                  int64_t columns) {
  for (int64_t c = 0; c < columns; ++c) {
    T* to = reinterpret_cast<T*>(out + c * column_out);
    for (int64_t r = 0; r < rows; ++r) to[r] = reinterpret_cast<const T*>(in + r * row_in)[c];
  }
}

// Three planes of 4-byte elements to pixels that lie end to end, four at a time: three stores of 16 bytes, each of
// which spoils the next pixel before that is written, and one of 12. Returns the columns done.
HUSSAR_INLINE int64_t interleave_3(const char* in, int64_t row_in, char* out, int64_t columns) {
  int64_t c = 0;
  for (; c + 4 <= columns; c += 4) {
    __m128 v0 = _mm_loadu_ps(reinterpret_cast<const float*>(in + c * 4));
    __m128 v1 = _mm_loadu_ps(reinterpret_cast<const float*>(in + row_in + c * 4));
    __m128 v2 = _mm_loadu_ps(reinterpret_cast<const float*>(in + 2 * row_in + c * 4));
    __m128 v3 = v2;
    _MM_TRANSPOSE4_PS(v0, v1, v2, v3);
    auto* to = reinterpret_cast<float*>(out + c * 12);
    _mm_storeu_ps(to, v0);
    _mm_storeu_ps(to + 3, v1);
    _mm_storeu_ps(to + 6, v2);
    _mm_storel_pi(reinterpret_cast<__m64*>(to + 9), v3);
    _mm_store_ss(to + 11, _mm_movehl_ps(v3, v3));
  }
  return c;
}

// A block of at most kTransposeColumns columns.
template <class T>
void transpose(const char* in, int64_t row_in, char* out, int64_t column_out, int64_t rows, int64_t columns) {
  constexpr int64_t kSize = sizeof(T);
  if (kSize == 4 && rows == 3 && column_out == 12) {
    const int64_t done = interleave_3(in, row_in, out, columns);
    return transpose_rest<T>(in + done * kSize, row_in, out + done * column_out, column_out, rows, columns - done);
  }
  int64_t row = 0;
  for (; row + 16 <= rows && columns == kTransposeColumns; row += 16) {
    const char* from = in + row * row_in;
    char* to = out + row * kSize;
    if constexpr (kSize == 4) fetch_ahead(in, row_in, row + kFetchedAhead, rows);
#if defined(__AVX512F__)
    if constexpr (kSize == 4) {
      transpose_16x16(from, row_in, to, column_out);
      continue;
    }
#elif defined(__AVX2__)
    if constexpr (kSize == 4) {
      for (int r = 0; r < 16; r += 8) {
        transpose_8x8(from + r * row_in, row_in, to + r * kSize, column_out);
        transpose_8x8(from + r * row_in + 32, row_in, to + r * kSize + 8 * column_out, column_out);
      }
      continue;
    }
#endif
    transpose_rest<T>(from, row_in, to, column_out, 16, kTransposeColumns);
  }
#if defined(__AVX2__)
  if constexpr (kSize == 4) {
    for (; row + 8 <= rows && columns >= 8; row += 8) {
      transpose_8x8(in + row * row_in, row_in, out + row * kSize, column_out);
      if (columns == 16) {
        transpose_8x8(in + row * row_in + 32, row_in, out + row * kSize + 8 * column_out, column_out);
      } else {
        transpose_rest<T>(in + row * row_in + 32, row_in, out + row * kSize + 8 * column_out, column_out, 8,
                          columns - 8);
      }
    }
  }
#endif
  for (; row < rows; row += 16) {
    transpose_rest<T>(in + row * row_in, row_in, out + row * kSize, column_out, at_most(16, rows - row), columns);
  }
}

// ---- units ---------------------------------------------------------------------------------------------------------

template <class T>
HUSSAR_INLINE void innermost(const StridedCopy& plan, const char* in, char* out, int64_t piece) {
  constexpr int64_t kSize = sizeof(T);
  if (plan.kind == StridedCopy::kFill) {
    const int64_t count = kCopyPieceBytes / kSize, first = piece * count;
    fill<T>(out + first * kSize, in, at_most(count, plan.run - first));
  } else if (plan.kind == StridedCopy::kElements) {
    const int64_t count = kCopyPieceBytes / kSize, first = piece * count;
    elements<T>(out + first * plan.run_out, in + first * plan.run_in, at_most(count, plan.run - first), plan.run_out,
                plan.run_in);
  } else {
    const int64_t row_blocks = (plan.rows + kTransposeRows - 1) / kTransposeRows;
    const int64_t row = piece % row_blocks * kTransposeRows, column = piece / row_blocks * kTransposeColumns;
    transpose<T>(in + row * plan.row_in + column * kSize, plan.row_in, out + row * kSize + column * plan.column_out,
                 plan.column_out, at_most(kTransposeRows, plan.rows - row),
                 at_most(kTransposeColumns, plan.columns - column));
  }
}

// Visits the units in order with an odometer over the loops.
template <class Visit>
HUSSAR_INLINE void for_each_unit(const StridedCopy& plan, const char* in, char* out, int64_t begin, int64_t end,
                                 Visit&& visit) {
  int64_t index[kCopyAxes];
  int64_t piece = begin % plan.pieces, rest = begin / plan.pieces;
  for (int axis = plan.loops - 1; axis >= 0; --axis) {
    index[axis] = rest % plan.dims[axis];
    rest /= plan.dims[axis];
    in += index[axis] * plan.in_strides[axis];
    out += index[axis] * plan.out_strides[axis];
  }
  for (int64_t unit = begin; unit < end; ++unit) {
    visit(in, out, piece);
    if (++piece < plan.pieces) continue;
    piece = 0;
    for (int axis = plan.loops - 1; axis >= 0; --axis) {
      in += plan.in_strides[axis];
      out += plan.out_strides[axis];
      if (++index[axis] < plan.dims[axis]) break;
      in -= plan.dims[axis] * plan.in_strides[axis];
      out -= plan.dims[axis] * plan.out_strides[axis];
      index[axis] = 0;
    }
  }
}

template <class T>
void run_typed(const StridedCopy& plan, const char* in, char* out, int64_t begin, int64_t end) {
  for_each_unit(plan, in, out, begin, end,
                [&](const char* from, char* to, int64_t piece) { innermost<T>(plan, from, to, piece); });
}

void run(const StridedCopy& plan, const void* input, void* output, int64_t begin, int64_t end) {
  const char* in = static_cast<const char*>(input);
  char* out = static_cast<char*>(output);
  if (plan.kind == StridedCopy::kRows) {
    for_each_unit(plan, in, out, begin, end, [&](const char* from, char* to, int64_t piece) {
      const int64_t first = piece * kCopyPieceBytes;
      copy_run(to + first, from + first, at_most(kCopyPieceBytes, plan.run - first));
    });
    return;
  }
  switch (plan.element_size) {
    case 1: return run_typed<Bytes1>(plan, in, out, begin, end);
    case 2: return run_typed<Bytes2>(plan, in, out, begin, end);
    case 4: return run_typed<Bytes4>(plan, in, out, begin, end);
    case 8: return run_typed<Bytes8>(plan, in, out, begin, end);
    default: return run_typed<Bytes16>(plan, in, out, begin, end);
  }
}

}  // namespace

extern const CopyTable copy_table = {run};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
