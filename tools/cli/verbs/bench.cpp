// hussar bench: latency, throughput, load time, memory.
#include <fmt/format.h>

#include "base/error.h"
#include "tools/cli/bench_problem.h"
#include "tools/cli/build_report.h"
#include "tools/cli/console.h"
#include "tools/cli/conversion_text.h"
#include "tools/cli/inputs.h"
#include "tools/cli/machine.h"
#include "tools/cli/measure.h"
#include "tools/cli/precision_flags.h"
#include "tools/cli/verb.h"

namespace hussar::cli {
namespace {

struct Arguments {
  std::string model, problem, shapes, target = "cpu";
  std::vector<std::string> inputs;
  MeasureOptions measure;
  int threads = 0, seed = 1;
  bool per_layer = false, verify = false;
  PrecisionFlags precision;
};

void declare(Command& command, Arguments& arguments) {
  command.positional("MODEL", arguments.model, "a .plan, or an .onnx that is compiled on the fly", false);
  command.option("--problem", "TEXT", arguments.problem,
                 "instead of a model: all kernels that can do one piece of work, such as 'matmul m=128 n=768 k=768'");
  command.option("--target", "TARGET", arguments.target,
                 "with --problem: the kernels of this CPU (cpu) or of this machine's GPU (cuda); default cpu");
  command.option("--iterations", "N", arguments.measure.iterations,
                 "exactly N timed runs; default: as many as fit into the duration");
  command.option("--duration", "SECONDS", arguments.measure.seconds, "of the timed runs together; default 3");
  command.option("--warmup", "N", arguments.measure.warmup, "untimed runs before; default 3");
  command.option("--threads", "N", arguments.threads, "default: as the plan was built for");
  command.option("--shapes", "SHAPES", arguments.shapes,
                 "x:1x3x224x224,...: sizes for the dimensions that are left open");
  command.option("--load-inputs", "NAME=FILE", arguments.inputs,
                 "FILE.npy, FILE.raw or, without NAME=, FILE.npz; default: random; what indexes a table "
                 "stays within it");
  command.option("--seed", "N", arguments.seed, "of random inputs; default 1");
  arguments.precision.declare(command);
  declare_verify(command, arguments.verify);
  command.toggle("--per-layer", arguments.per_layer,
                 "the time of every step, what it reaches of the machine's measured peaks");
}

Status check(const Arguments& arguments) {
  const MeasureOptions& measure = arguments.measure;
  bool ok = measure.iterations >= 0 && measure.warmup >= 0 && measure.seconds >= 0 && measure.seconds <= 1e6;
  HUSSAR_CHECK(ok, ErrorCode::kUsage, "--iterations, --warmup and --duration take numbers >= 0");
  return {};
}

// What the inputs look like where the plan leaves shapes open: as given, else as the plan was built for.
Result<NamedShapes> given_shapes(const Arguments& arguments, const Subject& subject) {
  NamedShapes given = HUSSAR_TRY(parse_shapes(arguments.shapes));
  auto optimum = subject.plan()->meta.find("shapes_opt");
  if (given.empty() && optimum != subject.plan()->meta.end()) return parse_shapes(optimum->second);
  return given;
}

std::string spell(const Subject& subject, const std::vector<Tensor>& inputs) {
  NamedShapes shapes;
  for (size_t i = 0; i < inputs.size(); ++i) {
    shapes[subject.inputs()[i].name] = Dims(inputs[i].shape().begin(), inputs[i].shape().end());
  }
  return spell_shapes(shapes);
}

bool has_open_dimension(const Subject& subject) {
  for (const InputFacts& input : subject.inputs()) {
    if (!input.dims) return true;
    for (const Dim& dim : *input.dims) {
      if (!dim.is_constant()) return true;
    }
  }
  return false;
}

std::string to_text(const Subject& subject, const Measured& measured, const Machine& machine) {
  TimeStatistics latency = statistics(measured.milliseconds);
  Session& session = *subject.session();
  Table table({"", ""});
  auto ms = [](double value) { return format_milliseconds(value); };
  table.add(
      {"latency", fmt::format("min {}, mean {}, median {}", ms(latency.min), ms(latency.mean), ms(latency.median))});
  table.add({"", fmt::format("p90 {}, p95 {}, p99 {}", ms(latency.p90), ms(latency.p95), ms(latency.p99))});
  if (!measured.device_milliseconds.empty()) {
    const TimeStatistics alone = statistics(measured.device_milliseconds);
    table.add({"on the device alone", fmt::format("median {}, min {}", ms(alone.median), ms(alone.min))});
  }
  table.add({"throughput", fmt::format("{:.2f} runs/s over {} runs",
                                       static_cast<double>(measured.milliseconds.size()) / measured.seconds,
                                       measured.milliseconds.size())});
  table.add(
      {"load", fmt::format("{} (first run {})", ms(subject.load_milliseconds()), ms(measured.first_run_milliseconds))});
  table.add({"memory", fmt::format("arena {} (lower bound {}), process peak {}",
                                   format_bytes(static_cast<double>(session.arena_bytes())),
                                   format_bytes(static_cast<double>(session.arena_lower_bound())),
                                   format_bytes(static_cast<double>(peak_rss_bytes())))});
  table.add({"device", fmt::format("{}, {}, {} threads", machine.cpu_model, machine.isa_active, session.threads())});
  return table.to_string();
}

Json to_json(const Subject& subject, const Measured& measured) {
  Session& session = *subject.session();
  Json json = Json::object();
  json.set("model", subject.path()).set("kind", subject.kind()).set("threads", session.threads());
  json.set("iterations", measured.milliseconds.size()).set("latency_ms", to_json(statistics(measured.milliseconds)));
  json.set("throughput_per_s", static_cast<double>(measured.milliseconds.size()) / measured.seconds);
  if (!measured.device_milliseconds.empty()) {
    json.set("device_latency_ms", to_json(statistics(measured.device_milliseconds)));
    json.set("device_arena_bytes", session.device_arena_bytes());
  }
  json.set("load_ms", subject.load_milliseconds()).set("first_run_ms", measured.first_run_milliseconds);
  json.set("build_ms", subject.build_milliseconds()).set("peak_rss_bytes", peak_rss_bytes());
  json.set("arena_bytes", session.arena_bytes()).set("arena_lower_bound_bytes", session.arena_lower_bound());
  json.set("plan_bytes",
           subject.plan()->file_bytes > 0 ? subject.plan()->file_bytes : encode_plan(*subject.plan()).size());
  json.set("steps", subject.plan()->graph.steps.size()).set("reference_steps", reference_steps(subject.plan()->graph));
  return std::move(json.set("precision_counts", precision_counts(subject.plan()->graph)));
}

Status work(const Arguments& arguments, const Command& command) {
  HUSSAR_TRY(check(arguments));
  Progress progress("bench");
  LoadedInputs loaded = HUSSAR_TRY(load_inputs(arguments.inputs));
  SubjectOptions options;
  options.verify = arguments.verify;
  options.threads = options.compile.threads = arguments.threads;
  options.compile.shapes = HUSSAR_TRY(parse_shapes(arguments.shapes));
  HUSSAR_TRY(arguments.precision.apply(options.compile));
  progress.stage("load");
  Subject subject = HUSSAR_TRY(Subject::open(arguments.model, options));
  InputChoice choice{HUSSAR_TRY(given_shapes(arguments, subject)), true, static_cast<uint64_t>(arguments.seed)};
  std::vector<Tensor> inputs = HUSSAR_TRY(match_inputs(subject.inputs(), loaded, choice));
  std::string shapes = spell(subject, inputs);
  if (choice.shapes.empty() && loaded.empty() && has_open_dimension(subject)) {
    warn("the shapes are open; measuring at " + shapes + ", choose others with --shapes");
  }
  Measured measured = HUSSAR_TRY(measure(*subject.session(), inputs, arguments.measure, progress));
  Json json = to_json(subject, measured);
  std::string text = to_text(subject, measured, inspect_machine());
  json.set("shapes", shapes).set("device", to_json(inspect_machine()));
  if (arguments.per_layer) {
    progress.stage("measure steps");
    int runs = std::max(3, std::min(50, static_cast<int>(measured.milliseconds.size())));
    auto layers = HUSSAR_TRY(measure_layers(*subject.session(), inputs, runs));
    cpu::Peaks peaks = cpu::measure_peaks(cpu::active_isa(), subject.session()->threads());
    json.set("layers", to_json(layers, peaks)).set("peaks", cli::to_json(peaks));
    json.set("conversions", cli::to_json(measured_conversions(layers)));
    text += to_text(layers, peaks);
  }
  progress.finish();
  if (command.prints_text()) print_out(text);
  return command.report(std::move(json));
}

Status run(Command& command) {
  Arguments arguments;
  declare(command, arguments);
  if (!HUSSAR_TRY(command.parse())) return {};
  HUSSAR_CHECK(arguments.model.empty() != arguments.problem.empty(), ErrorCode::kUsage,
               "bench takes either a MODEL or --problem TEXT");
  if (arguments.problem.empty()) return work(arguments, command);
  HUSSAR_TRY(check(arguments));
  CompileOptions options;
  options.set_target(HUSSAR_TRY(parse_target(arguments.target)));
  HUSSAR_TRY(arguments.precision.apply(options));
  return bench_problem(
      {arguments.problem, arguments.threads, std::min(arguments.measure.seconds, 1.0), std::move(options)}, command);
}

}  // namespace

extern const Verb bench_verb = {"bench", "measures latency, throughput, load time and memory",
                                "hussar bench model.plan\n"
                                "hussar bench model.plan --per-layer --duration 10 --threads 2\n"
                                "hussar bench rec.plan --shapes x:1x3x48x320 --json bench.json\n"
                                "hussar bench model.onnx --load-inputs inputs.npz --iterations 100\n"
                                "hussar bench --problem 'conv x=1x64x56x56 w=64x64x3x3 pads=1,1,1,1 fuse=relu'",
                                run};

}  // namespace hussar::cli
