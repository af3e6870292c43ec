// The walk over tiles of query rows and blocks of keys. The scores of a tile go row by row through the softmax, which
// writes the probabilities in the form in which the second product wants them. Over several blocks of keys the softmax
// is computed online: what is summed up so far is scaled down when a larger score turns up.
#include "backends/cpu/kernels/attention/attention.h"

#include "backends/cpu/kernels/attention/attention_parts.h"
#include "backends/cpu/kernels/attention/attention_rows.h"
#include "backends/cpu/kernels/tile/tile_kernels.h"
#include "backends/cpu/panels.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

static_assert(kTileRows <= kAttentionRows && kKeyBlock % kTileChunk == 0);

// The memory of one tile.
struct Tile {
  int rows;
  int64_t first;        // row of the call
  int64_t score_pitch;  // odd multiples of a cache line keep rows apart in the L1 cache
  int64_t sums_pitch;
  float* query;          // [dim / 16][rows][16], scaled
  float* scores;         // [rows][score_pitch]
  float* probabilities;  // [keys / 16][rows][16]
  float* sums;           // [rows][sums_pitch]: probabilities times values
  float* largest;        // [rows]
  float* totals;         // [rows]: of the probabilities
};

void pack_query(const AttendArgs& args, const Tile& tile) {
  const Vec scale = set(args.scale);
  for (int r = 0; r < tile.rows; ++r) {
    const float* source = args.query + (tile.first + r) * args.query_stride;
    float* out = tile.query + r * kTileChunk;
    for (int64_t i = 0; i < args.dim; i += kTileChunk, out += tile.rows * kTileChunk) {
      for (int k = 0; k < kTileChunk && i + k < args.dim; k += kLanes) {
        const int64_t left = args.dim - i - k;
        store(out + k, load_up_to(source + i + k, left < kLanes ? static_cast<int>(left) : kLanes) * scale);
      }
    }
  }
}

// c = a x b over all panels of b, plus what c holds already when `adds`.
void multiply(const float* a, int rows, const float* b, int64_t panel_stride, int64_t k, int64_t panels, float* c,
              int64_t pitch, bool adds) {
  alignas(64) static constexpr float kZeros[8 * 16] = {};
  const int widest = max_panels(rows);
  for (int64_t panel = 0; panel < panels;) {
    int step = widest;
    while (step > panels - panel) step /= 2;
    float* const target = c + panel * 16;
    const TileOutput out = {target, pitch, kZeros, adds ? target : nullptr, pitch, -INFINITY, INFINITY, step * 16};
    tile_kernel(rows, step, step * 16)(a, b + panel * panel_stride, panel_stride, k, out);
    panel += step;
  }
}

// The visible keys of row r among those from `begin` on, of which `count` are left.
HUSSAR_INLINE int64_t visible_keys(const AttendArgs& args, int64_t row, int64_t begin, int64_t count) {
  const int64_t visible = args.rules.first_limit + row - begin;
  return visible < 0 ? 0 : visible < count ? visible : count;
}

// The scores of the keys [begin, begin + count) become probabilities.
void softmax_block(const AttendArgs& args, const Tile& tile, int64_t begin, int64_t count, bool is_first) {
  float largest[kAttentionRows];
  const ScoreRules& rules = args.rules;
  for (int r = 0; r < tile.rows; ++r) {
    const int64_t row = tile.first + r;
    const float* mask = rules.mask;
    if (mask != nullptr) mask += row * rules.mask_row_stride + begin * rules.mask_column_stride;
    largest[r] = prepare_row(rules, mask, tile.scores + r * tile.score_pitch, visible_keys(args, row, begin, count));
  }
  for (int r = 0; r < tile.rows; ++r) {
    const int64_t end = round_to_panel(visible_keys(args, tile.first + r, begin, count));
    if (!is_first && tile.largest[r] > largest[r]) largest[r] = tile.largest[r];
    // A row whose keys are all hidden keeps its minus infinities.
    const float shift = largest[r] == -INFINITY ? 0.0f : largest[r];
    const int64_t chunk_stride = tile.rows * kTileChunk;
    float* const out = tile.probabilities + r * kTileChunk;
    const float sum = exponentials_of_row(tile.scores + r * tile.score_pitch, shift, end, out, chunk_stride);
    for (int64_t i = end; i < count; i += kTileChunk) zero16(out + i / kTileChunk * chunk_stride);
    if (is_first) {
      tile.totals[r] = sum;
    } else if (tile.largest[r] == shift) {
      tile.totals[r] += sum;
    } else {
      alignas(64) float factor[kLanes];
      const Vec shrunk = exp2_nonpositive(set((tile.largest[r] - shift) * kLog2E));
      store(factor, shrunk);
      tile.totals[r] = tile.totals[r] * factor[0] + sum;
      float* const sums = tile.sums + r * tile.sums_pitch;
      for (int64_t i = 0; i < tile.sums_pitch; i += kLanes) store(sums + i, load(sums + i) * shrunk);
    }
    tile.largest[r] = largest[r];
  }
}

void store_output(const AttendArgs& args, const Tile& tile) {
  for (int r = 0; r < tile.rows; ++r) {
    const Vec factor = set(tile.totals[r] == 0.0f ? 0.0f : 1.0f / tile.totals[r]);
    const float* sums = tile.sums + r * tile.sums_pitch;
    float* out = args.output + (tile.first + r) * args.output_stride;
    for (int64_t i = 0; i < args.value_dim; i += kLanes) {
      const int64_t left = args.value_dim - i;
      store_up_to(out + i, load(sums + i) * factor, left < kLanes ? static_cast<int>(left) : kLanes);
    }
  }
}

void attend_tile(const AttendArgs& args, const Tile& tile) {
  pack_query(args, tile);
  // Behind the last key that the last row sees there is nothing to do; but something must be written.
  const int64_t keys = visible_keys(args, tile.first + tile.rows - 1, 0, args.key_count);
  const int64_t value_panels = panel_count(args.value_dim);
  if (keys == 0) {
    for (int r = 0; r < tile.rows; ++r) {
      tile.totals[r] = 0.0f;
      for (int64_t i = 0; i < tile.sums_pitch; i += 16) zero16(tile.sums + r * tile.sums_pitch + i);
    }
  }
  for (int64_t begin = 0; begin < keys; begin += kKeyBlock) {
    const int64_t count = keys - begin < kKeyBlock ? keys - begin : kKeyBlock;
    multiply(tile.query, tile.rows, args.keys + begin * args.dim, 16 * args.dim, args.dim, panel_count(count),
             tile.scores, tile.score_pitch, false);
    softmax_block(args, tile, begin, count, begin == 0);
    multiply(tile.probabilities, tile.rows, args.values + begin * 16, 16 * args.key_count, count, value_panels,
             tile.sums, tile.sums_pitch, begin != 0);
  }
  store_output(args, tile);
}

void attend(const AttendArgs& args, float* scratch) {
  const int64_t tiles = (args.rows + kTileRows - 1) / kTileRows;
  Tile tile;
  tile.score_pitch = kKeyBlock + 16;
  tile.sums_pitch = round_to_panel(args.value_dim);
  tile.query = scratch;
  tile.scores = tile.query + kAttentionRows * round_to_panel(args.dim);
  tile.probabilities = tile.scores + kAttentionRows * tile.score_pitch;
  tile.sums = tile.probabilities + kAttentionRows * (kKeyBlock + 16);
  tile.largest = tile.sums + kAttentionRows * tile.sums_pitch;
  tile.totals = tile.largest + 16;
  for (int64_t i = 0; i < tiles; ++i) {
    tile.first = args.rows * i / tiles;
    tile.rows = static_cast<int>(args.rows * (i + 1) / tiles - tile.first);
    attend_tile(args, tile);
  }
}

}  // namespace

extern const AttentionTable attention_table = {attend, attend_directly, pack_keys};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
