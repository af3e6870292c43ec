// Attention on bytes for one head: softmax(scale * q k^T + mask) v as ops/hussar_quantized_attention.cpp defines it, to
// the last bit on every level and for every cut into calls. Sizes and strides are in elements. Arguments are trusted.
//
// Keys and values are packed as signed bytes, like the weights of INT8 products: panels of 16 keys or of 16 columns of
// the values, four of what is summed over side by side. Probabilities become bytes, so that both products are those of
// kernels/int8 (int8_tiles*.h).
#pragma once
#include <stdint.h>

#include "backends/cpu/int8_packing.h"
#include "backends/cpu/isa.h"
#include "backends/cpu/kernels/attention/attention.h"

namespace hussar::cpu {

constexpr int64_t packed_bytes(int64_t depth, int64_t columns) {
  return int8_panel_count(columns) * int8_depth(depth) * kInt8Columns;
}

struct Int8PackArgs {
  const uint8_t* keys = nullptr;
  const uint8_t* values = nullptr;
  int64_t key_stride = 0, value_stride = 0, key_count = 0, dim = 0, value_dim = 0;
  int32_t query_zero_point = 0;
  int8_t* packed_keys = nullptr;    // packed_bytes(dim, key_count)
  int8_t* packed_values = nullptr;  // packed_bytes(key_count, value_dim)
  // For every key the zero point of the queries times the sum of its packed bytes; round_to_panel(key_count) of them.
  int32_t* corrections = nullptr;
};

struct Int8AttendArgs {
  const uint8_t* query = nullptr;
  int64_t query_stride = 0, rows = 0;
  const int8_t* keys = nullptr;
  const int8_t* values = nullptr;
  const int32_t* corrections = nullptr;
  int64_t key_count = 0, dim = 0, value_dim = 0;
  int32_t query_zero_point = 0;
  // What packed bytes are below key or value less its zero point.
  int32_t key_offset = 0, value_offset = 0;
  float scale = 1;
  ScoreRules rules;                     // without softcap
  const float* value_scales = nullptr;  // value_dim
  // One of them: real numbers, or saturate(round(y / output_scale) + output_zero_point).
  float* reals = nullptr;
  uint8_t* bytes = nullptr;
  int64_t output_stride = 0;
  float output_scale = 1;
  int32_t output_zero_point = 0;
};

struct Int8AttentionTable {
  // Scratch: int8_attention_scratch(dim, key_count) bytes, aligned to 64.
  void (*pack)(const Int8PackArgs& args, void* scratch);
  void (*attend)(const Int8AttendArgs& args, void* scratch);
};
HUSSAR_DECLARE_PER_ISA(Int8AttentionTable, int8_attention_table)
namespace avx512vnni {
extern const Int8AttentionTable vnni_attention_table;
}
namespace amx {
extern const Int8AttentionTable matrix_attention_table;
}

// The best form for a level on this machine.
inline const Int8AttentionTable& int8_attention(Isa isa) {
  if (isa >= Isa::kAmx) return amx::matrix_attention_table;
  if (isa >= Isa::kAvx512 && has_avx512_vnni()) return avx512vnni::vnni_attention_table;
  return select_int8_attention_table(isa);
}

// The scores and sums of more elements could overflow 32 bits.
constexpr int64_t kInt8AttentionDepth = 32768;
// Rows of a tile, as bytes and as 16-bit numbers; the matrix unit reads and writes whole tiles of 16 rows.
constexpr int64_t kInt8AttentionSlack = 8192;
constexpr int64_t int8_attention_scratch(int64_t dim, int64_t key_count) {
  return kInt8RowsLimit * (2 * int8_depth(dim) + 2 * int8_depth(key_count) + 4 * round_to_panel(key_count)) +
         3 * kInt8AttentionSlack;
}

}  // namespace hussar::cpu
