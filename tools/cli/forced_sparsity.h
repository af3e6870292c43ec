// A model whose weights were overwritten by 2:4x64 ones, to see what sparse kernels could gain on it: --sparsity force.
#pragma once
#include <string>

#include "compile/prune_model.h"
#include "hussar/status.h"
#include "plan/plan.h"
#include "plan/shapes.h"

namespace hussar::cli {

class ForcedSparsity {
 public:
  ForcedSparsity() = default;
  ~ForcedSparsity();
  ForcedSparsity(const ForcedSparsity&) = delete;
  ForcedSparsity& operator=(const ForcedSparsity&) = delete;

  // Writes the model, pruned by magnitude, beside `output`, and puts its path in the place of `model`. It goes with the
  // object.
  Status apply(std::string& model, const std::string& output, ModelPruneOptions options);
  // The same with the pattern 2:4x64, with a warning.
  Status force(std::string& model, const std::string& output, const NamedShapes& shapes);
  // Marks the plan.
  void mark(Plan& plan) const;

 private:
  std::string path_, original_, what_;
};

}  // namespace hussar::cli
