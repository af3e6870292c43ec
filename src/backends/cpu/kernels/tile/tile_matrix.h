// The products on a matrix unit (AMX): FP32 operands as sums of two bfloat16 each.
//
// x = high + low with high = bf16(x), low = bf16(x - high) holds 16 bits of x; a x b is computed as
// high x high + high x low + low x high with FP32 sums, so that a product is off by at most 3 x 2^-18 of itself:
// between FP32 and TF32, at about five times the FP32 rate of the vector unit. (Henry, Tang, Heinecke: "Leveraging the
// bfloat16 Artificial Intelligence Datatype For Higher-Precision Computations", 2019.) Operands are split while they
// are packed; weights stay FP32 panels in the plan. An infinity, or a number that bf16 rounds to one, has no low part:
// it gives NaN. Internal to kernels/tile, for the amx level.
#pragma once
#include "backends/cpu/kernels/tile/matrix_unit.h"
#include "backends/cpu/kernels/tile/tile_core.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

constexpr int64_t kTileElements = 16 * kMatrixDepth;  // bf16 in a tile
// Steps of K whose part of two panels, split, fills half of the L1 cache while the rows of A pass by.
constexpr int64_t kMatrixSteps = 8;

struct Split {
  __m512i high;
  __m512i low;
};

// The 32 floats of x0, x1 in this order.
HUSSAR_INLINE Split split(__m512 x0, __m512 x1) {
  const __m512i high = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(x1, x0));
  const __m512i wide0 = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(high));
  const __m512i wide1 = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(high, 1));
  const __m512 high0 = _mm512_castsi512_ps(_mm512_slli_epi32(wide0, 16));
  const __m512 high1 = _mm512_castsi512_ps(_mm512_slli_epi32(wide1, 16));
  const __m512 low0 = _mm512_sub_ps(x0, high0), low1 = _mm512_sub_ps(x1, high1);
  return {high, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(low1, low0))};
}

constexpr int64_t matrix_steps(int64_t k) { return (k + kMatrixDepth - 1) / kMatrixDepth; }

// rows of A, packed as [ceil(k / 16)][rows][16], to tiles [step][high, low][16][32]. Rows beyond `rows` are left as
// they are: what they hold reaches only rows of C that nobody reads.
inline void split_rows(const float* chunks, int rows, int64_t k, uint16_t* tiles) {
  const int64_t chunk_floats = rows * kTileChunk;
  for (int64_t first = 0; first < k; first += kMatrixDepth) {
    const int64_t left = k - first;
    const __mmask16 mask0 = first_lanes(left < 16 ? static_cast<int>(left) : 16);
    const __mmask16 mask1 = first_lanes(left < 16 ? 0 : left < 32 ? static_cast<int>(left - 16) : 16);
    for (int r = 0; r < rows; ++r) {
      const Split parts = split(_mm512_maskz_loadu_ps(mask0, chunks + r * kTileChunk),
                                _mm512_maskz_loadu_ps(mask1, chunks + chunk_floats + r * kTileChunk));
      _mm512_store_si512(tiles + r * kMatrixDepth, parts.high);
      _mm512_store_si512(tiles + kTileElements + r * kMatrixDepth, parts.low);
    }
    chunks += 2 * chunk_floats;
    tiles += 2 * kTileElements;
  }
}

// Rows [first, first + steps * 32) of a panel [k][16] to tiles [high, low][16 pairs of k][16 columns][2], `stride`
// elements apart from step to step. Rows beyond k are zeros.
inline void split_panel(const float* panel, int64_t k, int64_t first, int64_t steps, uint16_t* tiles, int64_t stride) {
  // Word 2c of the interleaved pair is column c of the even row, word 2c + 1 that of the odd one.
  alignas(64) static constexpr uint16_t kInterleave[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                           21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                           11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const __m512i order = _mm512_load_si512(kInterleave);
  for (int64_t step = 0; step < steps; ++step, tiles += stride) {
    for (int64_t pair = 0; pair < 16; ++pair) {
      const int64_t row = first + step * kMatrixDepth + 2 * pair;
      const __m512 even = row < k ? _mm512_loadu_ps(panel + row * 16) : _mm512_setzero_ps();
      const __m512 odd = row + 1 < k ? _mm512_loadu_ps(panel + (row + 1) * 16) : _mm512_setzero_ps();
      const Split parts = split(even, odd);
      _mm512_store_si512(tiles + pair * 32, _mm512_permutexvar_epi16(order, parts.high));
      _mm512_store_si512(tiles + kTileElements + pair * 32, _mm512_permutexvar_epi16(order, parts.low));
    }
  }
}

// c [kRows * 16][kPanels * 16] = or += A x B over `steps` of K. a: tiles of the first 16 rows, those of the next ones
// a_stride elements further; b: [step][panel][high, low] tiles.
template <int kRows, int kPanels>
void multiply_tiles(const uint16_t* a, int64_t a_stride, const uint16_t* b, int64_t steps, float* c, bool fresh) {
  constexpr int64_t kPitch = kPanels * 16;
  if (fresh) {
    zero_tiles<kRows, kPanels>();
  } else {
    load_sums<kRows, kPanels>(c, kPitch);
  }
  for (int64_t step = 0; step < steps; ++step) {
    load_rows<kRows>(a + kTileElements, a_stride);
    load_panels<kPanels>(b, 2 * kTileElements);
    multiply_add_tiles<kRows, kPanels>();  // low x high
    load_rows<kRows>(a, a_stride);
    multiply_add_tiles<kRows, kPanels>();  // high x high
    load_panels<kPanels>(b + kTileElements, 2 * kTileElements);
    multiply_add_tiles<kRows, kPanels>();  // high x low
    a += 2 * kTileElements;
    b += kPanels * 2 * kTileElements;
  }
  store_sums<kRows, kPanels>(c, kPitch);
}

using MultiplyTiles = void (*)(const uint16_t*, int64_t, const uint16_t*, int64_t, float*, bool);
inline MultiplyTiles multiply_tiles_of(int row_tiles, int panels) {
  static constexpr MultiplyTiles kTable[2][2] = {{multiply_tiles<1, 1>, multiply_tiles<1, 2>},
                                                 {multiply_tiles<2, 1>, multiply_tiles<2, 2>}};
  return kTable[row_tiles - 1][panels - 1];
}

// The epilogue on sums [rows][width], of which product.n bounds the columns that are stored.
inline void finish_tiles(const Product& product, float* sums, int64_t row, int rows, int64_t first, int width) {
  const Epilogue& epilogue = *product.epilogue;
  const int columns = static_cast<int>(product.n - first < width ? product.n - first : width);
  float* const c = product.c + row * product.c_pitch + first;
  const Vec low = set(epilogue.low), high = set(epilogue.high);
  for (int r = 0; r < rows; ++r) {
    const float* residual = nullptr;
    if (epilogue.residual != nullptr) {
      residual = epilogue.residual + (product.row + (row + r) * product.row_step) * epilogue.residual_pitch +
                 product.column + first;
    }
    float* const out = epilogue.program != nullptr ? sums + r * width : c + r * product.c_pitch;
    for (int column = 0; column < columns; column += kLanes) {
      const int left = columns - column;
      Vec y = load(sums + r * width + column);
      if (epilogue.bias != nullptr) y = y + load_up_to(epilogue.bias + product.column + first + column, left);
      if (residual != nullptr) y = y + load_up_to(residual + column, left);
      store_up_to(out + column, min_second(high, max_second(low, y)), left);
    }
  }
  if (epilogue.program == nullptr) return;
  run_program(product, row, {sums, c, width, product.c_pitch, 0, product.column + first, rows, columns});
}

// Scratch memory of one call, cut up.
struct MatrixScratch {
  uint16_t* rows;    // a block of row tiles, split
  float* gathered;   // one row tile before it is split
  uint16_t* panels;  // kMatrixSteps of two panels, split
  float* sums;
};

inline MatrixScratch cut_matrix_scratch(float* memory, int64_t k, int64_t block_tiles) {
  const int64_t tile_floats = matrix_tile_floats(k);
  MatrixScratch scratch;
  scratch.rows = reinterpret_cast<uint16_t*>(memory);
  scratch.gathered = memory + block_tiles * tile_floats;
  scratch.panels = reinterpret_cast<uint16_t*>(scratch.gathered + tile_floats);
  scratch.sums = scratch.gathered + tile_floats + kMatrixSteps * 2 * kTileElements;
  return scratch;
}

// One or two panels of a block of packed row tiles, whose first row is `row` of the product.
inline void run_matrix_panels(const Product& product, const MatrixScratch& scratch, Range rows, int64_t panel,
                              int panels) {
  const int64_t steps = matrix_steps(product.k), a_stride = steps * 2 * kTileElements;
  const int width = panels * 16;
  for (int64_t step = 0; step < steps || step == 0; step += kMatrixSteps) {
    const int64_t count = steps - step < kMatrixSteps ? steps - step : kMatrixSteps;
    for (int p = 0; p < panels; ++p) {
      split_panel(product.b + (panel + p) * 16 * product.k, product.k, step * kMatrixDepth, count,
                  scratch.panels + p * 2 * kTileElements, panels * 2 * kTileElements);
    }
    const bool last = step + count >= steps;
    const uint16_t* a = scratch.rows + step * 2 * kTileElements;
    float* sums = scratch.sums;
    for (int64_t row = rows.begin; row < rows.end; row += 32) {
      const int left = static_cast<int>(rows.end - row < 32 ? rows.end - row : 32);
      multiply_tiles_of(left > 16 ? 2 : 1, panels)(a, a_stride, scratch.panels, count, sums, step == 0);
      if (last) finish_tiles(product, sums, row, left, panel * 16, width);
      a += 2 * a_stride;
      // With all of K in one go the sums are done with.
      if (steps > kMatrixSteps) sums += 32 * width;
    }
  }
}

// run_product on the matrix unit; the same arguments.
template <class Pack>
void run_matrix_product(const Product& product, Range rows, Range panels, Pack pack, float* memory) {
  const int64_t total = rows.end - rows.begin;
  if (total <= 0 || panels.begin >= panels.end) return;
  const int64_t tiles = (total + 15) / 16, most = matrix_block_tiles(product.k);
  const MatrixScratch scratch = cut_matrix_scratch(memory, product.k, tiles < most ? tiles : most);
  const int64_t tile_elements = matrix_steps(product.k) * 2 * kTileElements;
  configure_tiles();
  for (int64_t first = 0; first < tiles; first += most) {
    const int64_t count = tiles - first < most ? tiles - first : most;
    const int64_t begin = rows.begin + first * 16;
    const int64_t end = begin + count * 16 < rows.end ? begin + count * 16 : rows.end;
    for (int64_t tile = 0; tile < count; ++tile) {
      const int64_t row = begin + tile * 16;
      const int present = static_cast<int>(end - row < 16 ? end - row : 16);
      pack(row, present, scratch.gathered);
      split_rows(scratch.gathered, present, product.k, scratch.rows + tile * tile_elements);
    }
    for (int64_t panel = panels.begin; panel < panels.end; panel += 2) {
      run_matrix_panels(product, scratch, {begin, end}, panel, panels.end - panel >= 2 ? 2 : 1);
    }
  }
  release_tiles();
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
