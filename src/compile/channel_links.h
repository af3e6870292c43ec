// Chains from the output channels of one product to the input channels of others, along which channels may come in
// another order: nobody else sees which one it is.
#pragma once
#include <cstdint>
#include <vector>

#include "compile/prunable.h"

namespace hussar {

struct ChannelLink {
  size_t producer = 0;            // in PrunableModel::layers
  std::vector<size_t> consumers;  // the same
  // Constants in between with one element per channel: biases, batch normalizations.
  struct Vector {
    size_t index = 0;  // of the node, in the proto's nodes
    Node* node = nullptr;
    size_t input = 0;
  };
  std::vector<Vector> vectors;
};

// Convolution -> channel by channel -> convolution, and matrix product -> elementwise -> matrix product.
std::vector<ChannelLink> find_channel_links(PrunableModel& model);

// new channel i = old channel order[i]; the model computes the same. What changes is in PrunableModel::changed, too.
void reorder_channels(PrunableModel& model, const ChannelLink& link, const std::vector<int32_t>& order);

}  // namespace hussar
