// The size of packed matrices.
#include "backends/cpu/matrix_shape.h"

namespace hussar::cpu {

void remember_matrix_shape(Node& node, int64_t k, int64_t n) {
  node.attributes.set("hussar_k", k);
  node.attributes.set("hussar_n", n);
}

Status unpack_matrix(Packing& packing, Status (*pack)(Packing&), Decode decode) {
  Attributes& attributes = packing.node.attributes;
  if (!attributes.has("hussar_k")) return {};
  const int64_t k = attributes.get_int("hussar_k", 0), n = attributes.get_int("hussar_n", 0);
  attributes.erase("hussar_k");
  attributes.erase("hussar_n");
  const bool transposed = attributes.get_int("transB", 0) != 0;
  return unpack_permuted(packing, transposed ? Shape{n, k} : Shape{k, n}, pack, decode);
}

}  // namespace hussar::cpu
