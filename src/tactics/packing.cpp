// Replacing weights by packed ones. Inference still needs the shape that they had: the node remembers it.
#include "tactics/tactic.h"

namespace hussar {

void Packing::replace(size_t index, Tensor tensor) {
  const Value* old = node.input(index);
  if (old != nullptr && old->is_constant()) {
    const Shape& shape = old->constant->shape();
    node.attributes.set("hussar_packed_" + std::to_string(index), Ints(shape.begin(), shape.end()));
  }
  Value* packed = graph.add_constant(graph.unique_name(old != nullptr ? old->name : node.name), std::move(tensor));
  graph.set_input(&node, index, packed);
}

}  // namespace hussar
