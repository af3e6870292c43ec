// Attention masks that do nothing but hide padding, found by trying them.
#pragma once
#include <optional>
#include <string>

#include "graph/graph.h"

namespace hussar {

// What tells tokens from padding: a value [batch][length] that is not 0 where there are tokens; inverted: that is 0
// there.
struct PaddingMask {
  Value* source = nullptr;
  bool inverted = false;
};

// What `mask`, which is added to the scores of attention in sequences of [batch][length], is computed from; for any
// zeros and ones in it, every query of a sequence sees exactly its tokens. nullopt, and why not in `reason`, where
// there is no such value.
std::optional<PaddingMask> find_padding_mask(Value* mask, const Dim& batch, const Dim& length, std::string& reason);

}  // namespace hussar
