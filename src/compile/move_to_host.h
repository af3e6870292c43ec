// A graph that was made for a device, on its way to the CPU.
#pragma once
#include "graph/graph.h"
#include "hussar/status.h"
#include "tactics/tactic.h"

namespace hussar {

// Undoes what only devices have kernels for: values that lie in memory as FP16 become FP32, with conversions at the
// inputs and outputs of the model that are FP16 themselves (weights keep the precision that they have), and nodes that
// no kernel of the target takes in their layout get plain data.
Status move_to_host(Graph& graph, const Target& target);
// The last of these: reference code knows no layouts.
Status make_reference_steps_plain(Graph& graph, const Target& target);

}  // namespace hussar
