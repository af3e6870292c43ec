#include "tools/cli/int8_flags.h"

#include <sys/stat.h>

#include "base/error.h"
#include "base/file.h"
#include "compile/calibrate.h"
#include "compile/fp8.h"
#include "compile/quantization.h"
#include "onnx/import.h"
#include "plan/plan.h"
#include "quantize/calibration_file.h"
#include "tools/cli/calibration/resumable.h"
#include "tools/cli/calibration/source.h"

namespace hussar::cli {

void Int8Flags::declare(Command& command) {
  command.toggle(
      "--int8", int8_,
      "allows convolutions and products to compute in INT8 where that is measured to be faster; needs --calib, "
      "--calib-cache or --dynamic");
  command.toggle(
      "--fp8", fp8_,
      "the same in FP8 (float8e4m3fn), on GPUs that have it (compute capability 8.9 and newer); needs --calib or "
      "--calib-cache, whose ranges it makes symmetric");
  command.option(
      "--calib", "DATA", data_,
      "inputs to find the ranges of activations with: .npz, .npy or .raw files or folders, a folder of "
      "pictures, or cmd:COMMAND; see `hussar calibrate --help`. With --fp16, --bf16 or --tf32 the self-check runs "
      "the first of them");
  command.option(
      "--calib-cache", "FILE", cache_,
      "a calibration of this model (`hussar calibrate`); with --calib written when it is not there, gone on with "
      "when it was cut off, and refused when it is of other data");
  command.toggle(
      "--dynamic", dynamic_,
      "with --int8, instead of data: products find the range of what they read in every run, by its least and "
      "greatest element; for transformers");
  command.option("--calib-method", "METHOD", method_,
                 "auto (with --fp8 minmax), entropy, minmax, mse, percentile, percentile99.9 or percentile99.999");
  command.option("--rounding", rounding_, {"nearest", "adaptive"},
                 "of weights to INT8, when the calibration is made; see `hussar calibrate --help`");
  command.option("--calib-batch", "N", batch_, "samples per calibration run; default 1");
  command.option("--preprocess", "WORDS", preprocess_, "how pictures become the input; see `hussar calibrate --help`");
  command.toggle(
      "--strict", strict_,
      "with --int8 or --fp8: fails when any convolution, product, attention or recurrent step stays in floats, but for "
      "those that --precision names, and says why");
}

Status Int8Flags::check_usage(bool has_lower_floats) const {
  HUSSAR_CHECK(!int8_ || !fp8_, ErrorCode::kUsage,
               "--int8 and --fp8 exclude each other: products have one form below FP16; build twice to compare them");
  HUSSAR_CHECK(!fp8_ || !dynamic_, ErrorCode::kUsage,
               "--dynamic goes with --int8: FP8 has static ranges, of --calib DATA or --calib-cache FILE");
  HUSSAR_CHECK(!fp8_ || rounding_ != "adaptive", ErrorCode::kUsage,
               "--rounding adaptive goes with --int8: it chooses among integers");
  if (!quantizes()) {
    HUSSAR_CHECK(cache_.empty() && rounding_.empty(), ErrorCode::kUsage,
                 "--calib-cache and --rounding go with --int8 or --fp8");
    HUSSAR_CHECK(has_lower_floats || (data_.empty() && preprocess_.empty()), ErrorCode::kUsage,
                 "--calib and --preprocess go with --int8, --fp8, --fp16, --bf16 or --tf32");
    HUSSAR_CHECK(!strict_ && !dynamic_, ErrorCode::kUsage, "{}",
                 strict_ ? "--strict goes with --int8 or --fp8" : "--dynamic goes with --int8");
    return {};
  }
  HUSSAR_CHECK(!dynamic_ || (data_.empty() && cache_.empty()), ErrorCode::kUsage,
               "--dynamic finds the ranges when the model runs: it takes neither --calib nor --calib-cache");
  if (dynamic_) return {};
  HUSSAR_CHECK(!data_.empty() || !cache_.empty(), ErrorCode::kUsage,
               "{} needs the ranges of activations: --calib DATA, or --calib-cache FILE of `hussar calibrate`{}",
               fp8_ ? "--fp8" : "--int8", fp8_ ? "" : ", or --dynamic without data");
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

Result<std::vector<std::vector<Tensor>>> Int8Flags::first_samples(const std::string& model, const NamedShapes& shapes,
                                                                  size_t most) const {
  std::vector<std::vector<Tensor>> samples;
  if (data_.empty()) return samples;
  HUSSAR_CHECK(!is_plan_file(model), ErrorCode::kUsage, "--calib goes with an ONNX model; '{}' is a plan", model);
  onnx::ImportedModel imported = HUSSAR_TRY(onnx::import_file(model));
  HUSSAR_TRY(fix_shapes(imported.graph, shapes));
  const std::vector<InputFacts> facts = input_facts(imported.graph);
  auto source = HUSSAR_TRY(open_data(facts, shapes));
  DataBatch batch;
  while (samples.size() < most && HUSSAR_TRY(source->next(batch))) {
    BatchCutter cutter = HUSSAR_TRY(BatchCutter::create(facts, batch, {batch_}));
    while (samples.size() < most) {
      auto run = HUSSAR_TRY(cutter.next());
      if (!run) break;
      samples.push_back(std::move(run->inputs));
    }
    batch = {};
  }
  HUSSAR_CHECK(!samples.empty(), ErrorCode::kUsage, "--calib: '{}' has no sample", data_);
  return samples;
}

// Of this model and, where there are data, of them.
Status Int8Flags::check_known(const Calibration& known, Graph imported, const NamedShapes& shapes,
                              Progress& progress) const {
  HUSSAR_TRY(check_is_of_model(known, model_fingerprint(imported), cache_));
  HUSSAR_CHECK(rounding_.empty() || rounding_ == rounding_name(known.rounding), ErrorCode::kUsage,
               "calibration '{}' was made with --rounding {}: leave the flag out, or make another calibration", cache_,
               rounding_name(known.rounding));
  if (data_.empty()) return {};
  if (known.data_hash.empty()) {
    warn(fmt::format("'{}' has ranges from elsewhere: whether they are of these data is not known", cache_));
    return {};
  }
  progress.stage("compare data");
  HUSSAR_TRY(fix_shapes(imported, shapes));
  const std::vector<InputFacts> inputs = input_facts(imported);
  auto source = HUSSAR_TRY(open_data(inputs, shapes));
  return check_is_of_data(known, HUSSAR_TRY(fingerprint_of(*source, inputs, {batch_})), cache_);
}

Status Int8Flags::apply(const std::string& model, Progress& progress, CompileOptions& options) {
  HUSSAR_TRY(check_usage(options.lowers_floats()));
  if (!quantizes()) return {};
  HUSSAR_CHECK(!is_plan_file(model), ErrorCode::kUsage,
               "{} needs the ONNX model: the passes that quantize ran when '{}' was built", fp8_ ? "--fp8" : "--int8",
               model);
  if (fp8_) HUSSAR_TRY(check_fp8_target(options.place, options.sm));
  options.needs_int8 = strict_;
  if (dynamic_) {
    options.quantization = dynamic_quantization(options.fp32_nodes, options.place == Place::kDevice);
    return {};
  }
  auto method = method_from_name(method_);
  HUSSAR_CHECK(method, ErrorCode::kUsage, "--calib-method: there is no method '{}'; there are {}", method_,
               all_method_names());
  std::optional<Calibration> known;
  if (exists(cache_)) known = HUSSAR_TRY(read_calibration(cache_));
  const bool is_cut_off = known && !known->is_complete && !data_.empty();
  onnx::ImportedModel imported = HUSSAR_TRY(onnx::import_file(model));
  Calibration calibration;
  if (known && !is_cut_off) {
    HUSSAR_TRY(check_known(*known, std::move(imported.graph), options.shapes, progress));
    calibration = std::move(*known);
  } else {
    HUSSAR_CHECK(!data_.empty(), ErrorCode::kUsage, "there is no calibration '{}': --calib DATA makes it", cache_);
    if (!cache_.empty()) HUSSAR_TRY(check_can_write(cache_));
    CalibrateOptions calibrating;
    calibrating.shapes = options.shapes;
    calibrating.threads = options.threads;
    calibrating.method = *method;
    calibrating.rounding = rounding_from_name(rounding_).value_or(Rounding::kNearest);
    calibrating.cut.samples_per_run = batch_;
    auto source = HUSSAR_TRY(open_data(input_facts(imported.graph), options.shapes));
    CalibrateReport report;
    calibration = HUSSAR_TRY(
        calibrate_resumably(model, *source, std::move(calibrating), cache_, std::move(known), progress, report));
    for (const std::string& warning : report.warnings) warn(warning);
    if (!cache_.empty()) HUSSAR_TRY(write_calibration(calibration, cache_));
  }
  options.quantization = fp8_ ? fp8_quantization_of(calibration, *method, options.fp32_nodes)
                              : quantization_of(calibration, *method, options.fp32_nodes);
  calibration_ = std::move(calibration);
  return {};
}

}  // namespace hussar::cli
