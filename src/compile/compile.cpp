// From a model file to a plan.
#include "compile/compile.h"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <map>

#include "backends/cpu/isa.h"
#include "base/cores.h"
#include "base/error.h"
#include "base/memory.h"
#include "compile/choose_int8.h"
#include "compile/float_products.h"
#include "compile/freeze_tuned.h"
#include "compile/move_to_host.h"
#include "compile/optimize.h"
#include "compile/precision.h"
#include "compile/row_counts.h"
#include "compile/split_composites.h"
#include "compile/thaw.h"
#include "compile/verify_passes.h"
#include "onnx/import.h"
#include "plan/device.h"

namespace hussar {
namespace {

// Symbols are identifiers; names of inputs can be anything.
Dim free_dimension(const std::string& input, size_t axis) {
  std::string symbol = "d_" + input + "_" + std::to_string(axis);
  for (char& c : symbol) c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return Dim::symbol(symbol.substr(0, 100));
}

Status apply_shapes(Graph& graph, const NamedShapes& shapes) {
  for (const auto& [name, dims] : shapes) {
    Value* input = nullptr;
    std::string known;
    for (Value* candidate : graph.inputs) {
      if (candidate->name == name) input = candidate;
      known += (known.empty() ? "" : ", ") + describe(*candidate);
    }
    HUSSAR_CHECK(input != nullptr, ErrorCode::kUsage, "--shapes names '{}'; the model's inputs are {}", name, known);
    HUSSAR_CHECK(!input->dims || input->dims->size() == dims.size(), ErrorCode::kUsage,
                 "--shapes gives '{}' {} dimensions; the model has {}", name, dims.size(), describe(*input));
    Dims fixed;
    for (size_t axis = 0; axis < dims.size(); ++axis) {
      const Dim& given = dims[axis];
      if (given.is(-1)) {
        fixed.push_back(input->dims ? (*input->dims)[axis] : free_dimension(name, axis));
        continue;
      }
      bool differs = input->dims && (*input->dims)[axis].is_constant() && !((*input->dims)[axis] == given);
      HUSSAR_CHECK(!differs, ErrorCode::kUsage, "--shapes asks for {} in dimension {} of '{}'; the model fixes it: {}",
                   given.to_string(), axis, name, describe(*input));
      fixed.push_back(given);
    }
    input->dims = std::move(fixed);
  }
  return {};
}

// A dimension named "batch" in two inputs is one dimension: fixing or renaming it in one does so in all.
void unify_symbols(Graph& graph, const std::vector<std::optional<Dims>>& before) {
  std::map<std::string, Dim> fixed;
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    const auto& old_dims = before[i];
    const auto& new_dims = graph.inputs[i]->dims;
    if (!old_dims || !new_dims) continue;
    for (size_t axis = 0; axis < old_dims->size(); ++axis) {
      const Dim& old_dim = (*old_dims)[axis];
      if (!old_dim.is_constant() && !((*new_dims)[axis] == old_dim)) fixed[old_dim.to_string()] = (*new_dims)[axis];
    }
  }
  for (Value* input : graph.inputs) {
    if (!input->dims) continue;
    for (Dim& dim : *input->dims) {
      if (auto it = fixed.find(dim.to_string()); !dim.is_constant() && it != fixed.end()) dim = it->second;
    }
  }
}

Status optimize(Graph& graph, const PipelineOptions& options, std::vector<PassRecord>* records) {
  auto done = HUSSAR_TRY(run_pipeline(graph, options));
  if (records != nullptr) records->insert(records->end(), done.begin(), done.end());
  for (const auto& node : graph.nodes()) {
    for (const Body& body : node->bodies) {
      // A branch that does not work for the known shapes is one that is never taken: it stays as it is.
      PipelineOptions inner = options;
      inner.packed = false;
      auto status = optimize(*body.graph, inner, nullptr);
      if (!status && status.error().code != ErrorCode::kInvalidModel) return status;
    }
  }
  return {};
}

}  // namespace

Status fix_shapes(Graph& graph, const NamedShapes& shapes) {
  if (shapes.empty()) return {};
  std::vector<std::optional<Dims>> before;
  for (const Value* input : graph.inputs) before.push_back(input->dims);
  HUSSAR_TRY(apply_shapes(graph, shapes));
  unify_symbols(graph, before);
  return {};
}

std::string target_name(const Target& target) {
  if (target.place == Place::kDevice) return fmt::format("cuda:sm_{}", target.sm);
  return std::string("cpu:") + cpu::isa_name(static_cast<cpu::Isa>(target.isa));
}

// Of a plan whose rivals have been measured before, as far as the budget went.
static constexpr double kNoTime = 1e-9;

// For passes that choose: measures what they could make of the model, and what it is without them. Gives the seconds
// that it took.
static Result<double> tune_passes(const Graph& imported, PipelineOptions pipeline, const CompileOptions& options,
                                  TimingCache& timings, CompileReport* report) {
  pipeline.dump = nullptr;
  pipeline.measure = nullptr;
  auto makes_choices = [](const PassRecord& record) {
    return record.rewrites > 0 && std::any_of(all_passes().begin(), all_passes().end(), [&](const Pass* pass) {
             return pass->chooses && pass->name == record.name;
           });
  };
  Graph eager = imported.clone();
  std::vector<PassRecord> records;
  pipeline.eager = true;
  HUSSAR_TRY(optimize(eager, pipeline, &records));
  if (std::none_of(records.begin(), records.end(), makes_choices)) return 0.0;
  if (options.progress) options.progress("tune passes");
  Graph apart = imported.clone();
  pipeline.eager = false;
  for (const Pass* pass : all_passes()) {
    if (pass->chooses) pipeline.disabled.emplace_back(pass->name);
  }
  HUSSAR_TRY(optimize(apart, pipeline, nullptr));
  const Graph* const forms[] = {&eager, &apart};
  return tune_graphs(forms, pipeline.target, options, timings, report);
}

static Target target_of(const CompileOptions& options) {
  Target target;
  target.isa = options.isa >= 0 ? options.isa : static_cast<int>(cpu::active_isa());
  target.threads = options.threads > 0 ? options.threads : usable_cores();
  target.place = options.place;
  target.sm = options.sm;
  if (options.fp16) target.no_fp16 = {};
  if (options.bf16) target.no_bf16 = {};
  if (options.tf32) target.no_tf32 = {};
  if (!options.sparsity) target.no_sparsity = "--sparsity off";
  if (options.libraries != Libraries::kOff) target.no_libraries = {};
  target.only_libraries = options.libraries == Libraries::kOnly;
  return target;
}

Result<Libraries> parse_libraries(std::string_view text) {
  constexpr std::string_view kNames[] = {"off", "on", "only"};
  const auto* found = std::find(std::begin(kNames), std::end(kNames), text);
  HUSSAR_CHECK(found != std::end(kNames), ErrorCode::kUsage, "--libraries is off, on or only, not '{}'", text);
  return static_cast<Libraries>(found - std::begin(kNames));
}

static Status check_token_part(const CompileOptions& options) {
  const bool fits = options.token_part > 0 && options.token_part <= 1;
  HUSSAR_CHECK(fits, ErrorCode::kUsage, "the part of rows that holds tokens is {}: it must be above 0 and at most 1",
               options.token_part);
  return {};
}

Status check_half(const CompileOptions& options) {
  if (!options.bf16) return {};
  HUSSAR_CHECK(!options.fp16, ErrorCode::kUsage,
               "FP16 and BF16 exclude each other: a plan keeps its floats in one of them; build twice to compare them");
  // An emulated GPU, for tests, is sm_0.
  constexpr int kFirst = 80;
  HUSSAR_CHECK(options.place == Place::kHost || options.sm == 0 || options.sm >= kFirst, ErrorCode::kUsage,
               "BF16 needs a GPU of compute capability 8.0 or newer (Ampere), this one has {}.{}: FP16 is what it "
               "computes in",
               options.sm / 10, options.sm % 10);
  return {};
}

// What a library does best it finds out on the GPU itself.
static Status check_libraries(const CompileOptions& options) {
  if (options.libraries == Libraries::kOff || options.place == Place::kHost) return {};
  const std::string target = target_name(target_of(options));
  const auto device = open_device(target, 0);
  HUSSAR_CHECK(device, ErrorCode::kUsage,
               "--libraries is for plans for the GPU of this machine, as libraries choose their code there, and it has "
               "none for {}: leave --libraries off",
               target);
  return {};
}

// What the plan leaves out, as the pass says it; empty: nothing.
static std::string note_of_packing(const Graph& graph) {
  for (const auto& node : graph.nodes()) {
    if (node->op == "hussar.TokenOrder") return node->note;
  }
  return {};
}

namespace {

// A graph on which the passes have run.
struct PassesForm {
  Graph graph;
  std::string packing;       // what the plan leaves out
  double tuned_seconds = 0;  // of the budget, spent on passes that choose
};

}  // namespace

static Result<PassesForm> make_form(Graph graph, const CompileOptions& options, CompileReport* report) {
  const Target target = target_of(options);
  HUSSAR_CHECK(!options.packed || !options.verify_passes, ErrorCode::kUsage,
               "--verify-passes and --packed exclude each other: the pass pack_tokens changes rows of padding");
  HUSSAR_TRY(fix_shapes(graph, options.shapes));
  if (options.progress) options.progress("passes");
  PipelineOptions pipeline;
  pipeline.target = target;
  pipeline.disabled = options.disabled_passes;
  pipeline.timings = timings_from(*options.timings, target, options.tune_shapes);
  pipeline.dump = options.dump;
  pipeline.quantization = options.quantization.get();
  pipeline.packed = options.packed;
  KeptNodes kept(options.fp32_nodes, options.inexact_in_half);
  pipeline.restrict = [&kept](const Problem& problem) { return kept.restrict(problem); };
  PassesForm form;
  if (tunes(options, target) && target.place == Place::kHost) {
    form.tuned_seconds = HUSSAR_TRY(tune_passes(graph, pipeline, options, *options.timings, report));
  }
  std::optional<PassVerifier> verifier;
  if (options.verify_passes) {
    verifier = HUSSAR_TRY(PassVerifier::create(graph, options.verify_shapes, options.verify_tolerance));
    pipeline.measure = [&](std::string_view pass) { return verifier->measure(graph, pass); };
  }
  HUSSAR_TRY(optimize(graph, pipeline, report != nullptr ? &report->passes : nullptr));
  // A CPU has no kernels for FP8: what it checks it computes by reference code.
  const bool fp8 = options.quantization != nullptr && options.quantization->fp8;
  if (fp8 && target.place == Place::kHost) HUSSAR_TRY(make_reference_steps_plain(graph, target));
  form.packing = note_of_packing(graph);
  if (options.packed) expect_rows(graph, options.token_part);
  HUSSAR_CHECK(!options.packed || !form.packing.empty(), ErrorCode::kUsage,
               "--packed needs the pass pack_tokens, which --disable-pass leaves out");
  form.graph = std::move(graph);
  return form;
}

// draft: what contests in the whole plan need, where they are held later; null: they are held here.
static Result<Plan> make_plan(PassesForm form, const CompileOptions& options, CompileReport* report,
                              Draft* draft = nullptr) {
  if (report != nullptr) report->int8.chosen = options.quantization;
  if (report != nullptr && options.quantization != nullptr) report->int8.name = options.quantization->name();
  const Target target = target_of(options);
  Plan plan = HUSSAR_TRY(draft != nullptr ? freeze_alone(form.graph, target, options, report, form.tuned_seconds, draft)
                                          : freeze_tuned(form.graph, target, options, report, form.tuned_seconds));
  if (!form.packing.empty()) plan.meta["packed"] = form.packing;
  if (report != nullptr && options.quantization != nullptr) report->int8.in_floats = float_products(plan.graph);
  return plan;
}

// The plan with the choice of precisions that is measured to be fastest. On a device what all floats and all INT8 take
// is measured first, together: what is most expensive in either comes first, and the time is spent where most is to be
// gained. Both plans are then as good as the budget allows, and what is left is for work that only mixtures have. The
// kernels of the plan that wins then meet their rivals in that plan: choices between precisions need more of a lead
// than that brings, and the contests of the others would be for nothing.
static Result<Plan> compile_int8(const Graph& graph, const CompileOptions& options, CompileReport* report) {
  CompileOptions inner = options;
  CompileReport unread;
  if (report == nullptr) report = &unread;
  TimingCache unshared;
  if (inner.timings == nullptr) inner.timings = &unshared;
  inner.chooses_int8 = false;
  const Target target = target_of(options);
  const bool on_device = target.place == Place::kDevice;
  // Of the budget, for both forms; and of what they leave, for the plan with attention in floats.
  constexpr double kBothForms = 0.8, kAttentionApart = 0.5;
  std::map<const Quantization*, PassesForm> forms;
  std::map<const Quantization*, Draft> drafts;
  const double alone_seconds = (on_device ? 1 - kWholePlanShare : 1) * options.tune_seconds;
  double spent = 0;
  if (on_device) {
    std::vector<const Graph*> graphs;
    for (const auto& quantization : {std::shared_ptr<const Quantization>(), options.quantization}) {
      inner.quantization = quantization;
      auto& form = forms[quantization.get()] = HUSSAR_TRY(make_form(graph.clone(), inner, report));
      graphs.push_back(&form.graph);
    }
    if (options.progress) options.progress("tune");
    inner.tune_seconds = kBothForms * alone_seconds;
    inner.tune_reserve = kWholePlanShare * options.tune_seconds;
    spent = HUSSAR_TRY(tune_graphs(graphs, target, inner, *inner.timings, report));
    inner.tune_reserve = 0;
  }
  auto compile_with = [&](std::shared_ptr<const Quantization> quantization, PlanRole role) -> Result<Plan> {
    inner.quantization = std::move(quantization);
    // On a CPU three plans share the budget.
    inner.tune_seconds = options.tune_seconds / 3;
    if (on_device) {
      const double left = std::max(alone_seconds - spent, 0.0);
      const double share = role == PlanRole::kMixed ? 1 : role == PlanRole::kAttentionApart ? kAttentionApart : 0;
      inner.tune_seconds = std::max(share * left, kNoTime);
    }
    const double before = report->tuning.seconds;
    auto known = forms.extract(inner.quantization.get());
    PassesForm form = known.empty() ? HUSSAR_TRY(make_form(graph.clone(), inner, report)) : std::move(known.mapped());
    Draft* draft = on_device ? &drafts[inner.quantization.get()] : nullptr;
    Plan plan = HUSSAR_TRY(make_plan(std::move(form), inner, report, draft));
    spent += report->tuning.seconds - before;
    return plan;
  };
  Int8Report measured;
  measured.name = options.quantization->name();
  if (options.lowers_floats()) measured.otherwise = options.fp16 ? "FP16" : options.bf16 ? "BF16" : "TF32";
  Plan plan = HUSSAR_TRY(choose_int8(compile_with, options.quantization, options.tune_shapes, measured));
  if (on_device) {
    inner.quantization = options.quantization;
    Draft draft = std::move(drafts[measured.chosen.get()]);
    drafts.clear();
    plan = HUSSAR_TRY(
        decide_in_whole_plan(std::move(draft), std::move(plan), target, inner, options.tune_seconds - spent, report));
  }
  report->int8 = std::move(measured);
  return plan;
}

static Result<Plan> compile(Graph graph, const CompileOptions& options, CompileReport* report) {
  if (options.quantization != nullptr && options.chooses_int8 && can_measure_plans(options, target_of(options)))
    return compile_int8(graph, options, report);
  CompileOptions remembering = options;
  TimingCache unshared;
  if (remembering.timings == nullptr) remembering.timings = &unshared;
  return make_plan(HUSSAR_TRY(make_form(std::move(graph), remembering, report)), remembering, report);
}

Result<Graph> optimize_graph(Graph graph, const CompileOptions& options) {
  HUSSAR_TRY(fix_shapes(graph, options.shapes));
  PipelineOptions pipeline;
  pipeline.target = target_of(options);
  pipeline.disabled = options.disabled_passes;
  TimingCache unshared;
  pipeline.timings =
      timings_from(options.timings != nullptr ? *options.timings : unshared, pipeline.target, options.tune_shapes);
  pipeline.quantization = options.quantization.get();
  HUSSAR_TRY(optimize(graph, pipeline, nullptr));
  return graph;
}

Result<Plan> freeze_graph(Graph graph, const CompileOptions& options) {
  CompileOptions untuned = options;
  untuned.tune_seconds = 0;
  return freeze_tuned(graph, target_of(untuned), untuned, nullptr);
}

Result<Plan> compile_graph(Graph graph, const CompileOptions& options, CompileReport* report) {
  CompileReport unseen;
  if (report == nullptr) report = &unseen;
  *report = {};
  HUSSAR_TRY(check_half(options));
  HUSSAR_TRY(check_token_part(options));
  HUSSAR_TRY(check_libraries(options));
  Plan plan = HUSSAR_TRY(catching("compile the model", [&] { return compile(std::move(graph), options, report); }));
  if (options.needs_int8) HUSSAR_TRY(check_all_int8(report->int8.in_floats));
  return plan;
}

Result<Plan> compile_plan(const Plan& plan, const CompileOptions& options, CompileReport* report) {
  auto begin = std::chrono::steady_clock::now();
  if (report != nullptr) *report = {};
  HUSSAR_CHECK(options.shapes.empty(), ErrorCode::kUsage,
               "a plan keeps the input shapes that it was built for: other --shapes need the ONNX model");
  HUSSAR_CHECK(
      options.disabled_passes.empty() && !options.dump && !options.verify_passes, ErrorCode::kUsage,
      "the passes ran when the plan was built: --disable-pass, --dump and --verify-passes need the ONNX model");
  HUSSAR_TRY(check_half(options));
  HUSSAR_TRY(check_token_part(options));
  HUSSAR_TRY(check_libraries(options));
  HUSSAR_CHECK(!options.packed, ErrorCode::kUsage,
               "the passes ran when the plan was built: --packed needs the ONNX model");
  Graph graph = HUSSAR_TRY(thaw(plan));
  const Target target = target_of(options);
  HUSSAR_TRY(catching("rebuild the plan", [&] { return split_composites(graph, target); }));
  const auto before = plan.meta.find("target");
  if (target.place == Place::kHost && before != plan.meta.end() && is_device_target(before->second))
    HUSSAR_TRY(catching("rebuild the plan", [&] { return move_to_host(graph, target); }));
  Plan rebuilt = HUSSAR_TRY(catching("rebuild the plan", [&] { return freeze_tuned(graph, target, options, report); }));
  // What the new plan says of itself comes first.
  rebuilt.meta.insert(plan.meta.begin(), plan.meta.end());
  if (report != nullptr) {
    report->seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  return rebuilt;
}

Result<Plan> compile_file(const std::string& model_path, const CompileOptions& options, CompileReport* report) {
  auto begin = std::chrono::steady_clock::now();
  if (options.progress) options.progress("import");
  onnx::ImportedModel model = HUSSAR_TRY(onnx::import_file(model_path));
  auto plan = compile_graph(std::move(model.graph), options, report);
  if (!plan) return fail(plan.error().code, "{}: {}", model_path, plan.error().message);
  plan->meta["model"] = model_path.substr(model_path.rfind('/') + 1);
  plan->meta["producer"] = model.producer;
  plan->meta["opset"] = std::to_string(model.opset);
  if (report != nullptr) {
    report->seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  return plan;
}

}  // namespace hussar
