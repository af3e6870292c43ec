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
  bool with_largest = false;
  std::vector<float> rows;
  std::vector<uint8_t> halves;    // of every row: to which half of the samples it belongs, 0 or 1
  std::vector<float> stands_for;  // of every row: for how many of its run

  int64_t count() const { return static_cast<int64_t>(halves.size()); }
  int64_t row_size() const { return groups * elements; }
  const float* row(int64_t index) const { return rows.data() + index * row_size(); }
};

// The products of the graph that a session's plan was frozen from, without rows yet: at most 512 of each, at most 64 Ki
// floats of one and 16 Mi of all. Products that have no INT8 form are left out. The graph must outlive the samples.
//
// `with_largest` brings two rows more of each run of a matrix product: that of the largest element, and one of the next
// sixteenth of all. Few rows (attention's favourite tokens) have elements ten times as large as all others, and it is
// theirs that a range clips.
std::vector<ProductSamples> sampled_products(const Graph& graph, bool with_largest = false);

// What the products read in one run: rows of each of them.
struct RunRows {
  struct Rows {
    std::vector<float> rows, stands_for;
  };
  std::vector<Rows> of;  // the products in their order
  std::string failure;
};

// Picks rows of so many runs. Which ones follows from the hashes of the samples and the names of their outputs.
class ProductSampler {
 public:
  ProductSampler(std::vector<ProductSamples> products, size_t runs);
  ProductSampler(const Graph& graph, size_t runs) : ProductSampler(sampled_products(graph, true), runs) {}

  // From a run of others: its inputs, and every value that a step gives. Several runs may do so at a time.
  void pick(const PlanGraph& graph, const DataRun& data, RunRows& rows) const;
  void pick(const Operand& x, const std::string& value, uint64_t hash, RunRows& rows) const;
  // The rows of the next run.
  void append(const RunRows& rows);

  // All of these. Takes the session's observer.
  Status run(Session& session, const DataRun& data);
  const std::vector<ProductSamples>& products() const { return products_; }
  std::vector<ProductSamples> take() { return std::move(products_); }

 private:
  void pick_rows(const Operand& x, size_t product, uint64_t hash, RunRows& rows) const;

  std::vector<ProductSamples> products_;
  std::multimap<std::string, size_t> by_input_;
  size_t runs_;
  uint8_t half_ = 1;
};

}  // namespace hussar
