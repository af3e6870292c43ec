// Which part of a graph treats the tokens of a batch one by one, so that their rows may stand in any order.
#pragma once
#include <functional>
#include <set>
#include <vector>

#include "graph/graph.h"

namespace hussar {

// Dimensions in front that count the tokens of [batch][length]: 2, or 1 where a value has them in one dimension; 0: the
// value has no row for each token.
int row_axes(const Value* value, const Dim& batch, const Dim& length);

// Rows that are in another order, and the nodes between them.
struct TokenRegion {
  std::set<Value*> values;
  std::set<const Node*> nodes;
  // The inputs of a node that have a row for each token, where it makes each row of its outputs of the same row of
  // these; else nothing.
  std::function<std::vector<size_t>(const Node&)> row_inputs;

  bool contains(const Value* value) const { return values.count(const_cast<Value*>(value)) > 0; }
  bool contains(const Node* node) const { return nodes.count(node) > 0; }
};

// All that can be reached from what `attentions` read and write. They themselves are part of it; `fixed` nodes are not.
TokenRegion find_token_region(const std::vector<Node*>& attentions, const std::set<const Node*>& fixed,
                              const Dim& batch, const Dim& length);

}  // namespace hussar
