// Replacing weights by packed ones.
#include "tactics/tactic.h"

namespace hussar {

void Packing::replace(size_t index, Tensor tensor) {
  const Value* old = node.input(index);
  Value* packed = graph.add_constant(graph.unique_name(old != nullptr ? old->name : node.name), std::move(tensor));
  graph.set_input(&node, index, packed);
}

}  // namespace hussar
