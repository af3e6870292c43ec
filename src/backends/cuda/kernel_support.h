// What the adapters of the CUDA kernels share: refusals, predicted times, launches.
#pragma once
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <span>
#include <string_view>

#include "backends/cuda/code.h"
#include "backends/cuda/loop_nest.h"
#include "backends/cuda/queue.h"
#include "base/error.h"
#include "plan/kernel.h"
#include "tactics/tactic.h"
#include "tensor/convert.h"
#include "tensor/expected_rows.h"
#include "tensor/quant_params.h"

namespace hussar::cuda {

inline bool is_one_of(std::string_view op, std::initializer_list<std::string_view> ops) {
  return std::find(ops.begin(), ops.end(), op) != ops.end();
}

inline bool is_float(DType dtype) { return dtype == DType::kFloat32 || is_half(dtype); }

// From this compute capability on kernels may use the tensor cores, asynchronous copies and their PTX. An emulated GPU
// has less.
inline constexpr int kTensorCores = 80;
// From this one on tensor cores multiply FP8, and there are instructions that convert to it and back.
inline constexpr int kFp8Cores = 89;

// "op" for other operators; "unknown shape" where a rank is not known.
inline Refusal refuse_op(const Problem& problem, std::initializer_list<std::string_view> ops) {
  if (!is_one_of(problem.node.op, ops)) return "op";
  for (const auto* list : {&problem.node.inputs, &problem.node.outputs}) {
    for (const Value* value : *list) {
      if (value != nullptr && !value->dims) return "unknown shape";
    }
  }
  return std::nullopt;
}

// The row of a table of tiles that the node asks for as its configuration; null: it asks for none of them.
template <class Tile>
const Tile* configured_tile(std::span<const Tile> tiles, const Node& node) {
  const auto* wanted = node.attributes.find<std::string>(kConfigurationAttribute);
  auto it = std::find_if(tiles.begin(), tiles.end(),
                         [&](const Tile& tile) { return wanted != nullptr && tile.name == *wanted; });
  return it == tiles.end() ? nullptr : &*it;
}

// What a step costs anyway, in a graph.
inline constexpr double kLaunchMicroseconds = 2;
inline constexpr double kBytesPerMicrosecond = 2e6;

// The time to read the inputs and write the outputs once, of rows those that are needed.
inline double memory_cost(const Problem& problem, double factor = 1) {
  double bytes = 0;
  for (const auto* list : {&problem.node.inputs, &problem.node.outputs}) {
    for (auto it = list->begin(); it != list->end(); ++it) {
      const Value* value = *it;
      // What is read as several operands comes from the caches the second time.
      if (value == nullptr || std::find(list->begin(), it, value) != it) continue;
      const double rows = value->is_constant() ? 1 : expected_rows(problem.node.attributes);
      bytes += rows * Problem::elements(value) * static_cast<double>(dtype_size(value->dtype));
    }
  }
  return kLaunchMicroseconds + factor * bytes / kBytesPerMicrosecond;
}

// Blocks of `threads` for so many units of work, with a loop over what is more.
inline unsigned blocks_for(int64_t units, int threads) {
  constexpr int64_t kMostBlocks = int64_t{1} << 20;
  return static_cast<unsigned>(std::min((units + threads - 1) / threads, kMostBlocks));
}

// Parameters of a kernel as the compiler lays them out, where all are of 8 bytes.
class Words {
 public:
  void put(int64_t value) {
    if (count_ < kMost) words_[count_++] = value;
  }
  void put_float(float value) { put(int64_t{std::bit_cast<uint32_t>(value)}); }
  void put_floats(float first, float second) { put(std::bit_cast<int64_t>(std::array{first, second})); }
  void put(const void* pointer) { put(static_cast<int64_t>(reinterpret_cast<uintptr_t>(pointer))); }
  void* data() { return words_.data(); }

 private:
  static constexpr size_t kMost = 300;
  size_t count_ = 0;
  std::array<int64_t, kMost> words_;
};

}  // namespace hussar::cuda
