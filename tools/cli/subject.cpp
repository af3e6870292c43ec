// Opening and running plans and models alike.
#include "tools/cli/subject.h"

#include <algorithm>
#include <chrono>

#include "backends/cpu/isa.h"
#include "base/error.h"
#include "compile/run_progress.h"
#include "onnx/import.h"
#include "ops/evaluate.h"
#include "ops/infer.h"
#include "plan/device.h"
#include "tools/cli/console.h"

namespace hussar::cli {

double milliseconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

void declare_verify(Command& command, bool& verify) {
  command.toggle("--verify", verify,
                 "plans: checks the checksum of the constants too, whatever their size; `compare` always does");
}

const char* Subject::kind() const {
  return graph_ != nullptr ? "reference" : build_milliseconds_ > 0 ? "compiled" : "plan";
}

Result<Subject> Subject::open(const std::string& path, const SubjectOptions& options) {
  Subject subject;
  subject.path_ = path;
  bool is_plan = is_plan_file(path);
  if (options.reference && !is_plan)
    HUSSAR_TRY(subject.open_reference(options));
  else
    HUSSAR_TRY(subject.open_plan(options, is_plan));
  return subject;
}

Status Subject::open_reference(const SubjectOptions& options) {
  auto begin = std::chrono::steady_clock::now();
  graph_ = std::make_shared<Graph>(HUSSAR_TRY(onnx::import_file(path_)).graph);
  HUSSAR_TRY(fix_shapes(*graph_, options.compile.shapes));
  auto inferred = infer_graph(*graph_);
  if (!inferred) return fail(inferred.error().code, "{}: {}", path_, inferred.error().message);
  load_milliseconds_ = milliseconds_since(begin);
  inputs_ = input_facts(*graph_);
  for (const Value* output : graph_->outputs) output_names_.push_back(output->name);
  return {};
}

Status Subject::open_plan(const SubjectOptions& options, bool is_plan) {
  auto begin = std::chrono::steady_clock::now();
  if (is_plan) {
    const bool asks_more = options.compile.lowers_floats() || options.compile.libraries != Libraries::kOff;
    HUSSAR_CHECK(!asks_more, ErrorCode::kUsage,
                 "'{}' is a plan: --fp16, --bf16, --tf32, --precision and --libraries count when it is built", path_);
    plan_ = HUSSAR_TRY(read_plan(path_, {.verify_constants = options.verify}));
  } else {
    plan_ = std::make_shared<const Plan>(HUSSAR_TRY(compile_file(path_, options.compile)));
    build_milliseconds_ = milliseconds_since(begin);
    begin = std::chrono::steady_clock::now();
  }
  SessionOptions session_options;
  session_options.threads = options.threads;
  auto session = Session::create(plan_, session_options);
  auto target = plan_->meta.find("target");
  const bool lacks_device = !session && session.error().code == ErrorCode::kDeviceUnavailable &&
                            target != plan_->meta.end() && is_device_target(target->second);
  if (lacks_device) {
    warn(session.error().message + "; the plan is built again for this CPU");
    CompileOptions for_cpu;
    for_cpu.threads = options.threads;
    plan_ = std::make_shared<const Plan>(HUSSAR_TRY(compile_plan(*plan_, for_cpu)));
    session = Session::create(plan_, session_options);
  }
  session_ = HUSSAR_TRY(std::move(session));
  load_milliseconds_ = milliseconds_since(begin);
  inputs_ = input_facts(plan_->graph);
  for (int32_t output : plan_->graph.outputs) output_names_.push_back(plan_->graph.values[output].name);
  return {};
}

Result<std::vector<Tensor>> Subject::run_reference(const std::vector<Tensor>& inputs, const TensorObserver& observer,
                                                   const std::function<void(double)>& progress) const {
  double seen = 0, all = 0;
  for (const auto& node : graph_->nodes()) all += static_cast<double>(node->outputs.size());
  return evaluate_graph(*graph_, inputs, [&](const Value& value, const Tensor& tensor) {
    if (observer) observer(value.name, tensor);
    if (progress) progress(std::min(1.0, ++seen / all));
  });
}

Result<std::vector<Tensor>> Subject::run(const std::vector<Tensor>& inputs, const TensorObserver& observer,
                                         const std::function<void(double)>& progress) {
  if (graph_ != nullptr) return run_reference(inputs, observer, progress);
  std::vector<Shape> shapes;
  for (const Tensor& input : inputs) shapes.push_back(input.shape());
  session_->set_observer(observer);
  session_->set_profiler(run_progress(*plan_, shapes, static_cast<int>(cpu::active_isa()), progress));
  auto outputs = session_->run_in_order(inputs);
  session_->set_profiler(nullptr);
  session_->set_observer(nullptr);
  if (!outputs) return tl::unexpected(outputs.error());
  std::vector<Tensor> copies;
  for (const Tensor& output : *outputs) copies.push_back(output.clone());
  return copies;
}

std::string Subject::producer_of(const std::string& tensor) const {
  if (graph_ != nullptr) {
    for (const auto& node : graph_->nodes()) {
      for (const Value* output : node->outputs) {
        if (output != nullptr && output->name == tensor) return describe(*node);
      }
    }
    return {};
  }
  for (const PlanStep& step : plan_->graph.steps) {
    for (int32_t output : step.outputs) {
      if (output >= 0 && plan_->graph.values[output].name == tensor) {
        return fmt::format("node '{}' ({}, kernel {})", step.name, step.op, step.kernel);
      }
    }
  }
  return {};
}

}  // namespace hussar::cli
