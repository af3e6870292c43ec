#include "tools/cli/int8_flags.h"

#include <sys/stat.h>

#include "base/error.h"
#include "base/file.h"
#include "compile/calibrate.h"
#include "compile/quantization.h"
#include "onnx/import.h"
#include "plan/plan.h"
#include "quantize/calibration_file.h"
#include "tools/cli/calibration/source.h"

namespace hussar::cli {

void Int8Flags::declare(Command& command) {
  command.toggle(
      "--int8", int8_,
      "allows convolutions and products to compute in INT8 where that is measured to be faster; needs --calib "
      "or --calib-cache");
  command.option("--calib", "DATA", data_,
                 "inputs to find the ranges of activations with: .npz, .npy or .raw files or folders, a folder of "
                 "pictures, or cmd:COMMAND; see `hussar calibrate --help`");
  command.option("--calib-cache", "FILE", cache_,
                 "a calibration of this model (`hussar calibrate`); with --calib written when it is not there");
  command.option("--calib-method", "METHOD", method_,
                 "auto, entropy, minmax, mse, percentile, percentile99.9 or percentile99.999");
  command.option("--rounding", rounding_, {"nearest", "adaptive"},
                 "of weights to INT8, when the calibration is made; see `hussar calibrate --help`");
  command.option("--calib-batch", "N", batch_, "samples per calibration run; default 1");
  command.option("--preprocess", "WORDS", preprocess_, "how pictures become the input; see `hussar calibrate --help`");
  command.toggle("--strict", strict_, "with --int8: fails when a product or attention stays in FP32");
}

Status Int8Flags::check_usage() const {
  if (!int8_) {
    HUSSAR_CHECK(data_.empty() && cache_.empty() && preprocess_.empty() && rounding_.empty(), ErrorCode::kUsage,
                 "--calib, --calib-cache, --preprocess and --rounding go with --int8");
    HUSSAR_CHECK(!strict_, ErrorCode::kUsage, "--strict goes with --int8");
    return {};
  }
  HUSSAR_CHECK(!data_.empty() || !cache_.empty(), ErrorCode::kUsage,
               "--int8 needs the ranges of activations: --calib DATA, or --calib-cache FILE of `hussar calibrate`");
  return {};
}

static bool exists(const std::string& path) {
  struct stat info {};
  return !path.empty() && ::stat(path.c_str(), &info) == 0;
}

Result<std::unique_ptr<DataSource>> Int8Flags::open_data(const std::vector<InputFacts>& inputs,
                                                         const NamedShapes& shapes) const {
  SourceOptions options;
  options.data = data_;
  options.shapes = shapes;
  if (!preprocess_.empty()) options.preprocess = HUSSAR_TRY(parse_preprocess(preprocess_));
  return open_source(inputs, options);
}

Result<std::vector<Tensor>> Int8Flags::first_sample(const std::string& model, const NamedShapes& shapes) const {
  if (data_.empty()) return std::vector<Tensor>();
  onnx::ImportedModel imported = HUSSAR_TRY(onnx::import_file(model));
  HUSSAR_TRY(fix_shapes(imported.graph, shapes));
  const std::vector<InputFacts> facts = input_facts(imported.graph);
  auto source = HUSSAR_TRY(open_data(facts, shapes));
  DataBatch batch;
  while (HUSSAR_TRY(source->next(batch))) {
    BatchCutter cutter = HUSSAR_TRY(BatchCutter::create(facts, batch, {batch_}));
    if (auto run = HUSSAR_TRY(cutter.next())) return std::move(run->inputs);
    batch = {};
  }
  return std::vector<Tensor>();
}

Status Int8Flags::apply(const std::string& model, Progress& progress, CompileOptions& options) {
  HUSSAR_TRY(check_usage());
  if (!int8_) return {};
  HUSSAR_CHECK(!is_plan_file(model), ErrorCode::kUsage,
               "--int8 needs the ONNX model: the passes that quantize ran when '{}' was built", model);
  auto method = method_from_name(method_);
  HUSSAR_CHECK(method, ErrorCode::kUsage, "--calib-method: there is no method '{}'; there are {}", method_,
               all_method_names());
  Calibration calibration;
  onnx::ImportedModel imported = HUSSAR_TRY(onnx::import_file(model));
  if (exists(cache_)) {
    calibration = HUSSAR_TRY(read_calibration(cache_));
    HUSSAR_TRY(check_is_of_model(calibration, model_fingerprint(imported.graph), cache_));
    HUSSAR_CHECK(rounding_.empty() || rounding_ == rounding_name(calibration.rounding), ErrorCode::kUsage,
                 "calibration '{}' was made with --rounding {}: leave the flag out, or make another calibration",
                 cache_, rounding_name(calibration.rounding));
  } else {
    HUSSAR_CHECK(!data_.empty(), ErrorCode::kUsage, "there is no calibration '{}': --calib DATA makes it", cache_);
    if (!cache_.empty()) HUSSAR_TRY(check_can_write(cache_));
    CalibrateOptions calibrating;
    calibrating.shapes = options.shapes;
    calibrating.threads = options.threads;
    calibrating.method = *method;
    calibrating.rounding = rounding_from_name(rounding_).value_or(Rounding::kNearest);
    calibrating.cut.samples_per_run = batch_;
    calibrating.progress = [&](std::string_view stage) { progress.stage(stage); };
    calibrating.stage_progress = [&](double fraction) { progress.update(fraction); };
    auto source = HUSSAR_TRY(open_data(input_facts(imported.graph), options.shapes));
    CalibrateReport report;
    calibration = HUSSAR_TRY(calibrate(model, *source, calibrating, &report));
    for (const std::string& warning : report.warnings) warn(warning);
    if (!cache_.empty()) HUSSAR_TRY(write_calibration(calibration, cache_));
  }
  auto quantization = quantization_of(calibration, *method);
  for (const std::string& node : options.fp32_nodes) quantization->float_nodes[node] = "asked for";
  options.quantization = std::move(quantization);
  calibration_ = std::move(calibration);
  return {};
}

Status Int8Flags::check_strict(const CompileReport& report) const {
  if (!strict_) return {};
  std::string names;
  int count = 0;
  for (const Int8Choice& choice : report.int8.choices) {
    if (choice.int8) continue;
    if (++count <= 10) names += (names.empty() ? "" : ", ") + choice.name;
  }
  HUSSAR_CHECK(count == 0, ErrorCode::kAccuracy, "--strict: {} steps are slower in INT8 and would stay in FP32: {}{}",
               count, names, count > 10 ? ", ..." : "");
  return {};
}

}  // namespace hussar::cli
