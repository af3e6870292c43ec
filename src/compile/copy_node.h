// A node in a graph of its own, so that packing its weights changes nothing else.
#pragma once
#include <vector>

#include "plan/plan.h"
#include "tactics/choose.h"

namespace hussar {

struct NodeCopy {
  Graph graph;
  Node* node = nullptr;
};
// Constants share their bytes.
NodeCopy copy_node(const Node& node);

// The copy in the form that the rival's kernel wants. What is left to be done, of which code is most, is added to
// `jobs`.
Status pack_copy(NodeCopy& copy, const Rival& rival, const Target& target, std::vector<Packing::Job>& jobs);

// A deep copy.
PlanGraph copy_graph(const PlanGraph& graph);

}  // namespace hussar
