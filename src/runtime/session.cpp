// The public face of the runtime.
#include "runtime/session.h"

#include <cstring>

#include "base/error.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "runtime/graph_run.h"
#include "runtime/size_bounds.h"

namespace hussar {

namespace {

std::string names_of(const PlanGraph& graph, const std::vector<int32_t>& values) {
  std::string names;
  for (int32_t value : values) names += (names.empty() ? "" : ", ") + graph.values[value].name;
  return names;
}

// Where the name is in the list; its size: nowhere.
size_t position_of(const PlanGraph& graph, const std::vector<int32_t>& values, std::string_view name) {
  size_t index = 0;
  while (index < values.size() && graph.values[values[index]].name != name) ++index;
  return index;
}

// What the plan was built for.
Target target_of(const Plan& plan, int threads) {
  constexpr std::string_view kTargets[] = {"cpu:scalar", "cpu:avx2", "cpu:avx512"};
  Target target{.isa = -1, .threads = threads};
  // What its steps compute in, and with, was decided then.
  target.no_fp16 = target.no_bf16 = target.no_tf32 = target.no_libraries = {};
  auto entry = plan.meta.find("target");
  if (entry == plan.meta.end()) return target;
  for (int isa = 0; isa < 3; ++isa) {
    if (entry->second == kTargets[isa]) target.isa = isa;
  }
  if (is_device_target(entry->second)) {
    target.place = Place::kDevice;
    const size_t digits = entry->second.rfind('_');
    if (digits != std::string::npos) target.sm = std::atoi(entry->second.c_str() + digits + 1);
  }
  return target;
}

}  // namespace

struct Session::State {
  std::shared_ptr<const Plan> plan;
  int threads = 1;
  bool forks = false;  // the latest run had parallel regions, so the next one will have some
  std::vector<SizeBound> bounds;
  Workspace workspace;  // these two outlive `run`, which uses them
  std::unique_ptr<Device> device;
  std::unique_ptr<GraphRun> run;
  StepObserver observer;
  std::vector<Tensor> inputs;
  std::vector<Place> places;
  std::vector<OutputPlace> outputs;

  Status check_residence(const char* what, std::string_view name, const std::byte* data, Place place) const;
};

// That an address is where it is said to be. What lies on the other side would be a fault, or wrong results.
Status Session::State::check_residence(const char* what, std::string_view name, const std::byte* data,
                                       Place place) const {
  HUSSAR_CHECK(place == Place::kHost || device != nullptr, ErrorCode::kUsage,
               "{} '{}' is to be in the memory of a GPU, but the plan was built for the CPU: keep the tensor on the "
               "host, or build the plan with --target cuda",
               what, name);
  if (device == nullptr || data == nullptr) return {};
  const Residence residence = device->residence(data);
  if (residence.is_managed) return {};
  if (place == Place::kHost) {
    HUSSAR_CHECK(residence.device < 0, ErrorCode::kUsage,
                 "{} '{}' is in the memory of GPU {} and given as a tensor of the host: give it as one of the device",
                 what, name, residence.device);
    return {};
  }
  HUSSAR_CHECK(residence.device >= 0, ErrorCode::kUsage,
               "{} '{}' is given as a tensor of the GPU, but its address is none of a GPU's memory: give it as a "
               "tensor of the host, or copy it to GPU {}",
               what, name, device->index());
  HUSSAR_CHECK(
      residence.device == device->index(), ErrorCode::kUsage,
      "{} '{}' is in the memory of GPU {}, the session runs on GPU {}: copy it there, or create the session on "
      "GPU {}",
      what, name, residence.device, device->index(), residence.device);
  return {};
}

Session::Session() : state_(std::make_unique<State>()) {}
Session::~Session() = default;

Result<std::unique_ptr<Session>> Session::create(std::shared_ptr<const Plan> plan, const SessionOptions& options) {
  HUSSAR_CHECK(plan != nullptr, ErrorCode::kUsage, "no plan was given");
  HUSSAR_CHECK(options.threads >= 0 && options.threads <= 1024, ErrorCode::kUsage, "{} threads", options.threads);
  std::unique_ptr<Session> session(new Session);
  State& state = *session->state_;
  state.threads = options.threads;
  if (state.threads == 0) {
    auto it = plan->meta.find("threads");
    state.threads = it == plan->meta.end() ? 1 : std::max(1, std::min(1024, std::atoi(it->second.c_str())));
  }
  state.bounds = HUSSAR_TRY(size_bounds(*plan));
  const Target target = target_of(*plan, state.threads);
  if (target.place == Place::kDevice) {
    state.device = HUSSAR_TRY(open_device(plan->meta.at("target"), options.device));
  }
  state.run =
      std::make_unique<GraphRun>(*plan, plan->graph, target, state.workspace, state.device.get(), options.device);
  state.plan = std::move(plan);
  state.inputs.resize(state.plan->graph.inputs.size());
  HUSSAR_TRY(catching("create the session", [&] { return state.run->create(); }));
  return session;
}

// Takes the names apart: inputs, and where outputs go, in the order of the plan.
Status Session::take(std::span<const NamedTensor> inputs, std::span<const OutputPlace> outputs) {
  State& state = *state_;
  const PlanGraph& graph = state.plan->graph;
  for (Tensor& input : state.inputs) input = Tensor();
  state.places.assign(graph.inputs.size(), Place::kHost);
  state.outputs.assign(graph.outputs.size(), OutputPlace());
  for (const NamedTensor& named : inputs) {
    const size_t index = position_of(graph, graph.inputs, named.name);
    HUSSAR_CHECK(index < graph.inputs.size(), ErrorCode::kUsage, "there is no input '{}'; the plan takes {}",
                 named.name, names_of(graph, graph.inputs));
    HUSSAR_CHECK(!state.inputs[index].valid(), ErrorCode::kUsage, "input '{}' is given twice", named.name);
    HUSSAR_TRY(state.check_residence("input", named.name, named.tensor.raw(), named.place));
    state.inputs[index] = named.tensor;
    state.places[index] = named.place;
  }
  for (size_t i = 0; i < state.inputs.size(); ++i) {
    HUSSAR_CHECK(state.inputs[i].valid(), ErrorCode::kUsage, "input '{}' is missing",
                 graph.values[graph.inputs[i]].name);
  }
  for (const OutputPlace& wanted : outputs) {
    const size_t index = position_of(graph, graph.outputs, wanted.name);
    HUSSAR_CHECK(index < graph.outputs.size(), ErrorCode::kUsage, "there is no output '{}'; the plan gives {}",
                 wanted.name, names_of(graph, graph.outputs));
    const auto* data = static_cast<const std::byte*>(wanted.data);
    HUSSAR_TRY(state.check_residence("output", wanted.name, data, wanted.place));
    state.outputs[index] = wanted;
  }
  return {};
}

Result<std::span<const Tensor>> Session::run_taken(std::span<const Tensor> inputs, const Places* places) {
  State& state = *state_;
  HUSSAR_TRY(check_sizes(state.bounds, state.plan->graph, inputs));
  return catching("run with inputs of these shapes", [&] {
    ThreadPool::Lease pool(ThreadPool::shared(), state.threads, state.forks);
    bool observed = state.observer.time || state.observer.tensor || state.observer.operands;
    auto outputs = state.run->run(inputs, pool, observed ? &state.observer : nullptr, places);
    state.forks = pool.has_forked();
    return outputs;
  });
}

Result<std::span<const Tensor>> Session::run_in_order(std::span<const Tensor> inputs) {
  return run_taken(inputs, nullptr);
}

Result<std::span<const Tensor>> Session::run(std::span<const NamedTensor> inputs,
                                             std::span<const OutputPlace> outputs) {
  HUSSAR_TRY(take(inputs, outputs));
  const Places places{state_->places, state_->outputs};
  return run_taken(state_->inputs, &places);
}

Result<std::span<const Tensor>> Session::enqueue(std::span<const NamedTensor> inputs,
                                                 std::span<const OutputPlace> outputs, void* stream) {
  HUSSAR_CHECK(state_->device != nullptr, ErrorCode::kUsage,
               "the plan was built for the CPU and has no stream: call run, or build it with --target cuda");
  HUSSAR_TRY(take(inputs, outputs));
  const Places places{state_->places, state_->outputs, false, stream};
  return run_taken(state_->inputs, &places);
}

Result<Tensor> Session::allocate_pinned(DType dtype, const Shape& shape) {
  return catching("allocate a tensor", [&]() -> Result<Tensor> {
    if (state_->device == nullptr) return Tensor(dtype, shape);
    const auto bytes = bytes_needed(dtype, shape);
    HUSSAR_CHECK(bytes && dtype_size(dtype) > 0, ErrorCode::kUsage, "there are no tensors of {} with the shape {}",
                 dtype_name(dtype), shape.to_string());
    auto memory = HUSSAR_TRY(state_->device->allocate_pinned(*bytes));
    if (*bytes > 0) std::memset(memory.get(), 0, *bytes);
    std::byte* data = memory.get();
    return Tensor::view(dtype, shape, data, std::move(memory));
  });
}

Status Session::prepare(std::span<const Shape> shapes) {
  State& state = *state_;
  const PlanGraph& graph = state.plan->graph;
  HUSSAR_CHECK(shapes.size() == graph.inputs.size(), ErrorCode::kUsage,
               "the plan takes {} inputs, {} shapes were given", graph.inputs.size(), shapes.size());
  // Binding looks at shapes alone, but insists on inputs that are somewhere.
  alignas(64) static std::byte no_data[64];
  std::vector<Tensor> inputs;
  for (size_t i = 0; i < shapes.size(); ++i) {
    inputs.push_back(Tensor::view(graph.values[graph.inputs[i]].dtype, shapes[i], no_data));
  }
  HUSSAR_TRY(check_sizes(state.bounds, graph, inputs));
  try {
    return state.run->bind(inputs);
  } catch (const std::bad_alloc&) {
    return fail(ErrorCode::kRunFailed, "out of memory for inputs of these shapes");
  }
}

Result<double> Session::time_on_device(int count) { return state_->run->time_recordings(count); }
size_t Session::device_arena_bytes() const { return state_->run->device_arena_bytes(); }
size_t Session::arena_bytes() const { return state_->run->arena_bytes(); }
size_t Session::arena_lower_bound() const { return state_->run->arena_lower_bound(); }
const Plan& Session::plan() const { return *state_->plan; }
int Session::threads() const { return state_->threads; }

void Session::set_profiler(std::function<void(const StepTime&)> profiler) {
  if (!profiler) {
    state_->observer.time = nullptr;
    return;
  }
  state_->observer.time = [profiler = std::move(profiler)](const PlanStep& step, double microseconds) {
    profiler(StepTime{&step, microseconds});
  };
}

void Session::set_observer(std::function<void(const std::string&, const Tensor&)> observer) {
  state_->observer.tensor = std::move(observer);
}

void Session::set_operand_observer(OperandObserver observer) { state_->observer.operands = std::move(observer); }

}  // namespace hussar
