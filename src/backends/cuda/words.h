// Moving elements whose meaning does not matter.
#pragma once
#include "backends/cuda/kernel_support.h"

namespace hussar::cuda {

// A type of CUDA C++ with so many bytes: 1, 2, 4, 8 or 16.
inline std::string_view word_of(int64_t bytes) {
  constexpr std::string_view kWords[] = {"unsigned char", "unsigned short", "unsigned int", "unsigned long long",
                                         "Pack<2, unsigned long long>"};
  for (size_t i = 0; i < std::size(kWords); ++i) {
    if (bytes == int64_t{1} << i) return kWords[i];
  }
  return {};
}

// The widest of them that `bytes` is a multiple of.
inline int64_t word_bytes(int64_t bytes) {
  int64_t word = 16;
  while (bytes % word != 0) word /= 2;
  return word;
}

// Elements that kernels move as they are.
inline bool is_movable(DType dtype) { return !word_of(static_cast<int64_t>(dtype_size(dtype))).empty(); }

inline bool is_index(DType dtype) { return dtype == DType::kInt32 || dtype == DType::kInt64; }
inline std::string_view index_type(DType dtype) { return dtype == DType::kInt32 ? "int" : "long long"; }

inline bool all_plain(const Node& node) {
  for (const auto* list : {&node.inputs, &node.outputs}) {
    for (const Value* value : *list) {
      if (value != nullptr && value->layout != Layout::kPlain) return false;
    }
  }
  return true;
}

inline constexpr std::string_view kWordAttribute = "hussar_word";
// The bytes of a word that the step's code moves, checked against those of a slice.
inline Result<int64_t> word_of_step(const PlanStep& step, int64_t slice_bytes) {
  const int64_t word = step.attributes.get_int(kWordAttribute, 0);
  HUSSAR_CHECK(word >= 1 && word <= 16 && slice_bytes % word == 0, ErrorCode::kPlanIncompatible,
               "step '{}': its code is for other shapes; build the plan again", step.name);
  return word;
}

inline Result<Launch> launch_for(const Prepare& prepare, const std::string& function, int64_t units) {
  Launch launch;
  launch.function = HUSSAR_TRY(queue_of(prepare.device).load(prepare.code, function));
  launch.threads = 256;
  launch.grid[0] = blocks_for(units, 256);
  return launch;
}

}  // namespace hussar::cuda
