// GraphRun: the state of one PlanGraph in one session, the main graph or a body of If, Loop or Scan.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/memory.h"
#include "graph/graph.h"
#include "ops/infer.h"
#include "ops/workspace.h"
#include "plan/kernel.h"
#include "plan/plan.h"
#include "runtime/device_constants.h"
#include "runtime/memory.h"
#include "runtime/placement.h"
#include "tactics/tactic.h"

namespace hussar {

struct StepObserver {
  std::function<void(const PlanStep&, double microseconds)> time;
  std::function<void(const std::string&, const Tensor&)> tensor;
  std::function<void(const PlanStep&, std::span<const Operand> outputs, ThreadPool::Lease& pool)> operands;
};

class GraphRun {
 public:
  // workspace: of the session, for reference evaluators. device: where steps of its kernels run; null: there is none.
  // Bodies run on the host.
  GraphRun(const Plan& plan, const PlanGraph& graph, const Target& target, Workspace& workspace,
           Device* device = nullptr, int device_index = 0)
      : plan_(plan),
        graph_(graph),
        target_(target),
        workspace_(workspace),
        device_(device),
        device_index_(device_index) {}
  // Resolves kernels and everything else that does not depend on shapes.
  Status create();
  // The outputs view memory that stays valid until the next run.
  Result<std::span<const Tensor>> run(std::span<const Tensor> inputs, ThreadPool::Lease& pool,
                                      const StepObserver* observer);
  // Checks the inputs against the plan; when their shapes are new, plans memory and prepares kernels. Reads no element.
  Status bind(std::span<const Tensor> inputs);

  // Runs what is recorded `count` times in a row, without copies from and to the host: milliseconds of one. Fails when
  // the host has steps of its own to do in a run, or before the second run with the same shapes.
  Result<double> time_recordings(int count);

  size_t arena_bytes() const { return arena_bytes_; }
  size_t device_arena_bytes() const { return device_arena_bytes_; }
  size_t arena_lower_bound() const { return lower_bound(blocks_); }

 private:
  struct Slot {
    Shape shape;
    bool bound = false;  // shape and data are set when inputs are bound, before any step runs
    int64_t pitch = 0;
    std::byte* data = nullptr;
    int32_t block = -1;  // of the arena
    std::byte* device_data = nullptr;
    int32_t device_block = -1;
    GrowingBuffer heap;  // Storage::kHeap
  };
  // Of an output that nobody takes: evaluators may write it all the same.
  struct Spare {
    Tensor tensor;
    GrowingBuffer memory;
  };
  struct StepRun {
    const Kernel* kernel = nullptr;  // null: the reference evaluator
    Node node;                       // for the reference evaluator and for shape inference at run time
    std::vector<Operand> inputs, outputs;
    std::byte* state = nullptr;
    int threads = 1;           // that the kernel may use: tuning may have found fewer to be faster
    bool is_static = false;    // all shapes are known once inputs are bound
    bool is_view = false;      // nothing to do: the output is an alias of the input
    bool reads_shape = false;  // static, but its data have a say in the shape: checked in every run
    bool is_settled = false;   // depends on shapes only: done by the first run after binding
    bool is_inferred = false;  // in a run, with inputs of which inference reads what `seen` holds
    std::vector<std::byte> seen;
    std::map<std::string, std::unique_ptr<GraphRun>, std::less<>> bodies;
    // Of reference evaluators.
    bool sizes_outputs = false;  // the evaluator does, not inference
    std::vector<Spare> spares;   // per output; empty when all outputs are taken
    std::vector<Tensor> arguments, results;
    std::vector<GrowingBuffer*> output_memory;
  };

  Status create_step(size_t index);
  Status create_bodies(StepRun& step, const PlanStep& plan_step);
  Status place_steps();
  void plan_lifetimes();
  void split_lifetimes();
  Status bind_symbols(std::span<const Tensor> inputs);
  Status bind_shapes();
  Status bind_memory();
  Status bind_device_memory();
  Status reserve_device_scratch(size_t bytes);
  Result<std::span<const std::byte>> code_of(const PlanStep& plan_step) const;
  Status prepare_step(size_t index);
  Status copy_sides(std::span<const SideCopy> copies, bool repeats_settled);
  Status run_steps(ThreadPool::Lease& pool, const StepObserver* observer, bool repeats_settled);
  // Runs the segment that begins there, if it is recorded or can be: the index of its last step, else nothing.
  Result<std::optional<size_t>> run_segment(size_t first, ThreadPool::Lease& pool);
  Status prepare_steps();
  // What inference may know of a step's inputs: shapes, and the elements of constants or, in a run, of everything
  // plain. `tensors` keeps what the infos refer to.
  std::vector<ValueInfo> input_infos(const StepRun& step, const PlanStep& plan_step, bool in_run,
                                     std::vector<Tensor>& tensors) const;
  // That the outputs of a step are what its operator makes of its inputs: kernels and evaluators trust it. False when
  // that depends on data that only a run has.
  Result<bool> check_shapes(const StepRun& step, const PlanStep& plan_step) const;
  Status check_overlap(const PlanStep& plan_step) const;
  void point_operands(StepRun& step, const PlanStep& plan_step);
  Operand operand(int32_t value, Place place = Place::kHost) const;
  Place place_of(const StepRun& step) const { return step.kernel == nullptr ? Place::kHost : step.kernel->place; }
  Status run_step(size_t index, ThreadPool::Lease& pool);
  Status run_dynamic(StepRun& step, const PlanStep& plan_step, ThreadPool::Lease& pool);
  Status run_reference(StepRun& step, const PlanStep& plan_step, ThreadPool::Lease& pool);
  // Whether inference in a run may read the elements of the value.
  bool is_read(int32_t value) const;
  void note_inputs(const StepRun& step, const PlanStep& plan_step);
  Status infer_outputs(StepRun& step, const PlanStep& plan_step);
  // The same when its inputs are not those of the last run.
  Status follow_inputs(StepRun& step, const PlanStep& plan_step);
  void point_tensors(StepRun& step, const PlanStep& plan_step, bool is_apart);
  Status observe(size_t index, const StepObserver& observer, ThreadPool::Lease& pool) const;
  Result<Tensor> read_device(int32_t value) const;
  std::string describe_inputs() const;

  const Plan& plan_;
  const PlanGraph& graph_;
  Target target_;
  Workspace& workspace_;
  Device* device_;
  int device_index_;
  Placement placement_;
  std::shared_ptr<const DeviceConstants> device_constants_;
  std::vector<Block> device_blocks_;
  DeviceMemory device_arena_, device_scratch_;
  size_t device_arena_bytes_ = 0, device_scratch_bytes_ = 0;
  std::vector<int> recordings_;  // per segment; -1: not recorded yet
  std::vector<Slot> slots_;
  std::vector<StepRun> steps_;
  std::vector<Block> blocks_;
  PackMemory pack_memory_;
  std::map<std::string, int64_t, std::less<>> symbols_;
  std::vector<Shape> bound_shapes_;  // of the inputs, for which everything below is prepared
  bool is_bound_ = false;
  bool is_settled_ = false;  // the settled steps have run for the bound shapes
  GrowingBuffer arena_, states_, scratch_;
  size_t arena_bytes_ = 0, scratch_bytes_ = 0;
  std::vector<Tensor> outputs_;
  std::vector<std::byte> noted_;  // what inference could read of the inputs of the step that is running
};

// A dense plain tensor with the contents of an operand of any layout.
Tensor to_plain(const Operand& operand);

}  // namespace hussar
