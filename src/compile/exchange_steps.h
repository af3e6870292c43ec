// StepExchange: plans that differ from a frozen one in the kernels of few steps, and share its constants.
//
// Freezing packs every weight of a model; here only those of the steps in question are packed, on all cores, and what
// comes out as it lies there already is not stored again. Such a plan is for measuring.
#pragma once
#include "compile/freeze.h"
#include "plan/plan.h"
#include "tactics/choose.h"

namespace hussar {

class StepExchange {
 public:
  // `graph` as it was before `base` was frozen, which `record` tells. All outlive this and the plans that it makes.
  StepExchange(const Graph& graph, const FreezeRecord& record, const Plan& base)
      : graph_(graph), record_(record), base_(base), end_(base.constants.size()) {}

  Plan unchanged() const { return copy_of(base_); }
  // `plan`, a plan of this, with these nodes in the hands of a rival. Fails where the rival wants more than another
  // kernel for the same values. The constants that it adds lie there until forget_last().
  Result<Plan> exchange(const Plan& plan, const std::vector<size_t>& nodes, const Rival& rival, const Target& target);
  // The last plan is not used any more, nor is a session of it.
  void forget_last() { end_ = before_last_; }

 private:
  Plan copy_of(const Plan& plan) const;
  Status add_constant(Plan& plan, const Value& value, int32_t former, int32_t& index);

  const Graph& graph_;
  const FreezeRecord& record_;
  const Plan& base_;
  size_t end_, before_last_ = 0;  // of what is used of the pages
};

}  // namespace hussar
