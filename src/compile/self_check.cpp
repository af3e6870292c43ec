// Building the slower plan, running both, and finding where they part.
#include "compile/self_check.h"

#include <chrono>
#include <cmath>
#include <map>

#include "backends/cpu/isa.h"
#include "base/error.h"
#include "compile/difference.h"
#include "compile/flops.h"
#include "compile/precision.h"
#include "compile/run_progress.h"
#include "compile/sample.h"
#include "compile/spelling.h"
#include "runtime/session.h"

namespace hussar {
namespace {

// What a quick check may take, by guess_seconds: of the order of the build itself.
constexpr double kQuickSeconds = 3;

// The slower plans in order of trust: the further down, the more they share with the plan that they check.
struct Rung {
  const char* what;
  std::function<Result<std::shared_ptr<const Plan>>()> make;
  int isa;
};
using Ladder = std::vector<Rung>;

// What a check must not depend on.
CompileOptions plainer(CompileOptions options) {
  options.fp16 = false;
  options.fp32_nodes.clear();
  options.tune_seconds = 0;
  options.timings = nullptr;
  options.progress = nullptr;
  options.stage_progress = nullptr;
  return options;
}

Ladder ladder_of_model(const std::string& path, const CompileOptions& given) {
  CompileOptions options = plainer(given);
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
  return {rung("no passes, scalar code", false, true), rung("no passes, the same code", false, false),
          rung("the same passes, scalar code", true, true)};
}

// A plan that needs what this machine lacks cannot check what was made of it.
Ladder ladder_of_plan(const std::shared_ptr<const Plan>& plan, const CompileOptions& given) {
  CompileOptions options = plainer(given);
  Ladder ladder;
  auto target = plan->meta.find("target");
  auto isa = target == plan->meta.end() ? Result<int>(-1) : parse_target(target->second);
  if (isa && *isa <= static_cast<int>(cpu::active_isa())) {
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

  Result<SelfCheckReport> run() {
    auto begin = std::chrono::steady_clock::now();
    auto inputs = random_inputs(input_facts(plan_->graph), check_.shapes, check_.seed);
    if (!inputs) return skip("no inputs can be made up: " + inputs.error().message);
    inputs_ = std::move(*inputs);
    NamedShapes spelled;
    for (size_t i = 0; i < inputs_.size(); ++i) {
      const Shape& shape = inputs_[i].shape();
      spelled[plan_->graph.values[plan_->graph.inputs[i]].name] = Dims(shape.begin(), shape.end());
    }
    report_.shapes = spell_shapes(spelled);
    Reference reference = HUSSAR_TRY(build_reference());
    if (reference.plan == nullptr) {
      return skip(fmt::format("it would take some {:.0f} s; --self-check full does it", reference.guess));
    }
    report_.reference = reference.what;
    HUSSAR_TRY(compare(reference));
    report_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return report_;
  }

 private:
  SelfCheckReport skip(std::string reason) {
    report_.skipped = std::move(reason);
    return report_;
  }

  Result<Reference> build_reference() {
    Reference best;
    for (const Rung& rung : ladder_) {
      auto plan = HUSSAR_TRY(rung.make());
      best.guess = guess_seconds(*plan, input_shapes(), rung.isa);
      if (check_.level == SelfCheck::kFull || best.guess <= kQuickSeconds) {
        best.plan = std::move(plan);
        best.what = rung.what;
        best.isa = rung.isa;
        return best;
      }
    }
    return best;
  }

  std::vector<Shape> input_shapes() const {
    std::vector<Shape> shapes;
    for (const Tensor& input : inputs_) shapes.push_back(input.shape());
    return shapes;
  }

  // Runs a session and tells of it as the part from `begin` to `end` of the check.
  Result<std::span<const Tensor>> run_part(Session& session, int isa, double begin, double end) {
    std::function<void(double)> tell;
    if (check_.progress) tell = [&, begin, end](double done) { check_.progress(begin + (end - begin) * done); };
    session.set_profiler(run_progress(session.plan(), input_shapes(), isa, tell));
    auto outputs = session.run_in_order(inputs_);
    session.set_profiler(nullptr);
    return outputs;
  }

  Status compare(const Reference& reference) {
    auto slow = HUSSAR_TRY(Session::create(reference.plan));
    auto fast = HUSSAR_TRY(Session::create(plan_));
    const int isa = static_cast<int>(cpu::active_isa());
    const double guess = guess_seconds(*plan_, input_shapes(), isa), both = reference.guess + guess;
    const double middle = both > 0 ? reference.guess / both : 0.5;
    auto wanted = run_part(*slow, reference.isa, 0, middle);
    auto got = run_part(*fast, isa, middle, 1);
    if (!wanted) {
      // Made-up inputs need not suit a model; what the reference refuses says nothing about the plan.
      report_.skipped = "the reference cannot run made-up inputs: " + wanted.error().message;
      return {};
    }
    HUSSAR_CHECK(got.has_value(), ErrorCode::kAccuracy, "self-check: the plan does not run where {} does: {}",
                 report_.reference, got.error().message);
    std::string incomparable;
    for (size_t i = 0; i < wanted->size(); ++i) {
      Difference apart = difference((*wanted)[i], (*got)[i]);
      if (i == 0 || apart.error() > report_.error) {
        report_.error = apart.error();
        report_.output = plan_->graph.values[plan_->graph.outputs[i]].name;
        incomparable = apart.incomparable;
      }
    }
    report_.done = true;
    if (report_.error <= report_.tolerance) return {};
    std::string culprit = HUSSAR_TRY(first_bad_step(*slow, *fast));
    std::string figure = incomparable.empty() ? fmt::format("max relative error {:.2g}", report_.error) : incomparable;
    return fail(ErrorCode::kAccuracy, "self-check: output '{}' is off ({}, allowed {:.2g}, against {}){}",
                report_.output, figure, report_.tolerance, report_.reference, culprit);
  }

  // Runs both again and watches the tensors that both have.
  Result<std::string> first_bad_step(Session& slow, Session& fast) {
    std::map<std::string, Tensor> expected;
    slow.set_observer([&](const std::string& name, const Tensor& tensor) { expected[name] = tensor.clone(); });
    HUSSAR_TRY(slow.run_in_order(inputs_));
    slow.set_observer(nullptr);
    std::string culprit;
    fast.set_observer([&](const std::string& name, const Tensor& tensor) {
      auto it = expected.find(name);
      if (!culprit.empty() || it == expected.end()) return;
      Difference apart = difference(it->second, tensor);
      // A pass may have given a tensor another form; outputs alone must keep theirs.
      if (!apart.incomparable.empty() || apart.error() <= report_.tolerance) return;
      culprit = name;
    });
    HUSSAR_TRY(fast.run_in_order(inputs_));
    fast.set_observer(nullptr);
    for (const PlanStep& step : plan_->graph.steps) {
      for (int32_t output : step.outputs) {
        if (output < 0 || plan_->graph.values[output].name != culprit) continue;
        return fmt::format("; the first step that goes wrong is '{}' ({}, kernel {}): its output '{}'{}", step.name,
                           step.op, step.kernel, culprit, advice(step));
      }
    }
    return "; no single step with a name in both plans goes wrong before it" +
           std::string(count_fp16_steps(plan_->graph) > 0 ? kRangeOfFp16 : "");
  }

  static constexpr const char* kRangeOfFp16 =
      "; FP16 has three digits and ends at 65504: `--precision NODE=fp32` keeps a step out of it, `--tolerance` allows "
      "more";

  std::string advice(const PlanStep& step) const {
    return precision_of(plan_->graph, step) == DType::kFloat16 ? kRangeOfFp16 : "";
  }

  std::shared_ptr<const Plan> plan_;
  Ladder ladder_;
  SelfCheckOptions check_;
  std::vector<Tensor> inputs_;
  SelfCheckReport report_;
};

}  // namespace

Result<SelfCheck> parse_self_check(std::string_view text) {
  if (text == "off") return SelfCheck::kOff;
  if (text == "quick") return SelfCheck::kQuick;
  if (text == "full") return SelfCheck::kFull;
  return fail(ErrorCode::kUsage, "self-check is off, quick or full, not '{}'", text);
}

std::string SelfCheckReport::to_string() const {
  if (!skipped.empty()) return "skipped: " + skipped;
  return fmt::format("max relative error {:.2g} of the output range ({:g} allowed), against {}, at {}", error,
                     tolerance, reference, shapes);
}

static Result<SelfCheckReport> self_check(std::shared_ptr<const Plan> plan, Ladder ladder, int isa,
                                          const SelfCheckOptions& check) {
  if (check.level == SelfCheck::kOff) {
    SelfCheckReport report;
    report.skipped = "switched off";
    return report;
  }
  HUSSAR_CHECK(isa <= static_cast<int>(cpu::detected_isa()), ErrorCode::kDeviceUnavailable,
               "this machine cannot run {} code, so the plan cannot be checked; --self-check off builds it unchecked",
               cpu::isa_name(static_cast<cpu::Isa>(isa)));
  return Checker(std::move(plan), std::move(ladder), check).run();
}

Result<SelfCheckReport> self_check(std::shared_ptr<const Plan> plan, const std::string& model_path,
                                   const CompileOptions& options, const SelfCheckOptions& check) {
  SelfCheckOptions settled = check;
  if (!settled.tolerance && options.fp16) settled.tolerance = kFp16Tolerance;
  return self_check(std::move(plan), ladder_of_model(model_path, options), options.isa, settled);
}

static Result<std::shared_ptr<Plan>> compile_and_check(const std::string& path, const CompileOptions& options,
                                                       SelfCheckOptions check, CompileReport* report,
                                                       SelfCheckReport& checked) {
  std::shared_ptr<const Plan> source;  // null: a model
  std::shared_ptr<Plan> plan;
  if (is_plan_file(path)) {
    source = HUSSAR_TRY(read_plan(path));
    auto rebuilt = compile_plan(*source, options, report);
    if (!rebuilt) return fail(rebuilt.error().code, "{}: {}", path, rebuilt.error().message);
    plan = std::make_shared<Plan>(std::move(*rebuilt));
    auto shapes = source->meta.find("shapes_opt");
    if (shapes != source->meta.end() && check.shapes.empty()) check.shapes = HUSSAR_TRY(parse_shapes(shapes->second));
  } else {
    plan = std::make_shared<Plan>(HUSSAR_TRY(compile_file(path, options, report)));
  }
  const bool fp16 = options.fp16 || (source != nullptr && count_fp16_steps(source->graph) > 0);
  if (!check.tolerance) check.tolerance = fp16 ? kFp16Tolerance : kFp32Tolerance;
  if (options.progress) options.progress("self-check");
  check.progress = options.stage_progress;
  Ladder ladder = source != nullptr ? ladder_of_plan(source, options) : ladder_of_model(path, options);
  checked = HUSSAR_TRY(self_check(plan, std::move(ladder), options.isa, check));
  return plan;
}

Result<std::shared_ptr<Plan>> compile_checked(const std::string& path, const CompileOptions& options,
                                              const SelfCheckOptions& check, CompileReport* report,
                                              SelfCheckReport* check_report) {
  auto begin = std::chrono::steady_clock::now();
  SelfCheckReport checked;
  auto plan = HUSSAR_TRY(compile_and_check(path, options, check, report, checked));
  plan->meta["self_check"] = checked.to_string();
  if (check_report != nullptr) *check_report = checked;
  if (report != nullptr) {
    report->seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  return plan;
}

}  // namespace hussar
