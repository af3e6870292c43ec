// What the kernel tests share: the levels that this machine can run, and random numbers with a printed seed.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "backends/cpu/isa.h"

namespace hussar::cpu {

inline std::vector<Isa> available_levels() {
  std::vector<Isa> levels;
  for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512}) {
    if (isa <= detected_isa()) levels.push_back(isa);
  }
  return levels;
}

// One generator per process, seeded freshly or from HUSSAR_TEST_SEED; a failure is repeated by giving the printed seed.
inline std::mt19937& random_engine() {
  static std::mt19937 engine = [] {
    const char* given = std::getenv("HUSSAR_TEST_SEED");
    const uint32_t seed =
        given != nullptr ? static_cast<uint32_t>(std::strtoul(given, nullptr, 10)) : std::random_device{}();
    std::printf("HUSSAR_TEST_SEED=%u\n", seed);
    return std::mt19937(seed);
  }();
  return engine;
}

inline std::vector<float> random_floats(size_t count, float low = -1.0f, float high = 1.0f) {
  std::uniform_real_distribution<float> distribution(low, high);
  std::vector<float> values(count);
  for (float& value : values) value = distribution(random_engine());
  return values;
}

}  // namespace hussar::cpu
