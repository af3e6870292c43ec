// ProductSamples: what products with constant weights read at some of their outputs. INT8 is judged by what it makes of
// these.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "compile/calibration_data.h"
#include "graph/graph.h"
#include "ops/product_weights.h"
#include "runtime/session.h"

namespace hussar {

// Of one product. A row is what one output position reads: [group][element], in the order of the weights, zeros where a
// window reaches into the padding.
struct ProductSamples {
  const Node* node = nullptr;
  std::string input;  // the value that is counted: not a copy of it in another layout
  int64_t groups = 1, elements = 0;
  int64_t most_rows = 0;  // but at least one of each run
  std::vector<float> rows;
  std::vector<uint8_t> halves;  // of every row: to which half of the samples it belongs, 0 or 1

  int64_t count() const { return static_cast<int64_t>(halves.size()); }
  int64_t row_size() const { return groups * elements; }
  const float* row(int64_t index) const { return rows.data() + index * row_size(); }
};

// The products of the graph that a session's plan was frozen from, without rows yet: at most 512 of each, at most 64 Ki
// floats of one and 16 Mi of all. Products that have no INT8 form are left out. The graph must outlive the samples.
std::vector<ProductSamples> sampled_products(const Graph& graph);

// Runs samples and picks rows. Which ones follows from the hashes of the samples and the names of their outputs.
class ProductSampler {
 public:
  ProductSampler(std::vector<ProductSamples> products, size_t runs);
  ProductSampler(const Graph& graph, size_t runs) : ProductSampler(sampled_products(graph), runs) {}

  // Takes the session's observer.
  Status run(Session& session, const DataRun& data);
  const std::vector<ProductSamples>& products() const { return products_; }
  std::vector<ProductSamples> take() { return std::move(products_); }

 private:
  void take(const Operand& x, const std::string& value);
  void take_rows(const Operand& x, ProductSamples& product);

  std::vector<ProductSamples> products_;
  std::multimap<std::string, size_t> by_input_;
  size_t runs_;
  uint64_t hash_ = 0;  // of the run
  uint8_t half_ = 1;
  std::string failure_;
};

}  // namespace hussar
