// Setting up and binding a plan graph: kernels, lifetimes, shapes, memory.
#include "runtime/graph_run.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "ops/op_def.h"
#include "runtime/check_step.h"
#include "runtime/row_counts.h"
#include "runtime/settled_steps.h"

namespace hussar {

namespace {

int64_t channel_count(const Shape& shape) { return shape.rank() > 1 ? shape[1] : 1; }

}  // namespace

Status GraphRun::create() {
  bound_.slots = std::vector<Slot>(graph_.values.size());
  homes_.assign(graph_.values.size(), Home::kArena);
  steps_ = std::vector<StepRun>(graph_.steps.size());
  for (size_t i = 0; i < graph_.values.size(); ++i) {
    const PlanValue& value = graph_.values[i];
    if (value.storage != Storage::kConstant) continue;
    Slot& slot = bound_.slots[i];
    slot.data = const_cast<std::byte*>(plan_.constants.data()) + value.constant_offset;
    for (const Dim& dim : *value.dims) slot.shape.push_back(dim.value());
    slot.bound = true;
    slot.pitch = channel_count(slot.shape);
  }
  for (size_t i = 0; i < graph_.steps.size(); ++i) HUSSAR_TRY(create_step(i));
  for (StepRun& step : steps_) {
    step.state_offset = state_bytes_;
    state_bytes_ += step.kernel != nullptr ? aligned(step.kernel->state_bytes) : 0;
  }
  std::byte* states = bound_.states.reserve(state_bytes_);
  for (StepRun& step : steps_) step.state = states + step.state_offset;
  const std::vector<bool> settled = settled_steps(graph_);
  for (size_t i = 0; i < steps_.size(); ++i) steps_[i].is_settled = settled[i];
  HUSSAR_TRY(place_steps());
  plan_lifetimes();
  outputs_.resize(graph_.outputs.size());
  return {};
}

Status GraphRun::create_step(size_t index) {
  const PlanStep& plan_step = graph_.steps[index];
  StepRun& step = steps_[index];
  if (plan_step.kernel != kReferenceKernel) {
    step.kernel = find_kernel(plan_step.kernel);
    HUSSAR_CHECK(step.kernel != nullptr, ErrorCode::kPlanIncompatible,
                 "step '{}' needs the kernel '{}', which this program does not have; build the plan again from its "
                 "ONNX model",
                 plan_step.name, plan_step.kernel);
  }
  HUSSAR_CHECK(place_of(step) == Place::kHost || device_ != nullptr, ErrorCode::kPlanIncompatible,
               "step '{}' has the kernel '{}' of a GPU in a plan for a CPU, or in a body; build the plan again",
               plan_step.name, plan_step.kernel);
  step.is_view = plan_step.kernel == "view";
  step.threads = static_cast<int>(
      std::clamp<int64_t>(plan_step.attributes.get_int("hussar_threads", target_.threads), 1, target_.threads));
  const bool fits = HUSSAR_TRY(check_step(plan_, graph_, plan_step, step.is_view ? nullptr : step.kernel, target_));
  HUSSAR_CHECK(fits || step.kernel == nullptr || step.kernel->place == Place::kHost, ErrorCode::kPlanIncompatible,
               "step '{}' does not go with its operands; build the plan again", plan_step.name);
  if (!fits) step.kernel = nullptr;
  step.node.op = plan_step.op;
  step.node.name = plan_step.name;
  step.node.attributes = plan_step.attributes;
  step.node.program = plan_step.program;
  step.node.program_inputs = plan_step.program_inputs;
  // Inference and evaluation only ask whether an operand is there.
  static Value present;
  for (int32_t input : plan_step.inputs) step.node.inputs.push_back(input < 0 ? nullptr : &present);
  for (int32_t output : plan_step.outputs) step.node.outputs.push_back(output < 0 ? nullptr : &present);
  step.inputs.resize(plan_step.inputs.size());
  step.outputs.resize(plan_step.outputs.size());
  HUSSAR_TRY(create_bodies(step, plan_step));
  if (step.kernel == nullptr || step.is_view) {
    const bool takes_all =
        std::all_of(plan_step.outputs.begin(), plan_step.outputs.end(), [](int32_t it) { return it >= 0; });
    step.sizes_outputs = has_trait(find_op(plan_step.op), kSizesOutputs);
    step.arguments.resize(plan_step.inputs.size());
    step.results.resize(plan_step.outputs.size());
    step.output_memory.resize(plan_step.outputs.size());
    if (!takes_all) {
      step.spares.resize(plan_step.outputs.size());
      step.spare_memory = std::vector<GrowingBuffer>(plan_step.outputs.size());
    }
  }
  auto known = [&](int32_t value) {
    if (value < 0) return true;
    const PlanValue& entry = graph_.values[value];
    return entry.storage != Storage::kHeap && entry.dims.has_value();
  };
  step.is_static = std::all_of(plan_step.inputs.begin(), plan_step.inputs.end(), known) &&
                   std::all_of(plan_step.outputs.begin(), plan_step.outputs.end(), known);
  for (int32_t output : plan_step.outputs) {
    bool is_alias = output >= 0 && graph_.values[output].storage == Storage::kAlias;
    HUSSAR_CHECK(!is_alias || step.is_static, ErrorCode::kPlanIncompatible, "step '{}' writes a view of unknown shape",
                 plan_step.name);
  }
  return {};
}

Status GraphRun::create_bodies(StepRun& step, const PlanStep& plan_step) {
  for (const auto& [name, body] : plan_step.bodies) {
    auto run = std::make_unique<GraphRun>(plan_, *body, target_, workspace_);
    run->most_parked_ = 0;  // a loop may give its body other shapes each time
    HUSSAR_TRY(run->create());
    step.bodies.emplace(name, std::move(run));
    // Inference at run time and evaluators ask a body only for its inputs and outputs.
    auto signature = std::make_unique<Graph>();
    auto add = [&](int32_t index) {
      const PlanValue& value = body->values[index];
      return signature->add_value(value.name, value.dtype, value.dims);
    };
    for (int32_t input : body->inputs) signature->inputs.push_back(add(input));
    for (int32_t output : body->outputs) signature->outputs.push_back(add(output));
    step.node.bodies.push_back({name, std::move(signature)});
  }
  return {};
}

void GraphRun::plan_lifetimes() {
  auto block_of = [&](int32_t value) -> Block* {
    int32_t root = root_of(graph_, value);
    if (graph_.values[root].storage != Storage::kArena) return nullptr;
    Slot& slot = bound_.slots[root];
    if (slot.block < 0) {
      slot.block = static_cast<int32_t>(bound_.blocks.size());
      bound_.blocks.push_back(Block{INT32_MAX, -1, 0, 0});
    }
    return &bound_.blocks[slot.block];
  };
  auto keep = [&](int32_t value, size_t step) {
    Block* block = value < 0 ? nullptr : block_of(value);
    if (block == nullptr) return;
    block->first = std::min(block->first, static_cast<int32_t>(step));
    block->last = std::max(block->last, static_cast<int32_t>(step));
  };
  for (size_t i = 0; i < graph_.steps.size(); ++i) {
    for (const auto* list : {&graph_.steps[i].inputs, &graph_.steps[i].outputs}) {
      for (int32_t value : *list) keep(value, i);
    }
    keep(row_count_value(graph_, graph_.steps[i]), i);
  }
  for (int32_t output : graph_.outputs) {
    if (Block* block = block_of(output)) block->last = static_cast<int32_t>(graph_.steps.size());
  }
  std::vector<bool> settled;
  for (const StepRun& step : steps_) settled.push_back(step.is_settled);
  for (int32_t value : settled_values(graph_, settled)) {
    Block* block = block_of(value);
    if (block == nullptr) continue;
    *block = {0, static_cast<int32_t>(graph_.steps.size()), 0, 0};
    homes_[root_of(graph_, value)] = Home::kSettled;
  }
  std::vector<bool> is_kept(graph_.values.size());
  for (size_t i = 0; i < steps_.size(); ++i) {
    for (int32_t output : graph_.steps[i].outputs) {
      if (output >= 0 && steps_[i].is_settled) is_kept[output] = true;
    }
  }
  for (size_t i = 0; i < graph_.values.size(); ++i) {
    const bool is_heap = graph_.values[i].storage == Storage::kHeap;
    if (is_heap && !is_kept[i]) passing_heaps_.push_back(static_cast<int32_t>(i));
  }
  split_lifetimes();
  for (size_t i = 0; i < steps_.size(); ++i) {
    if (!steps_[i].is_static || steps_[i].kernel == nullptr || place_of(steps_[i]) == Place::kDevice) continue;
    const auto step = static_cast<int32_t>(i);
    steps_[i].scratch_block = static_cast<int32_t>(bound_.blocks.size());
    bound_.blocks.push_back(Block{step, step, 0, 0});
  }
}

std::string GraphRun::describe_inputs() const {
  std::string text;
  for (int32_t input : graph_.inputs) {
    const PlanValue& value = graph_.values[input];
    text += fmt::format("{}{}:{}[{}]", text.empty() ? "" : ", ", value.name, dtype_name(value.dtype),
                        value.dims ? to_string(*value.dims) : "?");
  }
  return text;
}

Status GraphRun::bind_symbols(std::span<const Tensor> inputs) {
  symbols_.clear();
  for (size_t i = 0; i < inputs.size(); ++i) {
    const PlanValue& value = graph_.values[graph_.inputs[i]];
    const Shape& shape = inputs[i].shape();
    if (!value.dims) continue;
    bool ok = shape.rank() == static_cast<int>(value.dims->size());
    for (int axis = 0; ok && axis < shape.rank(); ++axis) {
      const Dim& dim = (*value.dims)[axis];
      ok = shape[axis] >= 0 && (!dim.is_constant() || dim.value() == shape[axis]);
      std::vector<std::string> names = dim.symbols();
      if (!ok || names.size() != 1 || !(dim == Dim::symbol(names[0]))) continue;
      ok = symbols_.emplace(names[0], shape[axis]).first->second == shape[axis];
    }
    HUSSAR_CHECK(ok, ErrorCode::kUsage, "input '{}' has shape {}; the plan takes {}", value.name, shape.to_string(),
                 describe_inputs());
  }
  return {};
}

Status GraphRun::bind_shapes() {
  auto lookup = [&](std::string_view name) -> std::optional<int64_t> {
    auto it = symbols_.find(name);
    return it == symbols_.end() ? std::nullopt : std::optional<int64_t>(it->second);
  };
  for (size_t i = 0; i < graph_.values.size(); ++i) {
    const PlanValue& value = graph_.values[i];
    Slot& slot = bound_.slots[i];
    if (value.storage == Storage::kConstant || value.storage == Storage::kInput) continue;
    slot.bound = false;
    if (value.storage == Storage::kHeap || !value.dims) continue;
    Shape shape;
    for (const Dim& dim : *value.dims) shape.push_back(dim.evaluate(lookup).value_or(-1));
    HUSSAR_CHECK(bytes_needed(value.dtype, shape), ErrorCode::kUsage,
                 "these input shapes make '{}' ({}) negative, unknown or too large; use other shapes", value.name,
                 to_string(*value.dims));
    slot.shape = shape;
    slot.pitch = channel_count(shape);
    slot.bound = true;
  }
  return {};
}

// Aliases follow their holders, which may be inputs and so move from run to run.
static Status check_alias(const PlanValue& value, const Shape& shape, const PlanValue& holder, const Shape& outer) {
  bool ok = true;
  if (value.layout == Layout::kChannelsLast && holder.layout == Layout::kChannelsLast && shape.rank() == outer.rank()) {
    ok = dtype_size(value.dtype) == dtype_size(holder.dtype);
    for (int axis = 0; axis < shape.rank(); ++axis) {
      ok = ok && (axis == 1 ? value.channel_offset + shape[1] <= outer[1] : shape[axis] == outer[axis]);
    }
  } else {
    ok = value.channel_offset == 0 && static_cast<size_t>(shape.elements()) * dtype_size(value.dtype) <=
                                          static_cast<size_t>(outer.elements()) * dtype_size(holder.dtype);
  }
  HUSSAR_CHECK(ok, ErrorCode::kPlanIncompatible, "view '{}' of shape {} does not fit '{}' of shape {}", value.name,
               shape.to_string(), holder.name, outer.to_string());
  return {};
}

Status GraphRun::prepare_steps() {
  for (size_t i = 0; i < graph_.values.size(); ++i) {
    const PlanValue& value = graph_.values[i];
    if (value.storage != Storage::kAlias || !bound_.slots[i].bound) continue;
    const PlanValue& holder = graph_.values[value.alias_of];
    const Slot& outer = bound_.slots[value.alias_of];
    HUSSAR_TRY(check_alias(value, bound_.slots[i].shape, holder, outer.shape));
    bool is_slice = value.layout == Layout::kChannelsLast && holder.layout == Layout::kChannelsLast &&
                    value.dims->size() == holder.dims->size();
    if (is_slice) bound_.slots[i].pitch = outer.pitch;
  }
  for (size_t i = 0; i < steps_.size(); ++i) {
    StepRun& step = steps_[i];
    step.is_inferred = false;
    if (step.scratch_block >= 0) bound_.blocks[step.scratch_block].bytes = 0;
    if (!step.is_static || step.is_view) continue;
    HUSSAR_TRY(check_overlap(graph_.steps[i]));
    step.reads_shape = !HUSSAR_TRY(check_shapes(step, graph_.steps[i]));
    HUSSAR_CHECK(!step.reads_shape || place_of(step) == Place::kHost, ErrorCode::kPlanIncompatible,
                 "step '{}' runs on the device, but data have a say in its shapes; build the plan again",
                 graph_.steps[i].name);
    if (!step.reads_shape && step.kernel != nullptr && step.kernel->prepare != nullptr) HUSSAR_TRY(prepare_step(i));
  }
  return {};
}

// The compiled code that a step brings along.
Result<std::span<const std::byte>> GraphRun::code_of(const PlanStep& plan_step) const {
  if (!plan_step.attributes.has(kCodeAttribute)) return std::span<const std::byte>();
  const Ints code = plan_step.attributes.get_ints(kCodeAttribute);
  HUSSAR_CHECK(code.size() == 2 && code[1] == kCodeVersion, ErrorCode::kPlanIncompatible,
               "step '{}' has code that another version of hussar compiled; build the plan again", plan_step.name);
  const int64_t index = code[0];
  const auto count = static_cast<int64_t>(graph_.values.size());
  HUSSAR_CHECK(index >= 0 && index < count && graph_.values[index].storage == Storage::kConstant &&
                   graph_.values[index].dtype == DType::kUInt8,
               ErrorCode::kPlanIncompatible, "step '{}' has no code; build the plan again", plan_step.name);
  const Slot& slot = bound_.slots[index];
  return std::span<const std::byte>(slot.data, static_cast<size_t>(slot.shape.elements()));
}

Status GraphRun::prepare_step(size_t index) {
  StepRun& step = steps_[index];
  const PlanStep& plan_step = graph_.steps[index];
  const bool on_device = place_of(step) == Place::kDevice;
  point_operands(step, plan_step);
  for (size_t k = 0; k < step.inputs.size(); ++k) {
    const int32_t value = plan_step.inputs[k];
    const bool is_there = value >= 0 && graph_.values[value].storage == Storage::kConstant;
    step.inputs[k].data = is_there ? bound_.slots[value].data : nullptr;
  }
  for (Operand& output : step.outputs) output.data = nullptr;
  Prepare prepare{plan_step, step.inputs, step.outputs, step.threads, step.state};
  if (on_device) {
    prepare.device = device_;
    prepare.code = HUSSAR_TRY(code_of(plan_step));
  }
  HUSSAR_TRY(step.kernel->prepare(prepare));
  if (on_device) {
    bound_.device_scratch_bytes = std::max(bound_.device_scratch_bytes, prepare.scratch_bytes);
  } else {
    bound_.blocks[step.scratch_block].bytes = prepare.scratch_bytes;
  }
  return {};
}

// A kernel that writes what it is still reading could be led astray by its own output: an index that was checked would
// be another one when it is used. Values that share memory must be different channels of it.
Status GraphRun::check_overlap(const PlanStep& plan_step) const {
  auto is_apart = [&](int32_t a, int32_t b) {
    const PlanValue& left = graph_.values[a];
    const PlanValue& right = graph_.values[b];
    auto is_slice = [&](int32_t value) {
      int32_t root = root_of(graph_, value);
      return value != root && graph_.values[value].layout == Layout::kChannelsLast &&
             graph_.values[root].layout == Layout::kChannelsLast &&
             bound_.slots[value].shape.rank() == bound_.slots[root].shape.rank();
    };
    return is_slice(a) && is_slice(b) && left.dtype == right.dtype &&
           (left.channel_offset + bound_.slots[a].shape[1] <= right.channel_offset ||
            right.channel_offset + bound_.slots[b].shape[1] <= left.channel_offset);
  };
  for (int32_t output : plan_step.outputs) {
    for (const auto* list : {&plan_step.inputs, &plan_step.outputs}) {
      for (int32_t other : *list) {
        if (output < 0 || other < 0 || other == output) continue;
        HUSSAR_CHECK(root_of(graph_, output) != root_of(graph_, other) || is_apart(output, other),
                     ErrorCode::kPlanIncompatible, "step '{}': '{}' overlaps '{}'; build the plan again",
                     plan_step.name, graph_.values[output].name, graph_.values[other].name);
      }
    }
  }
  return {};
}

std::vector<ValueInfo> GraphRun::input_infos(const StepRun& step, const PlanStep& plan_step, bool in_run,
                                             std::vector<Tensor>& tensors) const {
  bool may_be_packed = step.kernel != nullptr && step.kernel->checks_shapes;
  std::vector<ValueInfo> infos(plan_step.inputs.size());
  tensors.resize(plan_step.inputs.size());
  for (size_t i = 0; i < infos.size(); ++i) {
    if (plan_step.inputs[i] < 0) continue;
    const int32_t input = plan_step.inputs[i];
    const PlanValue& value = graph_.values[input];
    const Slot& slot = bound_.slots[input];
    infos[i].dtype = value.dtype;
    infos[i].dims = Dims(slot.shape.begin(), slot.shape.end());
    const Ints* unpacked =
        may_be_packed ? plan_step.attributes.find<Ints>("hussar_packed_" + std::to_string(i)) : nullptr;
    if (unpacked != nullptr) {
      infos[i].dtype = unpacked_dtype(*step.kernel, infos[i].dtype, infos[0].dtype);
      infos[i].dims = Dims(unpacked->begin(), unpacked->end());
    } else if (value.layout == Layout::kPlain && (value.storage == Storage::kConstant || (in_run && is_read(input)))) {
      tensors[i] = Tensor::view(value.dtype, slot.shape, slot.data);
      infos[i].constant = &tensors[i];
    }
  }
  return infos;
}

Result<bool> GraphRun::check_shapes(const StepRun& step, const PlanStep& plan_step) const {
  std::vector<Tensor> tensors;
  std::vector<ValueInfo> infos = input_infos(step, plan_step, false, tensors);
  int64_t next = 0;
  auto fresh = [&next] { return Dim::symbol("unknown" + std::to_string(next++)); };
  auto outputs = infer_node(step.node, std::move(infos), fresh, nullptr);
  if (!outputs) return fail(ErrorCode::kUsage, "these input shapes do not fit together: {}", outputs.error().message);
  bool is_certain = true;
  for (size_t i = 0; i < plan_step.outputs.size(); ++i) {
    int32_t output = plan_step.outputs[i];
    if (output < 0) continue;
    ValueInfo inferred = i < outputs->size() ? (*outputs)[i] : ValueInfo();
    DType dtype = graph_.values[output].dtype;
    HUSSAR_CHECK(inferred.dtype == DType::kUndefined || inferred.dtype == dtype, ErrorCode::kPlanIncompatible,
                 "step '{}' ({}): output {} is {}, its inputs make {}", plan_step.name, plan_step.op, i,
                 dtype_name(dtype), dtype_name(inferred.dtype));
    is_certain = is_certain && inferred.dtype != DType::kUndefined && inferred.dims;
    if (!inferred.dims) continue;
    const Shape& shape = bound_.slots[output].shape;
    bool same = static_cast<int>(inferred.dims->size()) == shape.rank();
    for (int axis = 0; same && axis < shape.rank(); ++axis) {
      const Dim& dim = (*inferred.dims)[axis];
      same = !dim.is_constant() || dim.value() == shape[axis];
      is_certain = is_certain && dim.is_constant();
    }
    HUSSAR_CHECK(same, ErrorCode::kUsage,
                 "these input shapes do not fit the plan: output {} of step '{}' ({}) has shape {} instead of {}", i,
                 plan_step.name, plan_step.op, to_string(*inferred.dims), shape.to_string());
  }
  return is_certain;
}

Status GraphRun::bind(std::span<const Tensor> inputs, const Places* places) {
  HUSSAR_CHECK(inputs.size() == graph_.inputs.size(), ErrorCode::kUsage, "the plan takes {} inputs ({}), {} were given",
               graph_.inputs.size(), describe_inputs(), inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const PlanValue& value = graph_.values[graph_.inputs[i]];
    HUSSAR_CHECK(inputs[i].valid() && (inputs[i].dtype() == value.dtype || value.dtype == DType::kUndefined),
                 ErrorCode::kUsage, "input '{}' is {}; the plan takes {}", value.name, dtype_name(inputs[i].dtype()),
                 describe_inputs());
    auto bytes = bytes_needed(inputs[i].dtype(), inputs[i].shape());
    HUSSAR_CHECK(bytes && (*bytes == 0 || inputs[i].raw() != nullptr), ErrorCode::kUsage,
                 "input '{}' has the impossible shape {} or no data", value.name, inputs[i].shape().to_string());
  }
  select_binding(inputs);
  for (size_t i = 0; i < inputs.size(); ++i) {
    Slot& slot = bound_.slots[graph_.inputs[i]];
    slot.shape = inputs[i].shape();
    slot.pitch = channel_count(slot.shape);
    slot.data = const_cast<std::byte*>(inputs[i].raw());
    slot.given = nullptr;
    if (places != nullptr && places->inputs[i] == Place::kDevice) {
      slot.given = std::exchange(slot.data, nullptr);
      if (placement_.is_read_on_host[graph_.inputs[i]]) slot.data = slot.heap.reserve(inputs[i].bytes());
    }
    slot.bound = true;
  }
  const bool is_new = !bound_.is_bound;
  if (is_new) {
    bound_.is_settled = false;
    HUSSAR_TRY(bind_symbols(inputs));
    HUSSAR_TRY(bind_shapes());
    bound_.device_scratch_bytes = 0;
    HUSSAR_TRY(prepare_steps());
    HUSSAR_TRY(bind_memory());
    HUSSAR_TRY(bind_device_memory());
    bound_.shapes.clear();
    for (const Tensor& input : inputs) bound_.shapes.push_back(input.shape());
  }
  HUSSAR_TRY(reserve_memory());
  const bool has_moved = this->has_moved();
  if (is_new || has_moved) {
    point_memory();
    point_device_memory();
  }
  bound_.is_bound = true;
  for (size_t i = 0; i < graph_.values.size(); ++i) {
    const PlanValue& value = graph_.values[i];
    if (value.storage != Storage::kAlias || !bound_.slots[i].bound) continue;
    // An input that only the device needs is nowhere on the host.
    std::byte* holder = bound_.slots[value.alias_of].data;
    if (holder == nullptr) continue;
    bound_.slots[i].data = holder + value.channel_offset * static_cast<int64_t>(dtype_size(value.dtype));
  }
  if (is_new || has_moved) {
    for (size_t i = 0; i < steps_.size(); ++i) {
      if (steps_[i].is_static) point_operands(steps_[i], graph_.steps[i]);
    }
  }
  return {};
}

Operand GraphRun::operand(int32_t value, Place place) const {
  if (value < 0) return {};
  const Slot& slot = bound_.slots[value];
  return {graph_.values[value].dtype, slot.shape, graph_.values[value].layout, slot.pitch,
          place == Place::kDevice ? slot.device_data : slot.data};
}

void GraphRun::point_operands(StepRun& step, const PlanStep& plan_step) {
  const Place place = place_of(step);
  for (size_t i = 0; i < step.inputs.size(); ++i) step.inputs[i] = operand(plan_step.inputs[i], place);
  for (size_t i = 0; i < step.outputs.size(); ++i) step.outputs[i] = operand(plan_step.outputs[i], place);
  step.row_count = {};
  const int32_t counted = place == Place::kDevice ? row_count_value(graph_, plan_step) : -1;
  if (counted < 0 || step.outputs.empty()) return;
  const Operand count = operand(counted, place);
  const int axes = std::min(row_count_axes(plan_step), step.outputs[0].shape.rank());
  const int64_t elements = count.shape.elements();
  if (count.data == nullptr || elements == 0) return;
  step.row_count = {count.as<const int32_t>() + elements - 1, step.outputs[0].shape.elements(0, axes)};
}

Status GraphRun::run_steps(ThreadPool::Lease& pool, const StepObserver* observer, bool repeats_settled) {
  for (size_t i = 0; i < steps_.size(); ++i) {
    if (device_ != nullptr) {
      // Within a segment there is nothing else to copy.
      HUSSAR_TRY(copy_sides(placement_.before[i], repeats_settled));
      if (observer == nullptr && !repeats_settled) {
        if (auto last = HUSSAR_TRY(run_segment(i, pool))) {
          i = *last;
          continue;
        }
      }
    }
    auto begin = std::chrono::steady_clock::now();
    if (repeats_settled || !steps_[i].is_settled) HUSSAR_TRY(run_step(i, pool));
    if (observer == nullptr) continue;
    if (place_of(steps_[i]) == Place::kDevice) HUSSAR_TRY(device_->wait());
    if (observer->time) {
      std::chrono::duration<double, std::micro> elapsed = std::chrono::steady_clock::now() - begin;
      observer->time(graph_.steps[i], elapsed.count());
    }
    HUSSAR_TRY(observe(i, *observer, pool));
  }
  return {};
}

Result<std::span<const Tensor>> GraphRun::run(std::span<const Tensor> inputs, ThreadPool::Lease& pool,
                                              const StepObserver* observer, const Places* places) {
  HUSSAR_TRY(bind(inputs, places));
  // Who looks at values wants to see all of them.
  const bool repeats_settled = !bound_.is_settled || (observer != nullptr && (observer->tensor || observer->operands));
  const bool waits = places == nullptr || places->waits;
  if (!waits) HUSSAR_TRY(device_->follow(places->stream));
  if (device_ != nullptr) {
    HUSSAR_TRY(fetch_inputs());
    HUSSAR_TRY(copy_sides(placement_.start, true));
  }
  HUSSAR_TRY(run_steps(pool, observer, repeats_settled));
  HUSSAR_TRY(give_outputs(places));
  if (!waits) HUSSAR_TRY(device_->lead(places->stream));
  // Steps of the host would write what is still being copied from it.
  if (device_ != nullptr && (waits || placement_.has_host_steps)) HUSSAR_TRY(device_->wait());
  bound_.is_settled = true;
  return std::span<const Tensor>(outputs_);
}

}  // namespace hussar
