// Executing the steps of a plan graph.
#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "ops/evaluate.h"
#include "runtime/graph_run.h"

namespace hussar {

Tensor to_plain(const Operand& operand) {
  Tensor tensor(operand.dtype, operand.shape);
  size_t size = dtype_size(operand.dtype);
  if (operand.layout == Layout::kPlain) {
    if (tensor.bytes() > 0) std::memcpy(tensor.raw(), operand.data, tensor.bytes());
    return tensor;
  }
  int64_t batch = operand.shape[0], channels = operand.shape[1];
  int64_t pixels = operand.shape.elements(2, operand.shape.rank());
  for (int64_t n = 0; n < batch; ++n) {
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t p = 0; p < pixels; ++p) {
        std::memcpy(tensor.raw() + static_cast<size_t>((n * channels + c) * pixels + p) * size,
                    operand.data + static_cast<size_t>((n * pixels + p) * operand.pitch + c) * size, size);
      }
    }
  }
  return tensor;
}

Status GraphRun::observe(size_t index, const StepObserver& observer, ThreadPool::Lease& pool) const {
  const PlanStep& plan_step = graph_.steps[index];
  const bool on_device = place_of(steps_[index]) == Place::kDevice;
  for (int32_t output : plan_step.outputs) {
    if (!observer.tensor || output < 0) continue;
    observer.tensor(graph_.values[output].name,
                    on_device ? HUSSAR_TRY(read_device(output)) : to_plain(operand(output)));
  }
  if (!observer.operands) return {};
  HUSSAR_CHECK(!on_device, ErrorCode::kUsage, "calibration runs on the CPU: build the plan with --target cpu for it");
  std::vector<Operand> outputs;
  for (int32_t output : plan_step.outputs) outputs.push_back(operand(output));
  observer.operands(plan_step, outputs, pool);
  return {};
}

Status GraphRun::run_step(size_t index, ThreadPool::Lease& pool) {
  StepRun& step = steps_[index];
  const PlanStep& plan_step = graph_.steps[index];
  if (step.is_view && step.is_static) return {};
  if (step.kernel == nullptr || step.is_view) return run_reference(step, plan_step, pool);
  if (!step.is_static || step.reads_shape) return run_dynamic(step, plan_step, pool);
  if (place_of(step) == Place::kDevice) {
    Run run{plan_step, step.inputs, step.outputs, step.state,    device_scratch_.data(),
            pool,      target_.isa, device_,      step.row_count};
    return step.kernel->run(run);
  }
  // Inputs of the graph move between runs; everything else stays where binding put it.
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    if (plan_step.inputs[i] >= 0) step.inputs[i].data = bound_.slots[plan_step.inputs[i]].data;
  }
  std::byte* scratch = arena_.data() + bound_.blocks[step.scratch_block].offset;
  Run run{plan_step, step.inputs, step.outputs, step.state, scratch, pool, target_.isa};
  return step.kernel->run(run);
}

// Positions, sizes, axes and factors are few.
bool GraphRun::is_read(int32_t value) const {
  constexpr size_t kMostBytes = 4096;
  const PlanValue& entry = graph_.values[value];
  return entry.layout == Layout::kPlain && entry.storage != Storage::kConstant && bytes_of(value) <= kMostBytes;
}

void GraphRun::note_inputs(const StepRun& step, const PlanStep& plan_step) {
  noted_.clear();
  auto note = [&](const void* data, size_t bytes) {
    const auto* begin = static_cast<const std::byte*>(data);
    noted_.insert(noted_.end(), begin, begin + bytes);
  };
  for (int32_t input : plan_step.inputs) {
    if (input < 0 || graph_.values[input].storage == Storage::kConstant) continue;
    const Shape& shape = bound_.slots[input].shape;
    const int rank = shape.rank();
    note(&rank, sizeof(rank));
    for (int64_t dim : shape) note(&dim, sizeof(dim));
    const size_t bytes = bytes_of(input);
    if (!step.sizes_outputs && is_read(input) && bytes > 0) note(bound_.slots[input].data, bytes);
  }
}

Status GraphRun::infer_outputs(StepRun& step, const PlanStep& plan_step) {
  std::vector<Tensor> tensors;
  std::vector<ValueInfo> infos = input_infos(step, plan_step, !step.sizes_outputs, tensors);
  int64_t next = 0;
  auto fresh = [&next] { return Dim::symbol("unknown" + std::to_string(next++)); };
  auto outputs = HUSSAR_TRY(infer_node(step.node, std::move(infos), fresh, nullptr));
  // That the inputs fit together is all that has to be known of them.
  if (step.sizes_outputs) return {};
  for (size_t i = 0; i < plan_step.outputs.size(); ++i) {
    int32_t value = plan_step.outputs[i];
    if (value < 0 && step.spares.empty()) continue;
    Shape shape;
    bool known = i < outputs.size() && outputs[i].dims.has_value();
    if (known) {
      for (const Dim& dim : *outputs[i].dims) {
        known = known && dim.is_constant();
        shape.push_back(dim.is_constant() ? dim.value() : 0);
      }
    }
    if (value < 0) {
      Spare& spare = step.spares[i];
      spare = known && bytes_needed(outputs[i].dtype, shape) ? Spare{outputs[i].dtype, shape} : Spare();
      continue;
    }
    Slot& slot = bound_.slots[value];
    HUSSAR_CHECK(known, ErrorCode::kRunFailed, "step '{}': the shape of output {} cannot be determined", plan_step.name,
                 i);
    const PlanValue& entry = graph_.values[value];
    HUSSAR_CHECK(outputs[i].dtype == entry.dtype && (!slot.bound || slot.shape == shape) &&
                     (entry.layout == Layout::kPlain || shape.rank() >= 3),
                 ErrorCode::kRunFailed, "step '{}' ({}): output {} has shape {} instead of {}", plan_step.name,
                 plan_step.op, i, shape.to_string(), slot.bound ? slot.shape.to_string() : "what the plan says");
    if (slot.bound) continue;
    HUSSAR_CHECK(bytes_needed(entry.dtype, shape), ErrorCode::kRunFailed,
                 "step '{}': output {} of shape {} is negative or too large", plan_step.name, i, shape.to_string());
    slot.shape = shape;
    slot.pitch = shape.rank() > 1 ? shape[1] : 1;
  }
  return {};
}

// Inference allocates, and its inputs are mostly those of the last run.
Status GraphRun::follow_inputs(StepRun& step, const PlanStep& plan_step) {
  note_inputs(step, plan_step);
  if (!step.is_inferred || noted_ != step.seen) {
    step.is_inferred = false;
    HUSSAR_TRY(infer_outputs(step, plan_step));
    step.seen.assign(noted_.begin(), noted_.end());
    step.is_inferred = true;
  }
  if (step.sizes_outputs) return {};
  // Other shapes may have used the memory, or needed less of it, since.
  for (int32_t value : plan_step.outputs) {
    if (value < 0 || bound_.slots[value].bound) continue;
    bound_.slots[value].data = bound_.slots[value].heap.reserve(bytes_of(value));
  }
  return {};
}

Status GraphRun::run_dynamic(StepRun& step, const PlanStep& plan_step, ThreadPool::Lease& pool) {
  HUSSAR_TRY(follow_inputs(step, plan_step));
  point_operands(step, plan_step);
  size_t scratch_bytes = 0;
  if (step.kernel->prepare != nullptr) {
    Prepare prepare{plan_step, step.inputs, step.outputs, step.threads, step.state};
    HUSSAR_TRY(step.kernel->prepare(prepare));
    scratch_bytes = prepare.scratch_bytes;
  }
  Run run{plan_step, step.inputs, step.outputs, step.state, scratch_.reserve(scratch_bytes), pool, target_.isa};
  return step.kernel->run(run);
}

void GraphRun::point_tensors(StepRun& step, const PlanStep& plan_step, bool is_apart) {
  auto view = [&](int32_t value) {
    return Tensor::view(graph_.values[value].dtype, bound_.slots[value].shape, bound_.slots[value].data);
  };
  auto view_spare = [&](size_t output) {
    const auto& [dtype, shape] = step.spares[output];
    if (dtype == DType::kUndefined) return Tensor();
    return Tensor::view(dtype, shape, step.spare_memory[output].reserve(*bytes_needed(dtype, shape)));
  };
  auto result_of = [&](int32_t value) {
    Slot& slot = bound_.slots[value];
    if (!is_apart || !slot.bound) return view(value);
    return Tensor::view(graph_.values[value].dtype, slot.shape, slot.heap.reserve(bytes_of(value)));
  };
  for (size_t i = 0; i < step.arguments.size(); ++i) {
    step.arguments[i] = plan_step.inputs[i] < 0 ? Tensor() : view(plan_step.inputs[i]);
  }
  for (size_t i = 0; i < step.results.size(); ++i) {
    const int32_t value = plan_step.outputs[i];
    Tensor& result = step.results[i];
    step.output_memory[i] = value >= 0 ? &bound_.slots[value].heap : &step.spare_memory[i];
    if (step.sizes_outputs) {
      result = value >= 0 && bound_.slots[value].bound ? result_of(value) : Tensor();
      continue;
    }
    result = value >= 0 ? result_of(value) : view_spare(i);
    if (result.bytes() > 0) std::memset(result.raw(), 0, result.bytes());
  }
}

Status GraphRun::run_reference(StepRun& step, const PlanStep& plan_step, ThreadPool::Lease& pool) {
  const bool has_shapes = step.is_static && !step.reads_shape;
  if (step.sizes_outputs || !has_shapes) {
    HUSSAR_TRY(follow_inputs(step, plan_step));
  } else if (!step.spares.empty() && !step.is_inferred) {
    HUSSAR_TRY(infer_outputs(step, plan_step));
    step.is_inferred = true;
  }
  // What the step reads need not be apart from what it writes where binding has not seen the shapes.
  point_tensors(step, plan_step, !has_shapes);
  auto run_body = [&](std::string_view name, std::span<const Tensor> inputs) -> Result<std::span<const Tensor>> {
    auto it = step.bodies.find(name);
    HUSSAR_CHECK(it != step.bodies.end(), ErrorCode::kPlanIncompatible, "step '{}' has no body '{}'", plan_step.name,
                 name);
    return it->second->run(inputs, pool, nullptr);
  };
  const BodyRunner runner = std::ref(run_body);
  HUSSAR_TRY(evaluate_into(step.node, step.arguments, step.results, {workspace_, &runner, step.output_memory}));
  for (size_t i = 0; i < plan_step.outputs.size(); ++i) {
    const int32_t value = plan_step.outputs[i];
    if (value < 0) continue;
    Slot& slot = bound_.slots[value];
    const Tensor& result = step.results[i];
    HUSSAR_CHECK(result.valid() && result.dtype() == graph_.values[value].dtype, ErrorCode::kRunFailed,
                 "step '{}' ({}) gave no usable output {}", plan_step.name, plan_step.op, i);
    HUSSAR_CHECK(!slot.bound || result.shape() == slot.shape, ErrorCode::kRunFailed,
                 "step '{}' ({}) gave shape {} instead of {}", plan_step.name, plan_step.op, result.shape().to_string(),
                 slot.shape.to_string());
    if (slot.bound) {
      if (result.raw() != slot.data && result.bytes() > 0) std::memcpy(slot.data, result.raw(), result.bytes());
      continue;
    }
    slot.shape = result.shape();
    slot.pitch = slot.shape.rank() > 1 ? slot.shape[1] : 1;
    // What the evaluator made by itself stays with the binding, not with the step.
    if (result.raw() != slot.heap.data()) {
      std::byte* copy = slot.heap.reserve(result.bytes());
      if (result.bytes() > 0) std::memcpy(copy, result.raw(), result.bytes());
    }
    slot.data = slot.heap.data();
  }
  return {};
}

}  // namespace hussar
