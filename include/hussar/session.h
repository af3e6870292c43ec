// Session: runs a Plan.
//
//   auto plan = hussar::Plan::load("model.plan");
//   auto session = hussar::Session::create(*plan);
//   auto outputs = session->run({{"x", input}});   // Result<std::span<const Tensor>>, in the order of plan.outputs()
//
// A Session serves one thread at a time; sessions in different threads may share a Plan and run concurrently. run()
// allocates nothing once it has seen the shapes of its inputs, except in steps by reference code (`hussar inspect`
// counts them), in control flow, and for outputs whose shape only the data decides.
#pragma once
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <span>
#include <string_view>

#include "hussar/plan.h"
#include "hussar/status.h"
#include "hussar/tensor.h"

namespace hussar {
inline namespace api {

struct SessionOptions {
  int threads = 0;  // 0: as the plan was compiled for
};

// A tensor under the name that the model gives it. The name is read during the call only.
struct NamedTensor {
  std::string_view name;
  Tensor tensor;
};

class Session {
 public:
  static Result<Session> create(const Plan& plan, const SessionOptions& options = {});
  ~Session();
  Session(Session&& other) noexcept;
  Session& operator=(Session&& other) noexcept;

  // inputs: every input of the plan exactly once, in any order. The outputs, in the order of Plan::outputs(), view
  // memory of the session that stays valid until its next run; Tensor::clone() keeps one longer.
  // kUsage: wrong names, dtypes or shapes; the message says what the plan takes.
  Result<std::span<const Tensor>> run(std::span<const NamedTensor> inputs);
  Result<std::span<const Tensor>> run(std::initializer_list<NamedTensor> inputs) {
    return run(std::span<const NamedTensor>(inputs.begin(), inputs.size()));
  }

  int threads() const;
  // Bytes of working memory for the shapes of the latest run.
  std::size_t arena_bytes() const;

 private:
  struct State;
  explicit Session(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace api
}  // namespace hussar
