// Building the slower plan, running both, and finding where they part.
#include "compile/self_check.h"

#include <fmt/ranges.h>

#include <chrono>
#include <cmath>
#include <map>
#include <set>

#include "backends/cpu/isa.h"
#include "base/error.h"
#include "compile/difference.h"
#include "compile/flops.h"
#include "compile/fp8.h"
#include "compile/keep_fp32.h"
#include "compile/layer_errors.h"
#include "compile/packed_rows.h"
#include "compile/precision.h"
#include "compile/run_progress.h"
#include "compile/sample.h"
#include "compile/spelling.h"
#include "onnx/import.h"
#include "passes/support/rewrite.h"
#include "plan/device.h"
#include "runtime/session.h"
#include "tensor/convert.h"

namespace hussar {
namespace {

// What a quick check may take, by guess_seconds: of the order of the build itself.
constexpr double kQuickSeconds = 3;
// Plans that are built to find out which steps must stay in FP32.
constexpr int kMostTrials = 8;

// The slower plans in order of trust: the further down, the more they share with the plan that they check.
struct Rung {
  const char* what;
  std::function<Result<std::shared_ptr<const Plan>>()> make;
  int isa;
};
using Ladder = std::vector<Rung>;

// What a check must not depend on.
CompileOptions plainer(CompileOptions options) {
  options.fp16 = options.bf16 = options.tf32 = false;
  options.fp32_nodes.clear();
  options.inexact_in_half.clear();
  options.tune_seconds = 0;
  options.timings = nullptr;
  options.progress = nullptr;
  options.stage_progress = nullptr;
  options.chooses_int8 = false;
  options.place = Place::kHost;
  return options;
}

// has_samples: what matters then is what lower precision does to many inputs. `plan`: what is checked.
Ladder ladder_of_model(const std::string& path, const CompileOptions& given, bool has_samples, const PlanGraph& plan) {
  CompileOptions options = plainer(given);
  // Who does not leave out padding knows nothing of it: its rows of padding are cleared, where an input tells which.
  const bool leaves_out_alike = leaves_out_padding(plan) && !packed_rows(plan);
  options.packed = leaves_out_alike;
  options.dump = nullptr;
  options.verify_passes = false;
  auto rung = [&](const char* what, bool passes, bool scalar) {
    CompileOptions slower = options;
    if (!passes) slower.disabled_passes = {"all"};
    if (scalar) slower.isa = static_cast<int>(cpu::Isa::kScalar);
    auto make = [path, slower]() -> Result<std::shared_ptr<const Plan>> {
      return std::make_shared<const Plan>(HUSSAR_TRY(compile_file(path, slower)));
    };
    return Rung{what, make, slower.isa >= 0 ? slower.isa : static_cast<int>(cpu::active_isa())};
  };
  // Without the passes nothing would be quantized: the difference would be what INT8 costs.
  if (options.quantization != nullptr || leaves_out_alike) return {rung("the same passes, scalar code", true, true)};
  Ladder ladder = {rung("no passes, scalar code", false, true), rung("no passes, the same code", false, false),
                   rung("the same passes, scalar code", true, true)};
  if (has_samples) ladder.push_back(rung("the same passes in FP32", true, false));
  return ladder;
}

// A plan that needs what this machine lacks cannot check what was made of it.
Ladder ladder_of_plan(const std::shared_ptr<const Plan>& plan, const CompileOptions& given) {
  CompileOptions options = plainer(given);
  Ladder ladder;
  auto target = plan->meta.find("target");
  auto own = target == plan->meta.end() ? Result<TargetName>(TargetName{}) : parse_target(target->second);
  const bool is_here = own && (own->place == Place::kHost || open_device(target->second, 0));
  if (is_here && own->isa <= static_cast<int>(cpu::active_isa())) {
    auto itself = [plan]() -> Result<std::shared_ptr<const Plan>> { return plan; };
    ladder.push_back({"the plan that it was made of", itself, static_cast<int>(cpu::active_isa())});
  }
  options.isa = static_cast<int>(cpu::Isa::kScalar);
  auto scalar = [plan, options]() -> Result<std::shared_ptr<const Plan>> {
    return std::make_shared<const Plan>(HUSSAR_TRY(compile_plan(*plan, options)));
  };
  ladder.push_back({"the same graph, scalar code", scalar, options.isa});
  return ladder;
}

// Takes out what rounds activations of a quantized model: bytes that are made only to become numbers again.
int drop_rounding(Graph& graph) {
  int dropped = 0;
  for (Node* node : graph.snapshot()) {
    const Node* quantize = node->op == "DequantizeLinear" ? produced_by(node->inputs[0], "QuantizeLinear") : nullptr;
    if (quantize == nullptr || quantize->inputs[0]->is_constant()) continue;
    dropped += bypass(graph, node, quantize->inputs[0]) ? 1 : 0;
  }
  graph.sweep();
  return dropped;
}

// What rounding to bytes costs is told by this plan.
Rung rung_in_floats(const std::string& path, const CompileOptions& given) {
  CompileOptions options = plainer(given);
  options.quantization = nullptr;
  options.dump = nullptr;
  options.verify_passes = false;
  auto make = [path, options, is_of_model = given.quantization == nullptr]() -> Result<std::shared_ptr<const Plan>> {
    onnx::ImportedModel model = HUSSAR_TRY(onnx::import_file(path));
    const bool has_rounding = !is_of_model || drop_rounding(model.graph) > 0;
    HUSSAR_CHECK(has_rounding, ErrorCode::kInvalidModel, "the model has no numbers in place of its bytes");
    return std::make_shared<const Plan>(HUSSAR_TRY(compile_graph(std::move(model.graph), options)));
  };
  return {"the same passes in FP32", make, static_cast<int>(cpu::active_isa())};
}

struct Reference {
  std::shared_ptr<const Plan> plan;
  const char* what = "";
  int isa = 0;
  double guess = 0;  // of the seconds that a run takes
};

class Checker {
 public:
  Checker(std::shared_ptr<const Plan> plan, Ladder ladder, const SelfCheckOptions& check)
      : plan_(std::move(plan)), ladder_(std::move(ladder)), check_(check) {
    report_.tolerance = check.tolerance.value_or(kFp32Tolerance);
  }

  // Runs the reference. Leaves a reason in the report where there can be none.
  Status prepare() {
    HUSSAR_TRY(choose_inputs());
    if (!report_.skipped.empty()) return {};
    Reference reference = HUSSAR_TRY(build_reference());
    if (reference.plan == nullptr) {
      return skip(fmt::format("it would take some {:.0f} s; --self-check full does it", reference.guess));
    }
    report_.reference = reference.what;
    report_.samples = check_.samples.empty() ? 0 : runs_.size();
    slow_ = HUSSAR_TRY(Session::create(reference.plan));
    const double guess = guess_all(*plan_, static_cast<int>(cpu::active_isa()));
    const double both = reference.guess + guess;
    middle_ = both > 0 ? reference.guess / both : 0.5;
    for (size_t i = 0; i < runs_.size(); ++i) {
      auto wanted = run_part(*slow_, reference.isa, i, 0, middle_);
      // Inputs need not suit a model; what the reference refuses says nothing about the plan.
      if (!wanted) return skip("the reference cannot run these inputs: " + wanted.error().message);
      for (const Tensor& output : *wanted) runs_[i].wanted.push_back(output.clone());
      const auto rows = packed_rows(plan_->graph);
      if (rows && !leaves_out_padding(reference.plan->graph)) clear_padding(*rows, runs_[i].inputs, runs_[i].wanted);
    }
    return {};
  }

  // After prepare: the error of `plan`, which is the plan that is checked or another of the same model. The report is
  // about the one that was measured last.
  Result<double> measure(std::shared_ptr<const Plan> plan) {
    plan_ = std::move(plan);
    fast_ = HUSSAR_TRY(Session::create(plan_));
    report_.error = -1;
    for (size_t i = 0; i < runs_.size(); ++i) {
      auto got = run_part(*fast_, static_cast<int>(cpu::active_isa()), i, middle_, 1);
      HUSSAR_CHECK(got.has_value(), ErrorCode::kAccuracy, "self-check: the plan does not run where {} does: {}",
                   report_.reference, got.error().message);
      for (size_t k = 0; k < runs_[i].wanted.size(); ++k) {
        Difference apart = difference(runs_[i].wanted[k], (*got)[k]);
        if (apart.error() <= report_.error) continue;
        report_.error = apart.error();
        report_.output = plan_->graph.values[plan_->graph.outputs[k]].name;
        incomparable_ = apart.incomparable;
        worst_ = i;
      }
    }
    report_.error = std::max(report_.error, 0.0);
    report_.done = true;
    return report_.error;
  }

  // The last bit of a sum decides about a byte here and there, each of these about others, and so through all layers:
  // with large tokens a single element may be far off. All of them together are not, where no kernel is wrong: two
  // plans with the same rounding are much nearer to each other than either is to exact numbers.
  Status compare_with_rounding(const Rung& in_floats) {
    auto plan = in_floats.make();
    if (!plan) return {};  // then nothing is known of it
    auto exact = HUSSAR_TRY(Session::create(std::move(*plan)));
    std::vector<Noise> apart(plan_->graph.outputs.size()), own(apart.size());
    for (size_t i = 0; i < runs_.size(); ++i) {
      const auto numbers = HUSSAR_TRY(exact->run_in_order(runs_[i].inputs));
      const auto got = HUSSAR_TRY(fast_->run_in_order(runs_[i].inputs));
      for (size_t k = 0; k < runs_[i].wanted.size(); ++k) {
        const Tensor& wanted = runs_[i].wanted[k];
        if (!is_floating(wanted.dtype()) || !(wanted.shape() == got[k].shape()) ||
            !(wanted.shape() == numbers[k].shape()))
          return {};
        apart[k].add(wanted, got[k]);
        own[k].add(numbers[k], wanted);
      }
    }
    double most = 0;
    for (size_t k = 0; k < apart.size(); ++k) {
      const double share = apart[k].noise > 0 ? std::sqrt(apart[k].noise / own[k].noise) : 0;
      if (!std::isfinite(share)) return {};
      most = std::max(most, share);
    }
    report_.of_rounding = most;
    return {};
  }

  // Fails where the plan that was measured last is outside the tolerance.
  Result<SelfCheckReport> conclude() {
    report_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
    if (!report_.skipped.empty() || report_.error <= report_.tolerance || report_.is_rounding()) return report_;
    std::string culprit = HUSSAR_TRY(first_bad_step());
    std::string figure =
        incomparable_.empty() ? fmt::format("max relative error {:.2g}", report_.error) : incomparable_;
    return fail(ErrorCode::kAccuracy, "self-check: output '{}' is off ({}, allowed {:.2g}, against {}){}",
                report_.output, figure, report_.tolerance, report_.reference, culprit);
  }

  SelfCheckReport& report() { return report_; }

 private:
  Status skip(std::string reason) {
    report_.skipped = std::move(reason);
    return {};
  }

  Status choose_inputs() {
    if (check_.samples.empty()) {
      auto inputs = random_inputs(input_facts(plan_->graph), check_.shapes, check_.seed);
      if (!inputs) return skip("no inputs can be made up: " + inputs.error().message);
      runs_.push_back({std::move(*inputs), {}});
    }
    for (const std::vector<Tensor>& sample : check_.samples) runs_.push_back({sample, {}});
    NamedShapes spelled;
    for (size_t i = 0; i < runs_[0].inputs.size(); ++i) {
      const Shape& shape = runs_[0].inputs[i].shape();
      spelled[plan_->graph.values[plan_->graph.inputs[i]].name] = Dims(shape.begin(), shape.end());
    }
    report_.shapes = spell_shapes(spelled);
    return {};
  }

  // Where the fastest reference has no time for all samples, the first few have to do.
  Result<Reference> build_reference() {
    Reference last;
    for (const Rung& rung : ladder_) {
      last = {HUSSAR_TRY(rung.make()), rung.what, rung.isa, 0};
      last.guess = guess_all(*last.plan, rung.isa);
      if (check_.level == SelfCheck::kFull || last.guess <= kQuickSeconds) return last;
    }
    while (runs_.size() > 1 && last.guess > kQuickSeconds) {
      runs_.pop_back();
      last.guess = guess_all(*last.plan, last.isa);
    }
    if (last.guess > kQuickSeconds) last.plan = nullptr;
    return last;
  }

  std::vector<Shape> input_shapes(size_t run) const {
    std::vector<Shape> shapes;
    for (const Tensor& input : runs_[run].inputs) shapes.push_back(input.shape());
    return shapes;
  }

  double guess_all(const Plan& plan, int isa) const {
    double seconds = 0;
    for (size_t i = 0; i < runs_.size(); ++i) seconds += guess_seconds(plan, input_shapes(i), isa);
    return seconds;
  }

  // Runs a session and tells of all runs together as the part from `begin` to `end` of the check.
  Result<std::span<const Tensor>> run_part(Session& session, int isa, size_t run, double begin, double end) {
    std::function<void(double)> tell;
    const auto count = static_cast<double>(runs_.size());
    if (check_.progress) {
      tell = [&, begin, end, run, count](double done) {
        check_.progress(begin + (end - begin) * (static_cast<double>(run) + done) / count);
      };
    }
    session.set_profiler(run_progress(session.plan(), input_shapes(run), isa, tell));
    auto outputs = session.run_in_order(runs_[run].inputs);
    session.set_profiler(nullptr);
    return outputs;
  }

  // Runs both again and watches the tensors that both have.
  Result<std::string> first_bad_step() {
    std::map<std::string, Tensor> expected;
    slow_->set_observer([&](const std::string& name, const Tensor& tensor) { expected[name] = tensor.clone(); });
    HUSSAR_TRY(slow_->run_in_order(runs_[worst_].inputs));
    slow_->set_observer(nullptr);
    std::string culprit;
    // Where padding is left out, rows within are not those of the model.
    const std::set<std::string> packed = packed_tensors(plan_->graph);
    fast_->set_observer([&](const std::string& name, const Tensor& tensor) {
      auto it = expected.find(name);
      if (!culprit.empty() || it == expected.end() || packed.count(name) > 0) return;
      Difference apart = difference(it->second, tensor);
      // A pass may have given a tensor another form; outputs alone must keep theirs.
      if (!apart.incomparable.empty() || apart.error() <= report_.tolerance) return;
      culprit = name;
    });
    HUSSAR_TRY(fast_->run_in_order(runs_[worst_].inputs));
    fast_->set_observer(nullptr);
    for (const PlanStep& step : plan_->graph.steps) {
      for (int32_t output : step.outputs) {
        if (output < 0 || plan_->graph.values[output].name != culprit) continue;
        return fmt::format("; the first step that goes wrong is '{}' ({}, kernel {}): its output '{}'{}", step.name,
                           step.op, step.kernel, culprit, advice(precision_of(plan_->graph, step)));
      }
    }
    return "; no single step with a name in both plans goes wrong before it" +
           advice(count_half_steps(plan_->graph, DType::kFloat16) > 0    ? DType::kFloat16
                  : count_half_steps(plan_->graph, DType::kBFloat16) > 0 ? DType::kBFloat16
                                                                         : DType::kUndefined);
  }

  static std::string advice(DType precision) {
    if (!is_half(precision)) return "";
    return std::string(precision == DType::kFloat16 ? "; FP16 has three digits and ends at 65504"
                                                    : "; BF16 has two digits") +
           ": `--precision NODE=fp32` keeps a step out of it, `--tolerance` allows more";
  }

  std::shared_ptr<const Plan> plan_;
  Ladder ladder_;
  SelfCheckOptions check_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  struct CheckedRun {
    std::vector<Tensor> inputs, wanted;
  };
  std::vector<CheckedRun> runs_;
  size_t worst_ = 0;   // the run with the largest error
  double middle_ = 0;  // the share of the time that the reference is expected to take
  std::unique_ptr<Session> slow_, fast_;
  std::string incomparable_;
  SelfCheckReport report_;
};

using Rebuild = std::function<Result<std::shared_ptr<Plan>>(const std::set<std::string>& inexact_in_half)>;

// `plan` misses the tolerance: the plan with as many steps as it takes in FP32, measured last.
Result<std::shared_ptr<Plan>> keep_in_fp32(Checker& checker, const std::shared_ptr<Plan>& plan, DType half,
                                           const Rebuild& rebuild) {
  const std::vector<HalfStep> steps = half_steps(plan->graph, half);
  if (steps.empty()) return plan;
  const double before = checker.report().error;
  std::shared_ptr<Plan> latest;
  auto trial = [&](const Kept& kept) -> Result<double> {
    std::set<std::string> outputs;
    for (size_t i = 0; i < steps.size(); ++i) {
      if (kept[i]) outputs.insert(steps[i].output);
    }
    latest = HUSSAR_TRY(rebuild(outputs));
    return checker.measure(latest);
  };
  const Kept kept = HUSSAR_TRY(choose_kept(steps.size(), checker.report().tolerance, kMostTrials, trial));
  HUSSAR_TRY(trial(kept));
  SelfCheckReport& report = checker.report();
  report.half = half_name(half);
  report.error_in_half = before;
  report.half_candidates = steps.size();
  for (size_t i = 0; i < steps.size(); ++i) {
    if (kept[i]) report.kept_in_fp32.push_back(steps[i].name.empty() ? steps[i].output : steps[i].name);
  }
  return latest;
}

}  // namespace

Result<SelfCheck> parse_self_check(std::string_view text) {
  if (text == "off") return SelfCheck::kOff;
  if (text == "quick") return SelfCheck::kQuick;
  if (text == "full") return SelfCheck::kFull;
  return fail(ErrorCode::kUsage, "self-check is off, quick or full, not '{}'", text);
}

std::string SelfCheckReport::to_string() const {
  if (!skipped.empty()) return "skipped: " + skipped;
  std::string text = fmt::format("max relative error {:.2g} of the output range ({:g} allowed), against {}, at {}",
                                 error, tolerance, reference, shapes);
  if (samples > 0) text += fmt::format(", on {} of the data's samples", samples);
  if (is_rounding())
    text += fmt::format("; root mean square {:.2g} of what rounding to bytes costs itself", *of_rounding);
  if (!kept_in_fp32.empty()) {
    text += fmt::format("; {} of {} steps kept in FP32: {:.2g} with all in {}", kept_in_fp32.size(), half_candidates,
                        error_in_half, half);
  }
  return text;
}

// Replaces the plan where `rebuild` makes one that holds the tolerance, with steps in FP32 that are in `half`;
// kUndefined: nothing can be done about the plan.
static Result<SelfCheckReport> self_check(std::shared_ptr<Plan>& plan, Ladder ladder,
                                          const std::optional<Rung>& in_floats, int isa, const SelfCheckOptions& check,
                                          DType half, const Rebuild& rebuild) {
  if (check.level == SelfCheck::kOff) {
    SelfCheckReport report;
    report.skipped = "switched off";
    return report;
  }
  const std::string& target = plan->meta.at("target");
  if (is_device_target(target)) {
    if (auto device = open_device(target, 0); !device) {
      SelfCheckReport report;
      report.skipped = "built for a GPU that is not here (" + device.error().message + ")";
      return report;
    }
  }
  HUSSAR_CHECK(isa <= static_cast<int>(cpu::detected_isa()), ErrorCode::kDeviceUnavailable,
               "this machine cannot run {} code, so the plan cannot be checked; --self-check off builds it unchecked",
               cpu::isa_name(static_cast<cpu::Isa>(isa)));
  Checker checker(plan, std::move(ladder), check);
  HUSSAR_TRY(checker.prepare());
  if (!checker.report().skipped.empty()) return checker.conclude();
  const double error = HUSSAR_TRY(checker.measure(plan));
  if (error > checker.report().tolerance && is_half(half))
    plan = HUSSAR_TRY(keep_in_fp32(checker, plan, half, rebuild));
  if (checker.report().error > checker.report().tolerance && in_floats)
    HUSSAR_TRY(checker.compare_with_rounding(*in_floats));
  return checker.conclude();
}

static Result<std::shared_ptr<Plan>> compile_and_check(const std::string& path, const CompileOptions& given,
                                                       SelfCheckOptions check, CompileReport* report,
                                                       SelfCheckReport& checked) {
  HUSSAR_CHECK(!given.packed || given.place == Place::kDevice, ErrorCode::kUsage,
               "packed execution is for GPUs: it goes with --target cuda");
  // What was measured is needed again when steps go back to FP32.
  TimingCache unshared;
  CompileOptions options = given;
  if (options.timings == nullptr) options.timings = &unshared;
  CompileReport made;
  std::shared_ptr<const Plan> source;  // null: a model
  std::shared_ptr<Plan> plan;
  if (is_plan_file(path)) {
    source = HUSSAR_TRY(read_plan(path));
    const Status has_target = has_fp8_steps(source->graph) ? check_fp8_target(options.place, options.sm) : Status();
    HUSSAR_CHECK(has_target, has_target.error().code, "{} has products in FP8: {}", path, has_target.error().message);
    auto rebuilt = compile_plan(*source, options, &made);
    if (!rebuilt) return fail(rebuilt.error().code, "{}: {}", path, rebuilt.error().message);
    plan = std::make_shared<Plan>(std::move(*rebuilt));
    auto shapes = source->meta.find("shapes_opt");
    if (shapes != source->meta.end() && check.shapes.empty()) check.shapes = HUSSAR_TRY(parse_shapes(shapes->second));
  } else {
    plan = std::make_shared<Plan>(HUSSAR_TRY(compile_file(path, options, &made)));
  }
  // The check is about the kernels: against the same numbers in scalar code.
  if (options.quantization != nullptr) options.quantization = made.int8.chosen;
  const bool int8 = options.quantization != nullptr || (source != nullptr && count_int8_steps(plan->graph) > 0);
  const bool fp8 = has_fp8_steps(plan->graph);
  const bool quantized = source == nullptr && !int8 && count_int8_steps(plan->graph) > 0;
  const bool has_own_tolerance = check.tolerance.has_value();
  if (!has_own_tolerance) {
    const double of_options = options.bf16 ? kBf16Tolerance : options.lowers_floats() ? kFp16Tolerance : kFp32Tolerance;
    const double of_bytes = quantized ? kQuantizedModelTolerance : fp8 ? kFp8Tolerance : kInt8Tolerance;
    check.tolerance = std::max({of_options, source != nullptr ? tolerance_of_floats(source->graph) : kFp32Tolerance,
                                int8 || quantized ? of_bytes : kFp32Tolerance});
  }
  if (options.progress) options.progress("self-check");
  check.progress = options.stage_progress;
  Ladder ladder = source != nullptr ? ladder_of_plan(source, options)
                                    : ladder_of_model(path, options, !check.samples.empty(), plan->graph);
  const auto decisions = made.decisions;
  Rebuild rebuild = [&](const std::set<std::string>& inexact) -> Result<std::shared_ptr<Plan>> {
    CompileOptions again = options;
    again.inexact_in_half = inexact;
    again.tune_seconds = 0;
    again.decisions = decisions;
    again.dump = nullptr;
    again.verify_passes = false;
    if (options.progress) options.progress("keep FP32");
    again.progress = nullptr;
    again.stage_progress = nullptr;
    return std::make_shared<Plan>(
        HUSSAR_TRY(source != nullptr ? compile_plan(*source, again) : compile_file(path, again)));
  };
  if (report != nullptr) *report = std::move(made);
  // Where the user says how much is allowed, that holds.
  std::optional<Rung> in_floats;
  if (source == nullptr && !has_own_tolerance && (int8 || quantized)) in_floats = rung_in_floats(path, options);
  checked = HUSSAR_TRY(self_check(plan, std::move(ladder), in_floats, options.isa, check, options.half(), rebuild));
  return plan;
}

Result<std::shared_ptr<Plan>> compile_checked(const std::string& path, const CompileOptions& options,
                                              const SelfCheckOptions& check, CompileReport* report,
                                              SelfCheckReport* check_report) {
  auto begin = std::chrono::steady_clock::now();
  SelfCheckReport checked;
  auto plan = HUSSAR_TRY(compile_and_check(path, options, check, report, checked));
  plan->meta["self_check"] = checked.to_string();
  plan->meta.erase("kept_in_fp32");
  if (!checked.kept_in_fp32.empty()) {
    plan->meta["kept_in_fp32"] =
        fmt::format("{}: {} would exceed the tolerance", fmt::join(checked.kept_in_fp32, ", "), checked.half);
  }
  if (check_report != nullptr) *check_report = checked;
  if (report != nullptr) {
    report->seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  return plan;
}

}  // namespace hussar
