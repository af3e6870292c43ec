// Passes must not change what a model computes: its outputs after a pass, by reference code, against those before all.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "compile/spelling.h"
#include "graph/graph.h"
#include "hussar/status.h"
#include "hussar/tensor.h"

namespace hussar {

class PassVerifier {
 public:
  // Evaluates the graph as it is now, on made-up inputs. `shapes` as for choose_shapes.
  static Result<PassVerifier> create(const Graph& graph, const NamedShapes& shapes, double tolerance);
  // The largest Difference::error() of all outputs now that `pass` has changed the graph or a body in it; fails with
  // kAccuracy beyond the tolerance.
  Result<double> measure(const Graph& graph, std::string_view pass) const;

 private:
  PassVerifier() = default;

  double tolerance_ = 0;
  std::vector<Tensor> inputs_, expected_;
};

}  // namespace hussar
