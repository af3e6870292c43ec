// The public face of the runtime.
#include "runtime/session.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "runtime/graph_run.h"
#include "runtime/size_bounds.h"

namespace hussar {

static std::string input_names(const PlanGraph& graph) {
  std::string names;
  for (int32_t input : graph.inputs) names += (names.empty() ? "" : ", ") + graph.values[input].name;
  return names;
}

namespace {

// What the plan was built for.
Target target_of(const Plan& plan, int threads) {
  constexpr std::string_view kTargets[] = {"cpu:scalar", "cpu:avx2", "cpu:avx512"};
  Target target{.isa = -1, .threads = threads};
  target.no_fp16 = target.no_tf32 = {};  // what its steps compute in was decided then
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
};

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

Result<std::span<const Tensor>> Session::run_in_order(std::span<const Tensor> inputs) {
  State& state = *state_;
  HUSSAR_TRY(check_sizes(state.bounds, state.plan->graph, inputs));
  return catching("run with inputs of these shapes", [&] {
    ThreadPool::Lease pool(ThreadPool::shared(), state.threads, state.forks);
    bool observed = state.observer.time || state.observer.tensor || state.observer.operands;
    auto outputs = state.run->run(inputs, pool, observed ? &state.observer : nullptr);
    state.forks = pool.has_forked();
    return outputs;
  });
}

Result<std::span<const Tensor>> Session::run(std::span<const NamedTensor> inputs) {
  State& state = *state_;
  const PlanGraph& graph = state.plan->graph;
  for (Tensor& input : state.inputs) input = Tensor();
  for (const NamedTensor& named : inputs) {
    size_t index = 0;
    while (index < graph.inputs.size() && graph.values[graph.inputs[index]].name != named.name) ++index;
    HUSSAR_CHECK(index < graph.inputs.size(), ErrorCode::kUsage, "there is no input '{}'; the plan takes {}",
                 named.name, input_names(graph));
    HUSSAR_CHECK(!state.inputs[index].valid(), ErrorCode::kUsage, "input '{}' is given twice", named.name);
    state.inputs[index] = named.tensor;
  }
  for (size_t i = 0; i < state.inputs.size(); ++i) {
    HUSSAR_CHECK(state.inputs[i].valid(), ErrorCode::kUsage, "input '{}' is missing",
                 graph.values[graph.inputs[i]].name);
  }
  return run_in_order(state.inputs);
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
