// The room `api` implements the public headers (include/hussar) over compile, plan and runtime. Public classes have the
// names of inner ones (Plan, Session, ...) and live in the inline namespace hussar::api, so that their symbols differ.
// This header gives the inner ones a second name before the public headers make the short one ambiguous; files of this
// room include it first.
#pragma once
#include "compile/compile.h"
#include "compile/self_check.h"
#include "plan/plan.h"
#include "runtime/session.h"

namespace hussar::core {
using CompileOptions = hussar::CompileOptions;
using NamedTensor = hussar::NamedTensor;
using OutputPlace = hussar::OutputPlace;
using Plan = hussar::Plan;
using PlanValue = hussar::PlanValue;
using Session = hussar::Session;
using SessionOptions = hussar::SessionOptions;
}  // namespace hussar::core

#include "hussar/compile.h"
#include "hussar/plan.h"
#include "hussar/session.h"

namespace hussar {
inline namespace api {

struct Plan::State {
  std::shared_ptr<const core::Plan> plan;
  std::vector<TensorInfo> inputs, outputs;
};

Plan make_plan(std::shared_ptr<const core::Plan> plan);

}  // namespace api

namespace core {

// Runs a function and turns what it throws into an Error: nothing may be thrown across the library's boundary.
template <class Function>
auto guarded(Function&& function) -> decltype(function()) {
  try {
    return function();
  } catch (const std::bad_alloc&) {
    return tl::unexpected(Error{ErrorCode::kRunFailed, "out of memory"});
  } catch (const std::exception& error) {
    return tl::unexpected(Error{ErrorCode::kRunFailed, std::string("internal error: ") + error.what()});
  }
}

}  // namespace core
}  // namespace hussar
