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
#include "runtime/session.h"
#include "tactics/tactic.h"

namespace hussar {

// GrowingBuffer on a device.
class DeviceBuffer {
 public:
  // Waits before it gives memory back that work in flight may use.
  Result<std::byte*> reserve(Device& device, size_t bytes);
  std::byte* data() const { return memory_.data(); }

 private:
  DeviceMemory memory_;
  size_t capacity_ = 0;
};

// The same of pinned memory of the host.
class PinnedBuffer {
 public:
  Result<std::byte*> reserve(Device& device, size_t bytes);
  std::byte* data() const { return memory_.get(); }

 private:
  std::shared_ptr<std::byte> memory_;
  size_t capacity_ = 0;
};

struct StepObserver {
  std::function<void(const PlanStep&, double microseconds)> time;
  std::function<void(const std::string&, const Tensor&)> tensor;
  std::function<void(const PlanStep&, std::span<const Operand> outputs, ThreadPool::Lease& pool)> operands;
};

// Where the tensors of one run lie.
struct Places {
  std::span<const Place> inputs;
  std::span<const OutputPlace> outputs;
  bool waits = true;  // until all is done; else the run goes between what `stream` has been given and will be
  void* stream = nullptr;
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
  ~GraphRun();
  GraphRun(const GraphRun&) = delete;
  GraphRun& operator=(const GraphRun&) = delete;
  // Resolves kernels and everything else that does not depend on shapes.
  Status create();
  // The outputs view memory that stays valid until the next run. places: null, where all tensors are of the host.
  Result<std::span<const Tensor>> run(std::span<const Tensor> inputs, ThreadPool::Lease& pool,
                                      const StepObserver* observer, const Places* places = nullptr);
  // Checks the inputs against the plan; when their shapes are new, plans memory and prepares kernels. Reads no element.
  Status bind(std::span<const Tensor> inputs, const Places* places = nullptr);

  // Runs what is recorded `count` times in a row, without copies from and to the host: milliseconds of one. Fails when
  // the host has steps of its own to do in a run, or before the second run with the same shapes.
  Result<double> time_recordings(int count);

  size_t arena_bytes() const { return bound_.packed_bytes + bound_.pinned_bytes + bound_.settled_bytes; }
  size_t device_arena_bytes() const { return bound_.device_packed_bytes + bound_.device_settled_bytes; }
  size_t arena_lower_bound() const { return lower_bound(bound_.blocks) + bound_.pinned_bytes + bound_.settled_bytes; }

 private:
  struct SlotPlace {
    Shape shape;
    bool bound = false;  // shape and data are set when inputs are bound, before any step runs
    int64_t pitch = 0;
    std::byte* data = nullptr;
    int32_t block = -1;  // of the arena
    std::byte* device_data = nullptr;
    int32_t device_block = -1;
    const std::byte* given = nullptr;  // Storage::kInput: where the caller's tensor lies on the device
  };
  struct Slot : SlotPlace {
    GrowingBuffer heap;  // Storage::kHeap, and Storage::kInput when the host reads what lies on the device
  };
  // An output that nobody takes: evaluators may write it all the same. kUndefined: nothing is known of it.
  struct Spare {
    DType dtype = DType::kUndefined;
    Shape shape;
  };
  // Of a step, what depends on the shapes of the inputs.
  struct StepBinding {
    std::vector<Operand> inputs, outputs;
    std::byte* state = nullptr;
    RowCount row_count;
    bool reads_shape = false;  // static, but its data have a say in the shape: checked in every run
    bool is_inferred = false;  // in a run, with inputs of which inference reads what `seen` holds
    std::vector<std::byte> seen;
    std::vector<Spare> spares;  // per output; empty when all outputs are taken
  };
  struct StepRun : StepBinding {
    const Kernel* kernel = nullptr;  // null: the reference evaluator
    Node node;                       // for the reference evaluator and for shape inference at run time
    size_t state_offset = 0;
    int threads = 1;             // that the kernel may use: tuning may have found fewer to be faster
    bool is_static = false;      // all shapes are known once inputs are bound
    bool is_view = false;        // nothing to do: the output is an alias of the input
    bool is_settled = false;     // depends on shapes only: done by the first run after binding
    int32_t scratch_block = -1;  // of the arena: working memory of a kernel on the host that is prepared when bound
    std::map<std::string, std::unique_ptr<GraphRun>, std::less<>> bodies;
    // Of reference evaluators.
    bool sizes_outputs = false;  // the evaluator does, not inference
    std::vector<GrowingBuffer> spare_memory;
    // Pointed in every run: slots are those of the binding in use.
    std::vector<Tensor> arguments, results;
    std::vector<GrowingBuffer*> output_memory;
  };

  // Where values with Storage::kArena are.
  enum class Home : uint8_t {
    kArena,
    kPinned,   // outputs that come from the device: there in its arena, on the host apart
    kSettled,  // what settled steps leave for others: apart, as other shapes must not overwrite it
  };

  // All that was prepared for inputs of certain shapes. The arenas are shared.
  struct Binding {
    std::vector<Shape> shapes;  // of the inputs
    bool is_bound = false;      // everything below is prepared for them
    bool is_settled = false;    // the settled steps have run
    std::vector<Slot> slots;
    std::vector<StepBinding> steps;  // while another binding is in use
    std::vector<Block> blocks, device_blocks;
    GrowingBuffer states, settled;
    DeviceBuffer device_settled;
    std::vector<int> recordings;  // per segment; -1: not recorded yet
    size_t packed_bytes = 0, pinned_bytes = 0, settled_bytes = 0;
    size_t device_packed_bytes = 0, device_settled_bytes = 0, device_scratch_bytes = 0;
    // Where they were when it was prepared.
    const std::byte *arena = nullptr, *pinned = nullptr, *device_arena = nullptr, *device_scratch = nullptr;
    uint64_t last_use = 0;
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
  size_t bytes_of(size_t value) const {
    return static_cast<size_t>(bound_.slots[value].shape.elements()) * dtype_size(graph_.values[value].dtype);
  }
  Status reserve_memory();
  void point_memory();
  void point_device_memory();
  // Makes the binding of these shapes the one in use, where there is one; else one that is to be prepared.
  void select_binding(std::span<const Tensor> inputs);
  Binding new_binding() const;
  void exchange(Binding& parked);
  // Whether memory that it was prepared with has moved since; then what was recorded is dropped.
  bool has_moved();
  void drop_recordings();
  Result<std::span<const std::byte>> code_of(const PlanStep& plan_step) const;
  Status prepare_step(size_t index);
  Status copy_sides(std::span<const SideCopy> copies, bool repeats_settled);
  Status fetch_inputs();
  Status give_outputs(const Places* places);
  Result<std::byte*> give_output(size_t index, const OutputPlace& wanted);
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
  DeviceBuffer device_arena_, device_scratch_;
  std::vector<StepRun> steps_;
  std::vector<Home> homes_;
  std::vector<int32_t> passing_heaps_;  // values with Storage::kHeap that every run computes
  size_t state_bytes_ = 0;
  // The binding in use, and those of other shapes that came before.
  Binding bound_;
  std::vector<Binding> parked_;
  size_t most_parked_ = 7;
  uint64_t uses_ = 0;
  PackMemory pack_memory_;
  std::map<std::string, int64_t, std::less<>> symbols_;
  GrowingBuffer arena_, scratch_;  // scratch_: of steps that are prepared in every run
  PinnedBuffer pinned_;
  std::vector<Tensor> outputs_;
  std::vector<DeviceBuffer> device_outputs_;  // of outputs that are on the host and wanted on the device
  std::vector<std::byte> noted_;              // what inference could read of the inputs of the step that is running
};

// A dense plain tensor with the contents of an operand of any layout.
Tensor to_plain(const Operand& operand);

}  // namespace hussar
