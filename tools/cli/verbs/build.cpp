// hussar build: an ONNX model becomes a plan, or a plan one for another target.
#include <sys/stat.h>

#include <cerrno>
#include <cmath>
#include <cstring>

#include "backends/cpu/isa.h"
#include "base/error.h"
#include "base/file.h"
#include "compile/layer_errors.h"
#include "compile/sample.h"
#include "compile/self_check.h"
#include "compile/timing_file.h"
#include "tools/cli/build_report.h"
#include "tools/cli/console.h"
#include "tools/cli/forced_sparsity.h"
#include "tools/cli/int8_flags.h"
#include "tools/cli/page/page.h"
#include "tools/cli/precision_flags.h"
#include "tools/cli/verb.h"

namespace hussar::cli {
namespace {

struct Arguments {
  std::string model, output, shapes, minimum, optimum, maximum, target = "cpu", dump, self_check = "quick";
  std::vector<std::string> disabled;
  int threads = 0;
  double tolerance = std::nan("");  // none given
  double token_part = CompileOptions{}.token_part;
  bool verify_passes = false, verbose = false, packed = false;
  PrecisionFlags precision;
  Int8Flags int8;
  std::string budget = kUsualBudget, timing_cache, html;
};

void suggest_values(Command& command) {
  std::vector<std::string> targets = {"cpu", "cuda", "cuda:sm_80", "cuda:sm_90a"}, passes = {"all"};
  for (cpu::Isa isa : cpu::kAllIsas) targets.push_back(std::string("cpu:") + cpu::isa_name(isa));
  for (const Pass* pass : all_passes()) passes.emplace_back(pass->name);
  command.suggest("--target", targets);
  command.suggest("--disable-pass", passes);
}

void declare(Command& command, Arguments& arguments) {
  command.positional("MODEL", arguments.model, "an .onnx file, or a plan to build again for another target");
  command.option("-o,--output", "FILE", arguments.output, "where the plan goes", true);
  command.option("--shapes", "SHAPES", arguments.shapes,
                 "fixes input shapes: x:1x3x224x224,y:1x-1; -1 or a name leaves a dimension free");
  command.option("--min-shapes", "SHAPES", arguments.minimum, "with the next two: the range of shapes to build for;");
  command.option("--opt-shapes", "SHAPES", arguments.optimum, "the self-check and `hussar bench` use these");
  command.option("--max-shapes", "SHAPES", arguments.maximum, "dimensions equal in all three are fixed");
  command.option(
      "--target", "TARGET", arguments.target,
      "cpu, cpu:scalar, cpu:avx2, cpu:avx512, cpu:avx512fp16 or cpu:amx; cuda or cuda:1 for a GPU of this machine, "
      "cuda:sm_90a for any; default: the best CPU level of this machine");
  command.option("--threads", "N", arguments.threads,
                 "threads that a run uses; default: one per core that this process may use");
  command.option("--self-check", arguments.self_check, {"off", "quick", "full"},
                 "runs the plan beside a slower one before writing it");
  command.option("--tolerance", "X", arguments.tolerance,
                 "of the self-check and of --verify-passes, relative to the output range; default 1e-3, of the "
                 "self-check 1e-2 with --fp16 or --tf32, 8e-2 with --bf16");
  command.option("--disable-pass", "NAME", arguments.disabled, "leaves out one pass, or `all`; repeatable");
  command.option("--dump", "FOLDER", arguments.dump, "writes the graph as text after each pass that changes it");
  command.toggle("--verify-passes", arguments.verify_passes,
                 "evaluates the model after each pass that changes it, by (slow) reference code");
  command.toggle("-v,--verbose", arguments.verbose, "prints what each pass did and how long it took");
  arguments.precision.declare(command, true);
  arguments.int8.declare(command);
  command.toggle("--packed", arguments.packed,
                 "with --target cuda: padding of encoder batches, which the attention mask tells, is left out; rows of "
                 "padding in outputs are zeros then, and masks must be zeros and ones");
  command.option("--token-part", "X", arguments.token_part,
                 "with --packed: the part of a batch that is no padding, as a rule, for which kernels are chosen; "
                 "default 0.5");
  command.refuse("--fallback", "a plan holds its weights in one precision");
  command.option("--budget", "TIME", arguments.budget,
                 "measures rival kernels inside the model for at most so long (60s, 2m); default 10s; 0: the predicted "
                 "times decide, the same everywhere");
  command.option("--timing-cache", "FILE", arguments.timing_cache,
                 "where measurements are kept: equal problems are not measured again; made if it is not there");
  command.option("--html", "FILE", arguments.html,
                 "with --int8: writes a page with times before and after, the error of every layer, what stayed in "
                 "FP32, and the histograms of the calibration");
  suggest_values(command);
}

// Of everything that is written at the end, before work begins.
Status check_outputs(const Arguments& arguments) {
  HUSSAR_TRY(check_can_write(arguments.output));
  if (!arguments.timing_cache.empty()) HUSSAR_TRY(check_can_write(arguments.timing_cache));
  HUSSAR_CHECK(arguments.html.empty() || arguments.int8.int8(), ErrorCode::kUsage, "--html goes with --int8");
  HUSSAR_CHECK(
      arguments.html.empty() || !arguments.packed, ErrorCode::kUsage,
      "--html compares tensor by tensor, and --packed puts their rows into another order: build the page without "
      "--packed");
  if (!arguments.html.empty()) HUSSAR_TRY(check_can_write(arguments.html));
  if (arguments.dump.empty()) return {};
  bool made = ::mkdir(arguments.dump.c_str(), 0777) == 0 || errno == EEXIST;
  HUSSAR_CHECK(made, ErrorCode::kRunFailed, "cannot create '{}': {}", arguments.dump, std::strerror(errno));
  return check_can_write(arguments.dump + "/dump");
}

// Files are numbered in the order of the passes; bodies of control flow follow their graph.
Status write_dump(const std::string& folder, int number, std::string_view pass, const Graph& graph) {
  std::string path = fmt::format("{}/{:03}_{}.txt", folder, number, pass), text = graph.to_string();
  return write_file_atomically(path, {std::as_bytes(std::span(text.data(), text.size()))});
}

Result<ShapeRange> parse_range(const Arguments& arguments) {
  ShapeRange range;
  range.minimum = HUSSAR_TRY(parse_shapes(arguments.minimum));
  range.optimum = HUSSAR_TRY(parse_shapes(arguments.optimum));
  range.maximum = HUSSAR_TRY(parse_shapes(arguments.maximum));
  bool any = !range.minimum.empty() || !range.optimum.empty() || !range.maximum.empty();
  HUSSAR_CHECK(!any || arguments.shapes.empty(), ErrorCode::kUsage,
               "--shapes and --min/opt/max-shapes exclude each other");
  return range;
}

// `options` are those that the plan was compiled with.
Status write_build_page(const Arguments& arguments, const CompileOptions& options, const BuildReport& report,
                        const std::shared_ptr<Plan>& plan) {
  auto samples = HUSSAR_TRY(arguments.int8.first_samples(arguments.model, options.shapes, 1));
  std::vector<Tensor> inputs = samples.empty() ? std::vector<Tensor>() : std::move(samples[0]);
  std::string note = "on the first sample of the data";
  if (samples.empty()) {
    inputs = HUSSAR_TRY(random_inputs(input_facts(plan->graph), options.tune_shapes, 1));
    note = "on made-up inputs, as there are no data (--calib)";
  }
  const LayerReport layers = HUSSAR_TRY(measure_against_fp32(arguments.model, options, plan, inputs));
  PageContent page;
  page.title = "INT8 build of " + arguments.model;
  page.facts = {{"plan", arguments.output + ", " + format_bytes(static_cast<double>(report.plan_bytes))},
                {"target", plan->meta.at("target") + ", " + plan->meta.at("threads") + " threads"},
                {"self-check", report.check.to_string()}};
  page.int8 = &report.compile.int8;
  page.plan = plan.get();
  page.layers = &layers;
  page.layers_note = note;
  page.calibration = arguments.int8.calibration().tensors.empty() ? nullptr : &arguments.int8.calibration();
  return write_page(page, arguments.html);
}

Status work(Arguments& arguments, const Command& command) {
  Progress progress("build");
  CompileOptions options;
  SelfCheckOptions check;
  ShapeRange range = HUSSAR_TRY(parse_range(arguments));
  options.shapes = range.optimum.empty() && range.minimum.empty() ? HUSSAR_TRY(parse_shapes(arguments.shapes))
                                                                  : HUSSAR_TRY(shapes_of_range(range));
  options.set_target(HUSSAR_TRY(parse_target(arguments.target)));
  options.threads = arguments.threads;
  options.disabled_passes = arguments.disabled;
  options.packed = arguments.packed;
  options.token_part = arguments.token_part;
  options.verify_passes = arguments.verify_passes;
  HUSSAR_TRY(arguments.precision.apply(options, arguments.int8.quantizes()));
  if (!std::isnan(arguments.tolerance)) check.tolerance = options.verify_tolerance = arguments.tolerance;
  options.verify_shapes = options.tune_shapes = range.optimum;
  options.progress = [&](std::string_view stage) { progress.stage(stage); };
  options.stage_progress = [&](double fraction) { progress.update(fraction); };
  check.level = HUSSAR_TRY(parse_self_check(arguments.self_check));
  check.shapes = range.optimum;
  HUSSAR_TRY(check_outputs(arguments));
  options.tune_seconds = HUSSAR_TRY(parse_duration(arguments.budget));
  TimingFile timings = HUSSAR_TRY(TimingFile::open(arguments.timing_cache));
  options.timings = &timings.cache;
  Status dumped;
  int dumps = 0;
  if (!arguments.dump.empty()) {
    options.dump = [&](std::string_view pass, const Graph& graph) {
      if (dumped) dumped = write_dump(arguments.dump, ++dumps, pass, graph);
    };
  }
  ForcedSparsity forced;
  if (arguments.precision.forces_sparsity())
    HUSSAR_TRY(forced.force(arguments.model, arguments.output, options.shapes));
  HUSSAR_TRY(arguments.int8.apply(arguments.model, progress, options));
  if (options.lowers_floats()) {
    constexpr size_t kMostSamples = 32;
    check.samples = HUSSAR_TRY(arguments.int8.first_samples(arguments.model, options.shapes, kMostSamples));
  }
  CompileReport compile;
  SelfCheckReport checked;
  auto plan = HUSSAR_TRY(compile_checked(arguments.model, options, check, &compile, &checked));
  HUSSAR_TRY(std::move(dumped));
  if (!range.optimum.empty()) {
    plan->meta["shapes_min"] = arguments.minimum;
    plan->meta["shapes_opt"] = arguments.optimum;
    plan->meta["shapes_max"] = arguments.maximum;
  }
  forced.mark(*plan);
  progress.stage("write");
  HUSSAR_TRY(timings.save());
  HUSSAR_TRY(write_plan(*plan, arguments.output));
  progress.finish();
  struct stat info {};
  int64_t bytes = ::stat(arguments.output.c_str(), &info) == 0 ? info.st_size : 0;
  if (!checked.skipped.empty() && check.level != SelfCheck::kOff) warn("self-check " + checked.to_string());
  warn_about_kept(checked);
  BuildReport report{arguments.output, *plan, std::move(compile), std::move(checked), bytes};
  if (!arguments.html.empty()) HUSSAR_TRY(write_build_page(arguments, options, report, plan));
  if (command.prints_text()) print_out((arguments.verbose ? pass_table(report.compile) : "") + summary(report));
  return command.report(to_json(report));
}

Status run(Command& command) {
  Arguments arguments;
  declare(command, arguments);
  if (!HUSSAR_TRY(command.parse())) return {};
  return work(arguments, command);
}

}  // namespace

extern const Verb build_verb = {
    "build", "compiles an ONNX model into a plan, and checks it",
    "hussar build model.onnx -o model.plan\n"
    "hussar build model.onnx -o model.plan --shapes x:1x3x224x224 --threads 2 --verbose\n"
    "hussar build rec.onnx -o rec.plan --min-shapes x:1x3x48x32 --opt-shapes x:1x3x48x320 --max-shapes x:8x3x48x2048\n"
    "hussar build model.plan -o other.plan --target cpu:avx2\n"
    "hussar build model.onnx -o model.plan --int8 --calib samples.npz --calib-cache calibration.json\n"
    "hussar build model.onnx -o model.plan --int8 --dynamic\n"
    "hussar build model.onnx -o model.plan --target cuda --fp16 --fp8 --calib samples.npz\n"
    "hussar build model.onnx -o model.plan --fp16 --precision head/MatMul=fp32 --calib samples.npz\n"
    "hussar build encoder.onnx -o encoder.plan --target cuda --fp16 --packed\n"
    "hussar build model.onnx -o model.plan --target cuda --bf16\n"
    "hussar build model.onnx -o model.plan --disable-pass fold_constants --dump passes/ --json report.json",
    run};

}  // namespace hussar::cli
