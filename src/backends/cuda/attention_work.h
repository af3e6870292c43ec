// hussar.Attention and hussar.QuantizedAttention as sizes and strides.
#pragma once
#include "backends/cuda/results.h"

namespace hussar::cuda {

// Strides in elements; the offsets of the heads within wider tensors are apart, so that pointers can be checked.
struct AttentionWork {
  int64_t heads = 1, kv_heads = 1, head = 0, v_head = 0;
  int64_t batch = 1, queries = 0, keys = 0;
  struct Side {
    int64_t offset = 0, batch = 0, head = 0, row = 0, column = 1;
  } q, k, v, y;
  int64_t mask[4] = {};  // batch, head, query, key; 0 where it is broadcast
};

Result<AttentionWork> attention_work(const Attributes& attributes, std::span<const Operand> inputs,
                                     const Operand& output);

// What all kernels ask of a hussar.Attention.
Refusal check_attention(const Problem& problem);
// The same of a hussar.QuantizedAttention, with zero points of 128.
Refusal check_byte_attention(const Problem& problem);

// The definitions of device/attention.cuh; the second without what the code needs to know of results.
Defines attention_defines(const Node& node);
void define_attention(const Node& node, Defines& defines);
struct AttentionLaunch {
  Launch launch;
  AttentionWork work;
  ByteMeaning meaning;
};
// For blocks of `threads` that take so many queries of one head.
Status prepare_attention(const Prepare& prepare, const AttentionWork& work, int64_t queries_of_block, int64_t threads,
                         int64_t shared_bytes, AttentionLaunch& launch);
Status launch_attention(const Run& run, const AttentionLaunch& launch);
// Attention of device/attention.cuh.
struct AttentionData {
  const std::byte *q = nullptr, *k = nullptr, *v = nullptr, *mask = nullptr, *y = nullptr, *starts = nullptr;
};
void put_attention(const AttentionWork& work, const AttentionData& data, Words& words);

// Whether two neighbours of the mask lie side by side, and at even places.
bool has_mask_pairs(const AttentionWork& work);

// Of a node, with the dimensions that operand_of gives to symbols.
Result<AttentionWork> attention_work(const Node& node);

// Two floating-point operations for each multiply-add.
double attention_flops(const Problem& problem);

// For memory_cost: what attention reads has just been written, and lies in a cache for the most part. With it, tensor
// cores' times at 128 and 384 tokens are predicted within an eighth (docs/benchmarks.md, "GPU: INT8 and 2:4"; 32
// sequences).
inline constexpr double kAttentionBytes = 0.5;

}  // namespace hussar::cuda
