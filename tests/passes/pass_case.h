// Small graphs for the tests of passes: build one, run one pass on it, count operators, compare the values.
#pragma once
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.h"
#include "passes/pass.h"

namespace hussar {

class GraphCase {
 public:
  explicit GraphCase(unsigned seed = 1) : state_(seed) {}

  Graph graph;

  Value* input(const Dims& dims, DType dtype = DType::kFloat32);
  // Normally distributed elements.
  Value* weights(const Shape& shape, double mean = 0);
  Value* number(double value, DType dtype = DType::kFloat32);
  Value* constant(const Shape& shape, const std::vector<double>& values, DType dtype = DType::kFloat32);
  Value* integers(const Ints& values);
  Value* make(const std::string& op, std::vector<Value*> inputs, Attributes attributes = {});
  std::vector<Value*> make_many(const std::string& op, std::vector<Value*> inputs, size_t count,
                                Attributes attributes = {});
  Value* transpose(Value* x, const Ints& order);
  Value* reshape(Value* x, const Ints& shape) { return make("Reshape", {x, integers(shape)}); }
  void output(Value* value) { graph.outputs.push_back(value); }

  // Runs the pass (and shape inference before and after) and expects the same values as before on random inputs, whose
  // symbolic dimensions are 2, 3, 4, ... in the order of their names. Returns the rewrites it made.
  int run(std::string_view pass, double tolerance = 1e-5);
  int count(std::string_view op) const;

 private:
  double random();
  Tensor random_input(const Value& value);

  uint64_t state_;
};

// A GPU of Hopper, for which steps may compute in FP16 and in TF32.
Target hopper();

// Runs the pass for the target, and shape inference before and after. Returns the rewrites it made; -1 where something
// failed, which is a failure of the test.
int run_pass(Graph& graph, std::string_view pass, const Target& target, bool packed = false);

Attributes with(std::initializer_list<std::pair<const char*, Attribute>> list);

}  // namespace hussar
