// ChannelRange: the least and the greatest element of every channel of a tensor, whatever their order.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace hussar {

struct ChannelRange {
  std::vector<float> min, max;  // empty when nothing was seen

  // Of elements [first, first + values.size()) of rows of so many channels.
  void add(std::span<const float> values, int64_t first, int64_t channels);
  void merge(const ChannelRange& other);
};

}  // namespace hussar
