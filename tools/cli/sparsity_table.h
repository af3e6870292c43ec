// What became of 2:4 weights in a plan: the products that have them, and why kernels for sparse weights were chosen or
// not.
#pragma once
#include <string>
#include <vector>

#include "plan/plan.h"
#include "tools/cli/json.h"

namespace hussar::cli {

struct SparseRegion {
  std::string name, chosen, reason;
  std::string code;  // the reason as one word for programs
  // Microseconds of the fastest rival of each kind as measured, else as predicted; 0: there is none.
  double dense = 0, sparse = 0;
  bool is_measured = false;
  bool is_sparse = false;  // what was chosen
  double bytes_saved = 0;  // of the weights, where that is so
};
// Of all steps, also those in bodies, that asked for a kernel for sparse weights. refused_dense: how many others did,
// whose weights are not 2:4.
std::vector<SparseRegion> sparse_regions(const PlanGraph& graph, int& refused_dense);

std::string sparsity_text(const std::vector<SparseRegion>& regions, int refused_dense);
Json sparsity_json(const std::vector<SparseRegion>& regions, int refused_dense);

}  // namespace hussar::cli
