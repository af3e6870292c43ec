// softmax(scale * q k^T + mask) v of one head, in FP32: for blocks of queries with packed keys and values, and for a
// few queries with keys and values as they are. Sizes and strides are in elements. Arguments are trusted.
#pragma once
#include <stdint.h>

#include "backends/cpu/isa.h"

namespace hussar::cpu {

// No level computes more query rows at once.
constexpr int64_t kAttentionRows = 14;
// So many keys are scored before their values are added up: scores and probabilities of a tile of query rows stay in
// the L1 cache. A multiple of 16.
constexpr int64_t kKeyBlock = 512;

// What is done to the scores before the softmax. Row i uses the keys below first_limit + i; the others count as hidden.
struct ScoreRules {
  const float* mask = nullptr;                          // added; null: none
  int64_t mask_row_stride = 0, mask_column_stride = 0;  // 0 for a broadcast; the column's is 0 or 1
  int64_t first_limit = INT64_MAX / 2;
  float softcap = 0;  // above 0: softcap * tanh(score / softcap)
};

struct AttendArgs {
  const float* query = nullptr;
  int64_t query_stride = 0, rows = 0;
  const float* keys = nullptr;    // packed: the panels of dim x key_count; else rows, key_stride apart
  const float* values = nullptr;  // packed: the panels of key_count x value_dim; else rows, value_stride apart
  int64_t key_stride = 0, key_column_stride = 1, value_stride = 0;  // where not packed; one of the key's is 1
  int64_t key_count = 0, dim = 0, value_dim = 0;
  float scale = 1;
  ScoreRules rules;
  float* output = nullptr;
  int64_t output_stride = 0;
};

// Keys (rows of `dim` contiguous elements) to panels of dim x key_count.
struct PackKeysArgs {
  const float* keys = nullptr;
  int64_t key_stride = 0, key_count = 0, dim = 0;
  float* out = nullptr;
};

struct AttentionTable {
  // A query of which all keys are hidden gives zeros. Results do not depend on how queries are cut into calls.
  void (*attend)(const AttendArgs& args, float* scratch);
  void (*attend_directly)(const AttendArgs& args, float* scratch);
  void (*pack_keys)(const PackKeysArgs& args);
};

constexpr int64_t round_to_panel(int64_t count) { return (count + 15) / 16 * 16; }

// Scratch of one call of attend, in floats: the scaled queries, scores, probabilities, sums of values, row statistics.
constexpr int64_t attend_scratch_floats(int64_t dim, int64_t value_dim) {
  return kAttentionRows * (round_to_panel(dim) + 2 * (kKeyBlock + 16) + round_to_panel(value_dim)) + 2 * 16;
}
// Scratch of one call of attend_directly: the scores of one query, and the query.
constexpr int64_t direct_scratch_floats(int64_t dim, int64_t key_count) {
  return round_to_panel(key_count) + round_to_panel(dim) + 16;
}

HUSSAR_DECLARE_PER_ISA(AttentionTable, attention_table)

}  // namespace hussar::cpu
