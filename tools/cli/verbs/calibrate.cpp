// hussar calibrate: a model and data become a calibration cache, from which INT8 ranges follow.
#include "compile/calibrate.h"

#include <sys/stat.h>

#include <cmath>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "onnx/import.h"
#include "quantize/calibration_file.h"
#include "quantize/trt_cache.h"
#include "tools/cli/calibration/resumable.h"
#include "tools/cli/calibration/source.h"
#include "tools/cli/console.h"
#include "tools/cli/page/page.h"
#include "tools/cli/qdq_flags.h"
#include "tools/cli/sensitivity_flags.h"
#include "tools/cli/sensitivity_table.h"
#include "tools/cli/verb.h"

namespace hussar::cli {
namespace {

struct Arguments {
  std::string model, data, output, method = "auto", rounding, trt_cache, from_trt_cache, shapes, preprocess, html;
  int batch = 1, fewest = static_cast<int>(kFewestSamples), threads = 0;
  SensitivityFlags sensitivity;
  QdqFlags qdq;
};

void declare(Command& command, Arguments& arguments) {
  command.positional("MODEL", arguments.model, "an .onnx file");
  command.option(
      "--calib", "DATA", arguments.data,
      "an .npz, .npy or .raw file or a folder of them (first dimension: samples; for several inputs one "
      "folder per input), a folder of pictures, or cmd:COMMAND, which writes .npy records one after another; "
      "a complete calibration file is decided anew, without data");
  command.option("-o,--output", "FILE", arguments.output,
                 "where the calibration goes (JSON); one that was cut off is gone on with", true);
  command.option("--calib-method", "METHOD", arguments.method,
                 "auto, entropy (as IInt8EntropyCalibrator2), minmax, mse, percentile (99.99 %), percentile99.9 or "
                 "percentile99.999; default auto: for every tensor the one that costs the products that read it least");
  std::vector<std::string> methods;
  for (Method method : {Method::kAuto, Method::kEntropy, Method::kMinMax, Method::kMse, Method::kPercentile999,
                        Method::kPercentile9999, Method::kPercentile99999}) {
    methods.emplace_back(method_name(method));
  }
  command.suggest("--calib-method", methods);
  command.option(
      "--rounding", arguments.rounding, {"nearest", "adaptive"},
      "of weights to INT8: each for itself, or up or down so that the outputs on the data are closest, which "
      "takes longer; default nearest");
  command.option("--preprocess", "WORDS", arguments.preprocess,
                 "how pictures become the input: 'resize=256 crop=224 scale=1/255 mean=0.485,0.456,0.406 "
                 "std=0.229,0.224,0.225 layout=nchw color=rgb' (or nhwc, bgr, gray)");
  command.option("--calib-batch", "N", arguments.batch,
                 "samples per run, where the model leaves its first dimension open; 0: all of a file; default 1");
  command.option("--min-samples", "N", arguments.fewest, "fewer samples are refused; default 8");
  command.option("--shapes", "SHAPES", arguments.shapes, "fixes input shapes: x:1x3x224x224");
  command.option("--threads", "N", arguments.threads, "default: one per core that this process may use");
  command.option("--trt-cache", "FILE", arguments.trt_cache, "also writes the ranges as a TensorRT calibration cache");
  command.option("--from-trt-cache", "FILE", arguments.from_trt_cache,
                 "takes the ranges of a TensorRT calibration cache instead of data");
  command.option("--html", "FILE", arguments.html,
                 "writes a page with the histograms, the ranges of all methods, and what --sensitivity found");
  arguments.sensitivity.declare(command);
  arguments.qdq.declare(command);
}

bool is_regular(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

bool is_json(const std::string& path) { return path.size() > 5 && path.substr(path.size() - 5) == ".json"; }

// What lies at the output: nothing, a calibration to go on with, or one to replace. Anything else is not touched.
Result<std::optional<Calibration>> unfinished(const std::string& path) {
  if (!is_regular(path)) return std::optional<Calibration>();
  auto calibration = read_calibration(path);
  HUSSAR_CHECK(calibration, ErrorCode::kUsage, "there is a file '{}' that will not be replaced: {}", path,
               calibration.error().message);
  if (calibration->is_complete) return std::optional<Calibration>();
  return std::optional<Calibration>(std::move(*calibration));
}

// Large models need not be in memory twice: this one is gone when the work begins.
Result<std::vector<InputFacts>> inputs_of(const std::string& model_path) {
  onnx::ImportedModel model = HUSSAR_TRY(onnx::import_file(model_path));
  return input_facts(model.graph);
}

Result<std::unique_ptr<DataSource>> open_data(const Arguments& arguments) {
  SourceOptions options;
  options.data = arguments.data;
  options.shapes = HUSSAR_TRY(parse_shapes(arguments.shapes));
  if (!arguments.preprocess.empty()) options.preprocess = HUSSAR_TRY(parse_preprocess(arguments.preprocess));
  return open_source(HUSSAR_TRY(inputs_of(arguments.model)), options);
}

Result<Calibration> from_data(const Arguments& arguments, Method method, CalibrateReport& report) {
  Progress progress("calibrate");
  CalibrateOptions options;
  options.shapes = HUSSAR_TRY(parse_shapes(arguments.shapes));
  options.threads = arguments.threads;
  options.method = method;
  options.rounding = rounding_from_name(arguments.rounding).value_or(Rounding::kNearest);
  options.cut.samples_per_run = arguments.batch;
  options.fewest_samples = arguments.fewest;
  LabelCheckOptions check{options.shapes, options.threads, options.cut};
  if (arguments.sensitivity.has_labels()) {
    progress.stage("check labels");
    HUSSAR_TRY(arguments.sensitivity.check_labels(arguments.model, *HUSSAR_TRY(open_data(arguments)), check));
  }
  std::optional<Calibration> resume = HUSSAR_TRY(unfinished(arguments.output));
  auto source = HUSSAR_TRY(open_data(arguments));
  auto calibration = calibrate_resumably(arguments.model, *source, std::move(options), arguments.output,
                                         std::move(resume), progress, report);
  progress.finish();
  return calibration;
}

bool has_data(const Arguments& arguments) {
  const bool is_decided = is_json(arguments.data) && is_regular(arguments.data);
  return arguments.from_trt_cache.empty() && !arguments.data.empty() && !is_decided;
}

Result<SensitivityReport> find_sensitivity(const Arguments& arguments, const Calibration& calibration) {
  SensitivityInput input{arguments.model,   calibration,
                         {arguments.batch}, HUSSAR_TRY(parse_shapes(arguments.shapes)),
                         arguments.threads, [&] { return open_data(arguments); }};
  return arguments.sensitivity.run(input);
}

// Data, another calibration of the same model, or a TensorRT cache.
Result<Calibration> make(const Arguments& arguments, Method method, CalibrateReport& report) {
  HUSSAR_CHECK(arguments.data.empty() != arguments.from_trt_cache.empty(), ErrorCode::kUsage,
               "--calib DATA is needed, or --from-trt-cache FILE instead");
  if (has_data(arguments)) return from_data(arguments, method, report);
  HUSSAR_CHECK(arguments.rounding.empty(), ErrorCode::kUsage,
               "--rounding goes with data: how weights are rounded is decided when they run");
  onnx::ImportedModel model = HUSSAR_TRY(onnx::import_file(arguments.model));
  if (!arguments.from_trt_cache.empty()) {
    Calibration calibration = HUSSAR_TRY(read_trt_cache(arguments.from_trt_cache));
    size_t known = 0;
    for (const auto& value : model.graph.values()) known += calibration.tensors.count(value->name);
    HUSSAR_CHECK(known > 0, ErrorCode::kUsage, "none of the {} names in '{}' is a tensor of '{}'",
                 calibration.tensors.size(), arguments.from_trt_cache, arguments.model);
    if (known < calibration.tensors.size()) {
      warn(fmt::format("{} of the {} names in '{}' are no tensors of the model", calibration.tensors.size() - known,
                       calibration.tensors.size(), arguments.from_trt_cache));
    }
    return calibration;
  }
  Calibration calibration = HUSSAR_TRY(read_calibration(arguments.data));
  HUSSAR_TRY(check_is_of_model(calibration, model_fingerprint(model.graph), arguments.data));
  decide(calibration, method);
  return calibration;
}

Json to_json(const Arguments& arguments, const Calibration& calibration, const CalibrateReport& report) {
  Json tensors = Json::array(), warnings = Json::array(), json = Json::object();
  for (const auto& [name, tensor] : calibration.tensors) {
    QuantParams params = params_of(tensor.range, DType::kUInt8);
    Json entry = Json::object();
    entry.set("name", name).set("min", tensor.statistics.min()).set("max", tensor.statistics.max());
    entry.set("low", tensor.range.low).set("high", tensor.range.high);
    entry.set("method", method_name(tensor.range.method)).set("note", tensor.range.note);
    entry.set("scale", params.scale).set("zero_point", params.zero_point);
    entry.set("sqnr_db", sqnr_db(tensor.statistics, params));
    Json errors = Json::object();
    for (const auto& [method, error] : tensor.output_errors) errors.set(std::string(method_name(method)), error);
    entry.set("output_errors", std::move(errors));
    tensors.push(std::move(entry));
  }
  for (const std::string& warning : report.warnings) warnings.push(warning);
  json.set("model", arguments.model).set("output", arguments.output).set("method", method_name(calibration.method));
  json.set("rounding", rounding_name(calibration.rounding));
  json.set("samples", calibration.samples).set("resumed_samples", report.resumed_samples);
  json.set("model_hash", calibration.model_hash).set("data_hash", calibration.data_hash);
  json.set("seconds", report.seconds).set("warnings", std::move(warnings)).set("tensors", std::move(tensors));
  return json;
}

// How often each method was the best, and what was done about means and outliers.
std::string describe_accuracy(const Calibration& calibration) {
  std::map<Method, int> wins;
  for (const auto& [name, tensor] : calibration.tensors) {
    if (!tensor.output_errors.empty()) ++wins[automatic_method(tensor)];
  }
  if (wins.empty()) return "";
  std::string text = "best for the outputs:";
  for (const auto& [method, count] : wins) text += fmt::format(" {} {}x", method_name(method), count);
  size_t corrected = 0;
  for (const auto& [name, product] : calibration.products) corrected += product.bias.empty() ? 0 : 1;
  text += fmt::format("; {} of {} biases corrected", corrected, calibration.products.size());
  text += fmt::format("; {} tensors divided per channel", calibration.smoothings.size());
  if (calibration.rounding == Rounding::kAdaptive) {
    double before = 0, after = 0;
    size_t rounded = 0;
    for (const auto& [name, product] : calibration.products) {
      rounded += product.flips.empty() ? 0 : 1;
      before += product.nearest_error;
      after += product.error;
    }
    text += fmt::format("; weights of {} products rounded for their outputs, whose errors fall by {:.2f} dB", rounded,
                        after > 0 ? 10 * std::log10(before / after) : 0);
  }
  return text + "\n";
}

std::string summary(const Arguments& arguments, const Calibration& calibration, const CalibrateReport& report) {
  Table table({"tensor", ">min", ">max", ">low", ">high", "method", ">SQNR dB", "note"});
  for (const auto& [name, tensor] : calibration.tensors) {
    const Statistics& statistics = tensor.statistics;
    bool is_counted = statistics.elements() > 0;
    double sqnr = sqnr_db(statistics, params_of(tensor.range, DType::kUInt8));
    table.add({name, is_counted ? fmt::format("{:.4g}", statistics.min()) : "",
               is_counted ? fmt::format("{:.4g}", statistics.max()) : "", fmt::format("{:.4g}", tensor.range.low),
               fmt::format("{:.4g}", tensor.range.high), std::string(method_name(tensor.range.method)),
               is_counted ? fmt::format("{:.1f}", sqnr) : "", tensor.range.note});
  }
  return table.to_string() + describe_accuracy(calibration) +
         fmt::format("{}: {} tensors, {} samples, method {}, {:.2f} s\n", arguments.output, calibration.tensors.size(),
                     calibration.samples, method_name(calibration.method), report.seconds);
}

PageContent page_of(const Arguments& arguments, const Calibration& calibration,
                    const std::optional<SensitivityReport>& sensitivity) {
  PageContent page;
  page.title = "Calibration of " + arguments.model;
  page.facts = {{"data", arguments.data.empty() ? arguments.from_trt_cache : arguments.data},
                {"samples", std::to_string(calibration.samples)},
                {"method", std::string(method_name(calibration.method))},
                {"calibration", arguments.output}};
  page.calibration = &calibration;
  page.sensitivity = sensitivity ? &*sensitivity : nullptr;
  return page;
}

Status work(Arguments& arguments, const Command& command) {
  auto method = method_from_name(arguments.method);
  HUSSAR_CHECK(method, ErrorCode::kUsage, "--calib-method: there is no method '{}'; there are {}", arguments.method,
               all_method_names());
  HUSSAR_CHECK(arguments.batch >= 0 && arguments.fewest >= 1, ErrorCode::kUsage,
               "--calib-batch takes 0 or more, --min-samples 1 or more");
  HUSSAR_TRY(check_can_write(arguments.output));
  if (!arguments.trt_cache.empty()) HUSSAR_TRY(check_can_write(arguments.trt_cache));
  if (!arguments.html.empty()) HUSSAR_TRY(check_can_write(arguments.html));
  HUSSAR_TRY(arguments.sensitivity.check_usage(has_data(arguments)));
  HUSSAR_TRY(arguments.qdq.check(arguments.model, arguments.shapes));
  CalibrateReport report;
  Calibration calibration = HUSSAR_TRY(make(arguments, *method, report));
  HUSSAR_TRY(write_calibration(calibration, arguments.output));
  if (!arguments.trt_cache.empty()) HUSSAR_TRY(write_trt_cache(calibration, *method, arguments.trt_cache));
  for (const std::string& warning : report.warnings) warn(warning);
  std::optional<SensitivityReport> sensitivity;
  Json json = to_json(arguments, calibration, report);
  if (command.prints_text()) print_out(summary(arguments, calibration, report));
  if (arguments.sensitivity.is_asked()) {
    sensitivity = HUSSAR_TRY(find_sensitivity(arguments, calibration));
    if (command.prints_text()) print_out("\n" + sensitivity_table(*sensitivity));
    json.set("sensitivity", hussar::cli::to_json(*sensitivity));
  }
  if (arguments.qdq.is_asked()) {
    const QdqReport exported = HUSSAR_TRY(arguments.qdq.run(arguments.model, calibration, arguments.output));
    if (command.prints_text()) print_out(arguments.qdq.summary(exported));
    json.set("qdq", arguments.qdq.to_json(exported));
  }
  if (!arguments.html.empty()) HUSSAR_TRY(write_page(page_of(arguments, calibration, sensitivity), arguments.html));
  return command.report(std::move(json));
}

Status run(Command& command) {
  Arguments arguments;
  declare(command, arguments);
  if (!HUSSAR_TRY(command.parse())) return {};
  return work(arguments, command);
}

}  // namespace

extern const Verb calibrate_verb = {
    "calibrate", "runs a model on data and finds the ranges of its activations, for INT8",
    "hussar calibrate model.onnx --calib x.npy -o calibration.json\n"
    "hussar calibrate model.onnx --calib x.npy -o calibration.json --labels y.npy\n"
    "hussar calibrate model.onnx --calib pictures/ --preprocess 'resize=256 crop=224 mean=0.485,0.456,0.406 "
    "std=0.229,0.224,0.225' -o calibration.json\n"
    "hussar calibrate model.onnx --calib 'cmd:python3 batches.py' -o calibration.json --trt-cache calibration.cache\n"
    "hussar calibrate model.onnx --calib x.npy -o calibration.json --sensitivity --labels y.npy --advice fp32.txt\n"
    "hussar calibrate model.onnx --calib calibration.json --calib-method entropy -o entropy.json\n"
    "hussar calibrate model.onnx --calib calibration.json -o calibration.json --qdq quantized.onnx\n"
    "hussar calibrate model.onnx --from-trt-cache calibration.cache -o calibration.json",
    run};

}  // namespace hussar::cli
