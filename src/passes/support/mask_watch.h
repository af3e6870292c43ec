// That passes leave 2:4 weights 2:4: folding, smoothing, transposing and quantizing keep zeros where they are.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "graph/graph.h"
#include "hussar/status.h"

namespace hussar {

class MaskWatch {
 public:
  explicit MaskWatch(const Graph& graph) { look(graph); }
  // Fails, naming the node, where weights were 2:4 before the pass and are not behind it, or fewer output channels
  // share their masks. Looks at new weights only. Integers that the model itself has may have zero points: for these
  // nothing is promised.
  Status check(const Graph& graph, std::string_view pass);

 private:
  void look(const Graph& graph);

  // mask_width() of weights that are in the graph now, and by the name of a product; of several with one name the
  // least.
  std::map<std::pair<const Value*, const void*>, int64_t> of_weights_;
  std::map<std::string, int64_t, std::less<>> of_products_;
};

}  // namespace hussar
