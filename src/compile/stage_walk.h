// StageWalk: two forms of a model, as it is and as it becomes, run side by side over samples from product to product.
//
// A stage ends where a product reads its input. Both forms run up to there, every sample, before any goes on; of the
// values only those that later nodes read are kept. So each node runs once per form and sample, whatever the number of
// stages.
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "hussar/status.h"
#include "hussar/tensor.h"

namespace hussar {

class StageWalk {
 public:
  // The graph is sorted and its shapes are fixed; `products` are nodes of it. Runs hold its inputs in order.
  StageWalk(const Graph& graph, std::vector<const Node*> products, int threads);

  // The most bytes that the values of one run take between two stages, in both forms.
  double bytes_per_run() const;
  void start(std::vector<std::vector<Tensor>> runs);

  // Runs up to the next products, those that read the same value; none: all have been met.
  Result<std::vector<const Node*>> next();
  // What they read.
  const Tensor& before(size_t run) const { return values_[0][run].at(input_); }
  const Tensor& after(size_t run) const { return values_[1][run].at(input_); }
  // Any value that both forms have and that later nodes read: form 0 as it is, 1 as it becomes. nullptr: not (yet)
  // made.
  const Tensor* value(int form, size_t run, const std::string& name) const;
  // Whether nothing has been changed so far: both are the same tensors.
  bool are_alike() const { return !is_changed_; }
  // In the form that the model becomes.
  void set_constant(const Node* node, size_t input, Tensor tensor);

  // Runs the rest. The outputs of the model, form 0 as it is and 1 as it becomes.
  Status finish();
  std::vector<Tensor> outputs(int form, size_t run) const;

 private:
  using Values = std::map<std::string, Tensor, std::less<>>;

  Status run_until(size_t end);
  Status run_form(int form, size_t end);
  Graph part(const Graph& graph, size_t end) const;
  void forget(size_t end);

  std::array<Graph, 2> forms_;
  std::map<const Node*, size_t> index_;  // of nodes of the given graph
  std::map<std::string, size_t> last_;   // the last node that reads a value; behind all for outputs
  std::vector<std::vector<const Node*>> stages_;
  std::vector<size_t> ends_;  // of each stage: its first product
  size_t stage_ = 0, begin_ = 0;
  int threads_;
  bool is_changed_ = false;
  std::string input_;
  std::array<std::vector<Values>, 2> values_;  // by run
};

}  // namespace hussar
