// Everything that is wrong with the nodes of a graph, in one go.
#pragma once
#include <string>
#include <unordered_set>
#include <vector>

#include "ops/infer.h"

namespace hussar {

// Nodes of a graph that are malformed or unsupported.
struct Refusals {
  size_t count = 0;
  std::vector<std::string> messages;  // of the first of them
  std::vector<std::string> ops;       // of each

  void add(const Node& node, std::string message);
  // Those after the first `kept` were none.
  void forget_after(size_t kept);
};
// The lines of what may be a long list from a hostile file: the first 1000 of `count`, each indented on a line of its
// own and cut when it is long.
std::string list_lines(const std::vector<std::string>& lines, size_t count);

// infer_graph that also says which nodes failed.
Result<ElementFacts> infer_graph(Graph& graph, Refusals* refusals);
// What is wrong with a graph beside what gives the `refused` values (of its bodies, too).
Refusals examine_graph(Graph& graph, std::unordered_set<const Value*> refused);

}  // namespace hussar
