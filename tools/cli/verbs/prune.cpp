// hussar prune: an ONNX model becomes the same one with 2:4 sparse weights.
#include "compile/prune_model.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "compile/prune_samples.h"
#include "tools/cli/calibration/source.h"
#include "tools/cli/console.h"
#include "tools/cli/labels.h"
#include "tools/cli/prune_table.h"
#include "tools/cli/sparse_gains.h"
#include "tools/cli/verb.h"

namespace hussar::cli {
namespace {

struct Arguments {
  std::string model, output, data, pattern = "2:4", method, preprocess, shapes, step, budget, labels, drop,
                                   measure = kUsualBudget;
  std::vector<std::string> layers, skip;
  int samples = static_cast<int>(kUsualPruneSamples), fewest = static_cast<int>(kFewestPruneSamples), threads = 0;
  bool dry_run = false, no_swaps = false, keep_weights = false, int8_grid = false, no_reorder = false;
};

void declare(Command& command, Arguments& arguments) {
  command.positional("MODEL", arguments.model, "an .onnx file in FP32");
  command.option("-o,--output", "PRUNED.onnx", arguments.output, "where the pruned model goes");
  command.option("--pattern", "PATTERN", arguments.pattern,
                 "2:4 (default): of every four weights along the input channels two are kept; 2:4x64: 64 output "
                 "channels share their masks, which CPUs make use of (or another number)");
  command.suggest("--pattern", {"2:4", "2:4x16", "2:4x32", "2:4x64"});
  command.option("--method", arguments.method, {"magnitude", "wanda", "sparsegpt", "obc"},
                 "how masks are chosen; magnitude works without data, and is the default there; with data "
                 "the default is sparsegpt; obc is slower, for products with k up to 1024");
  command.option("--data", "DATA", arguments.data,
                 "as `hussar calibrate --calib`: files, a folder, pictures or cmd:COMMAND; no labels are needed. Kept "
                 "weights are fitted to the outputs of the dense model on it");
  command.option("--samples", "N", arguments.samples, "samples used at most; default 2048, an eighth is held out");
  command.option("--min-samples", "N", arguments.fewest, "fewer samples are refused; default 8");
  command.option("--preprocess", "WORDS", arguments.preprocess, "how pictures become the input: see hussar calibrate");
  command.option("--shapes", "SHAPES", arguments.shapes, "fixes input shapes: x:1x3x224x224");
  command.option("--layers", "NODE", arguments.layers,
                 "prunes this ONNX node and no others, also where it is first, last or small; repeatable");
  command.option("--skip", "NODE", arguments.skip, "leaves this ONNX node dense; repeatable");
  command.option(
      "--max-error", "PART", arguments.budget,
      "a budget (2%, or 0.02): products are pruned as long as the model's outputs on held-out samples differ "
      "by no more, in parts of their norm");
  command.option("--labels", "FILE.npy", arguments.labels,
                 "the right class of every sample of --data, integers: the report tells top-1 before and after, on "
                 "held-out samples");
  command.option("--max-drop", "PART", arguments.drop,
                 "with --labels, a budget as --max-error (0.5%, or 0.005) of what top-1 loses on held-out samples");
  command.option(
      "--step", "PART", arguments.step,
      "with --max-error or --max-drop: so many of the products more in each stage, those with the least errors first; "
      "default 10%");
  command.toggle("--no-swaps", arguments.no_swaps,
                 "leaves the choice of the method; else, with data, weights change places while that lowers the error "
                 "(k up to 1024)");
  command.toggle("--keep-weights", arguments.keep_weights,
                 "kept weights are not fitted to the dense outputs; biases stay, too");
  command.toggle("--int8-grid", arguments.int8_grid,
                 "kept weights become multiples of one scale per output channel, as INT8 has them; weights behind one "
                 "make good what its rounding did");
  command.toggle("--no-reorder", arguments.no_reorder,
                 "leaves channels in their order; else, with data, those that no other node reads get one under which "
                 "the pattern keeps more");
  command.toggle("--dry-run", arguments.dry_run,
                 "lists the products, which of them can be pruned, and what kernels could gain in FP32 and in INT8; "
                 "writes nothing");
  command.option("--budget", "TIME", arguments.measure,
                 "with --dry-run: kernels are measured for at most so long; default 10s, 0: times as predicted");
  command.option("--threads", "N", arguments.threads, "default: one per core that this process may use");
}

// "10%" or "0.1".
Result<double> parse_part(std::string_view text, std::string_view flag) {
  std::string_view number = text;
  const bool is_percent = number.ends_with('%');
  if (is_percent) number.remove_suffix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (is_percent) value /= 100;
  const bool is_good = error == std::errc() && end == number.data() + number.size() && value > 0 && value <= 1;
  HUSSAR_CHECK(is_good, ErrorCode::kUsage, "{} takes a part such as 10% or 0.1, not '{}'", flag, text);
  return value;
}

Result<ModelPruneOptions> options_of(const Arguments& arguments) {
  ModelPruneOptions options;
  options.shapes = HUSSAR_TRY(parse_shapes(arguments.shapes));
  options.layer.pattern = HUSSAR_TRY(parse_pattern(arguments.pattern));
  const std::string method = !arguments.method.empty() ? arguments.method
                             : arguments.data.empty()  ? "magnitude"
                                                       : "sparsegpt";
  options.layer.method = HUSSAR_TRY(parse_prune_method(method));
  options.layer.refit = !arguments.keep_weights;
  const bool is_fitted = !arguments.data.empty() && !arguments.keep_weights;
  options.layer.swaps = is_fitted && !arguments.no_swaps;
  options.layer.int8_grid = arguments.int8_grid;
  options.reorder = is_fitted && !arguments.no_reorder;
  options.layer.threads = arguments.threads;
  HUSSAR_CHECK(arguments.samples >= 1 && arguments.fewest >= 1 && arguments.threads >= 0, ErrorCode::kUsage,
               "--samples and --min-samples start at 1, --threads at 0");
  options.most_samples = arguments.samples;
  options.fewest_samples = arguments.fewest;
  options.only = arguments.layers;
  options.skip = arguments.skip;
  HUSSAR_CHECK(arguments.step.empty() || !arguments.budget.empty() || !arguments.drop.empty(), ErrorCode::kUsage,
               "--step goes with --max-error or --max-drop");
  HUSSAR_CHECK(arguments.drop.empty() || !arguments.labels.empty(), ErrorCode::kUsage, "--max-drop goes with --labels");
  if (!arguments.labels.empty()) options.labels = HUSSAR_TRY(read_labels(arguments.labels));
  if (!arguments.drop.empty()) options.most_lost = HUSSAR_TRY(parse_part(arguments.drop, "--max-drop"));
  if (!arguments.budget.empty()) options.budget = HUSSAR_TRY(parse_part(arguments.budget, "--max-error"));
  if (!arguments.step.empty()) options.step = HUSSAR_TRY(parse_part(arguments.step, "--step"));
  return options;
}

Result<ModelPruneReport> prune(const Arguments& arguments, ModelPruneOptions options) {
  Progress progress("prune");
  options.progress = [&](std::string_view stage) { progress.stage(stage); };
  options.stage_progress = [&](double fraction) { progress.update(fraction); };
  std::unique_ptr<DataSource> source;
  if (!arguments.data.empty()) {
    SourceOptions data;
    data.data = arguments.data;
    data.shapes = options.shapes;
    if (!arguments.preprocess.empty()) data.preprocess = HUSSAR_TRY(parse_preprocess(arguments.preprocess));
    source = HUSSAR_TRY(open_source(HUSSAR_TRY(prune_inputs(arguments.model, options.shapes)), data));
  }
  auto report = prune_model(arguments.model, source.get(), arguments.output, options);
  progress.finish();
  return report;
}

std::string summary(const Arguments& arguments, const ModelPruneOptions& options, const ModelPruneReport& report) {
  int64_t pruned = 0;
  double flops = 0;
  for (const ModelPruneLayer& layer : report.layers) {
    pruned += layer.is_pruned ? 1 : 0;
    flops += layer.is_pruned ? layer.flops_part : 0;
  }
  const std::string share = fmt::format("{} of {} products", pruned, report.layers.size());
  if (arguments.dry_run)
    return fmt::format("{} can be pruned to {}: {:.1f} % of the FLOP\n", share, spell(options.layer.pattern),
                       100 * flops);
  std::string text =
      fmt::format("{}: {:.1f} MB, {} pruned to {} by {}, {:.1f} % of the FLOP, {:.1f} s\n", arguments.output,
                  static_cast<double>(report.bytes) / 1e6, share, spell(options.layer.pattern),
                  spell(options.layer.method), 100 * flops, report.seconds);
  if (report.output_error >= 0) {
    text += fmt::format("outputs on {} held-out samples differ by {:.2f} % of their norm ({} samples used)\n",
                        report.held_out, 100 * report.output_error, report.samples);
  }
  if (report.top1 >= 0)
    text += fmt::format("top-1 on them: {:.2f} % dense, {:.2f} % pruned\n", 100 * report.dense_top1, 100 * report.top1);
  if (options.reorder) text += fmt::format("channels between products reordered in {} places\n", report.reordered);
  return text;
}

Status run(Command& command) {
  Arguments arguments;
  declare(command, arguments);
  if (!HUSSAR_TRY(command.parse())) return {};
  HUSSAR_CHECK(arguments.dry_run || !arguments.output.empty(), ErrorCode::kUsage,
               "-o PRUNED.onnx is needed, or --dry-run");
  const ModelPruneOptions options = HUSSAR_TRY(options_of(arguments));
  const ModelPruneReport report =
      HUSSAR_TRY(arguments.dry_run ? list_prunable(arguments.model, options) : prune(arguments, options));
  for (const std::string& warning : report.warnings) warn(warning);
  SparseGains gains;
  const bool shows_gains = arguments.dry_run && std::any_of(report.layers.begin(), report.layers.end(),
                                                            [](const auto& layer) { return layer.is_pruned; });
  if (shows_gains) {
    const double seconds = HUSSAR_TRY(parse_duration(arguments.measure));
    gains = HUSSAR_TRY(measure_sparse_gains(arguments.model, options, seconds));
  }
  if (command.prints_text()) {
    print_out(prune_table(report, arguments.dry_run) + summary(arguments, options, report));
    if (shows_gains) print_out("\n" + gains_text(gains.fp32, "FP32") + "\n" + gains_text(gains.int8, "INT8"));
  }
  Json json = Json::object();
  if (arguments.dry_run)
    json.set("gains", sparsity_json(gains.fp32, 0)).set("gains_int8", sparsity_json(gains.int8, 0));
  json.set("model", arguments.model).set("output", arguments.dry_run ? Json() : Json(arguments.output));
  json.set("pattern", spell(options.layer.pattern)).set("method", spell(options.layer.method));
  return command.report(std::move(json.append_fields(to_json(report))));
}

}  // namespace

extern const Verb prune_verb = {
    "prune", "makes the weights of a model 2:4 sparse, as ONNX",
    "hussar prune model.onnx --dry-run\n"
    "hussar prune model.onnx -o pruned.onnx\n"
    "hussar prune model.onnx -o pruned.onnx --pattern 2:4x64 --data x.npy\n"
    "hussar prune model.onnx -o pruned.onnx --pattern 2:4x64 --data pictures/ --preprocess 'resize=256 crop=224' "
    "--max-error 5%\n"
    "hussar prune model.onnx -o pruned.onnx --data x.npy --labels y.npy --max-drop 0.5% --step 20%",
    run};

}  // namespace hussar::cli
