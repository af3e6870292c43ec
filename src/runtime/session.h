// Session: obeys a plan. It binds shapes, plans memory, and runs the steps.
//
// A Session serves one thread at a time; any number of Sessions may share one Plan and run concurrently. run()
// allocates nothing once the shapes of its inputs have been seen, except in some steps by reference code and where
// shapes that the data decide change (docs/decisions.md). Steps that depend on nothing but shapes run once per shapes.
#pragma once
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "hussar/status.h"
#include "plan/kernel.h"
#include "plan/plan.h"

namespace hussar {

struct SessionOptions {
  int threads = 0;  // 0: as the plan was built for
  int device = 0;   // of plans for GPUs: which
};

struct NamedTensor {
  std::string_view name;
  Tensor tensor;
};

// One executed step, for profiles.
struct StepTime {
  const PlanStep* step;
  double microseconds;
};

class Session {
 public:
  static Result<std::unique_ptr<Session>> create(std::shared_ptr<const Plan> plan, const SessionOptions& options = {});
  ~Session();

  // Inputs in any order, matched by name: every plan input exactly once. The outputs, in plan order, view memory of the
  // session that stays valid until its next run.
  Result<std::span<const Tensor>> run(std::span<const NamedTensor> inputs);
  // The same with the inputs in plan order.
  Result<std::span<const Tensor>> run_in_order(std::span<const Tensor> inputs);

  // Does what the first run with inputs of these shapes (in plan order) would do before its first step: checks them and
  // plans memory.
  Status prepare(std::span<const Shape> shapes);

  // On a device: the mean milliseconds of `count` runs in a row without copies of inputs and outputs. After two runs
  // with the same shapes, and only where no step runs on the host.
  Result<double> time_on_device(int count);
  // Bytes of the arena on the device, for the shapes bound last; 0: there is none.
  size_t device_arena_bytes() const;

  // Bytes of the arena for the shapes bound last.
  size_t arena_bytes() const;
  // A lower bound of the arena: the largest sum of sizes alive at one step.
  size_t arena_lower_bound() const;
  // Called after each step of the main graph with its time; empty to stop.
  void set_profiler(std::function<void(const StepTime&)> profiler);
  // Called with every tensor a step has produced, as dense plain tensors; for comparing layer by layer.
  void set_observer(std::function<void(const std::string& name, const Tensor&)> observer);
  // Called after each step of the main graph with where its results are, in the order of PlanStep::outputs: nothing is
  // copied, and the memory is used again by later steps. It may run regions of its own on the pool.
  using OperandObserver =
      std::function<void(const PlanStep&, std::span<const Operand> outputs, ThreadPool::Lease& pool)>;
  void set_operand_observer(OperandObserver observer);
  const Plan& plan() const;
  int threads() const;

 private:
  Session();
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace hussar
