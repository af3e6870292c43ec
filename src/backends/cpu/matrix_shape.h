// What the tactics that pack the right side of a matrix product share.
#pragma once
#include "tactics/tactic.h"

namespace hussar::cpu {

// Packed weights no longer tell their size: it is kept in the attributes hussar_k and hussar_n.
void remember_matrix_shape(Node& node, int64_t k, int64_t n);
// Undoes a `pack` that permutes an FP32 matrix. A node that was not packed stays as it is.
Status unpack_matrix(Packing& packing, Status (*pack)(Packing&), Decode decode = decode_floats);

}  // namespace hussar::cpu
