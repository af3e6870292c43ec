// The pass over the data.
#include "compile/calibrate.h"

#include <chrono>

#include "base/error.h"
#include "base/memory.h"
#include "compile/calibration_run.h"
#include "compile/calibration_samples.h"
#include "compile/correct_biases.h"
#include "compile/judge_methods.h"
#include "compile/optimize.h"
#include "compile/product_samples.h"
#include "compile/round_weights.h"
#include "compile/smooth.h"
#include "onnx/import.h"

namespace hussar {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

std::string spell(uint64_t hash) { return fmt::format("{:016x}", hash); }

class Calibrating {
 public:
  Calibrating(DataSource& data, const CalibrateOptions& options, CalibrateReport& report)
      : data_(data), options_(options), report_(report) {}

  Status open(const std::string& model_path);
  Status run();
  // Keeps what was counted before a failure.
  Error keep(Error error);
  Result<Calibration> finish();

 private:
  Status take(const DataRun& run);
  Status judge(Calibration& calibration);
  Calibration snapshot(bool is_complete) const;
  Status save_now_and_then();
  void warn_about_data(const Calibration& calibration);

  DataSource& data_;
  const CalibrateOptions& options_;
  CalibrateReport& report_;
  Calibration result_;
  std::string model_path_;
  CompileOptions compile_;
  std::unique_ptr<CalibrationRun> run_;
  std::optional<CalibrationSamples> few_;
  int64_t samples_ = 0, to_skip_ = 0;
  uint64_t hash_ = 0;
  bool is_broken_ = false;  // a run failed, so nobody knows how much of it was counted
  Clock::time_point saved_ = Clock::now();
};

Status Calibrating::open(const std::string& model_path) {
  if (options_.progress) options_.progress("import");
  onnx::ImportedModel model = HUSSAR_TRY(onnx::import_file(model_path));
  result_.model = model_path.substr(model_path.rfind('/') + 1);
  result_.model_hash = model_fingerprint(model.graph);
  model_path_ = model_path;
  compile_.shapes = options_.shapes;
  compile_.threads = options_.threads;
  compile_.isa = options_.isa;
  // Every convolution must be a step of its own, whose input can be seen.
  compile_.disabled_passes = {"fuse_inverted_residual"};
  if (options_.progress) options_.progress("compile");
  auto plan = compile_graph(std::move(model.graph), compile_);
  if (!plan) return fail(plan.error().code, "{}: {}", model_path, plan.error().message);
  run_ = HUSSAR_TRY(CalibrationRun::create(std::make_shared<const Plan>(std::move(*plan))));
  few_.emplace(run_->inputs(), options_.rounding == Rounding::kAdaptive ? kRoundingSamples : CalibrationSamples::kMost);
  if (!options_.resume) return {};
  const Calibration& resume = *options_.resume;
  HUSSAR_CHECK(resume.model_hash == result_.model_hash, ErrorCode::kUsage,
               "the calibration that was cut off is of another model ('{}'); delete it, or name another output",
               resume.model);
  to_skip_ = resume.samples;
  result_.tensors = resume.tensors;
  report_.resumed_samples = resume.samples;
  return {};
}

Status Calibrating::take(const DataRun& run) {
  hash_ += run.hash;
  samples_ += run.samples;
  few_->offer(run);
  if (samples_ <= to_skip_) {
    bool is_last = samples_ == to_skip_;
    HUSSAR_CHECK(!is_last || spell(hash_) == options_.resume->data_hash, ErrorCode::kUsage,
                 "the calibration that was cut off had seen other data; delete it to begin anew");
    return {};
  }
  HUSSAR_CHECK(samples_ - run.samples >= to_skip_, ErrorCode::kUsage,
               "the calibration that was cut off had run other batches; delete it to begin anew");
  Status status = run_->run(run);
  if (status) return save_now_and_then();
  is_broken_ = true;
  return status;
}

Error Calibrating::keep(Error error) {
  if (!options_.save || is_broken_ || samples_ <= to_skip_ || !options_.save(snapshot(false))) return error;
  error.message += fmt::format(" ({} samples are counted and kept: the same command goes on from there)", samples_);
  return error;
}

Status Calibrating::run() {
  if (options_.progress) options_.progress("run");
  DataBatch batch;
  double begin = 0;
  for (int64_t number = 0; HUSSAR_TRY(data_.next(batch)); ++number) {
    if (batch.where.empty()) batch.where = fmt::format("batch {}", number);
    const double end = data_.fraction();
    BatchCutter cutter = HUSSAR_TRY(BatchCutter::create(run_->inputs(), batch, options_.cut));
    while (auto run = HUSSAR_TRY(cutter.next())) {
      HUSSAR_TRY(take(*run));
      if (options_.stage_progress && end >= 0) {
        options_.stage_progress(begin + (end - begin) * cutter.fraction());
      }
    }
    report_.left_out_samples += cutter.left_out();
    begin = end;
    batch = {};
  }
  return {};
}

Calibration Calibrating::snapshot(bool is_complete) const {
  Calibration calibration = result_;
  calibration.method = options_.method;
  calibration.data_hash = spell(hash_);
  calibration.samples = samples_;
  calibration.is_complete = is_complete;
  for (auto& [name, statistics] : run_->statistics()) calibration.tensors[name].statistics.merge(statistics);
  for (auto& [name, range] : run_->channel_ranges()) {
    TensorCalibration& tensor = calibration.tensors[name];
    range.merge({tensor.channel_min, tensor.channel_max});
    tensor.channel_min = std::move(range.min);
    tensor.channel_max = std::move(range.max);
  }
  return calibration;
}

Status Calibrating::save_now_and_then() {
  if (!options_.save || seconds_since(saved_) < options_.save_seconds) return {};
  HUSSAR_TRY(options_.save(snapshot(false)));
  saved_ = Clock::now();
  return {};
}

void Calibrating::warn_about_data(const Calibration& calibration) {
  auto warn = [&](std::string text) { report_.warnings.push_back(std::move(text)); };
  if (calibration.samples < kUsualSamples) {
    warn(fmt::format("{} samples are few: {} to 500 are usual, more data may give other ranges", calibration.samples,
                     kUsualSamples));
  }
  if (report_.left_out_samples > 0) {
    warn(fmt::format("{} samples were left out: they fill no batch of the size that the model fixes",
                     report_.left_out_samples));
  }
  std::string ranges;
  for (const InputFacts& input : run_->inputs()) {
    auto it = calibration.tensors.find(input.name);
    if (it == calibration.tensors.end()) continue;
    const Statistics& statistics = it->second.statistics;
    ranges += fmt::format("{}'{}' from {:g} to {:g}", ranges.empty() ? "" : ", ", input.name, statistics.min(),
                          statistics.max());
    if (calibration.samples > 1 && statistics.min() == statistics.max()) {
      warn(fmt::format("your preprocessing looks wrong: every element of input '{}' is {:g}", input.name,
                       statistics.min()));
    }
  }
  std::string constant = run_->constant_output();
  if (constant.empty()) return;
  warn(
      fmt::format("your preprocessing looks wrong: output '{}' is nearly the same for all samples, though they differ "
                  "({}; networks for images usually take about -3 to 3 or 0 to 1): check scale, mean and std, RGB or "
                  "BGR, and the layout",
                  constant, ranges));
}

// Runs few samples once more, now that the ranges of all methods are known. The plan's weights may be packed, so they
// come from the model again; the plan goes when it has run.
Status Calibrating::judge(Calibration& calibration) {
  if (options_.progress) options_.progress("run few samples again");
  onnx::ImportedModel model = HUSSAR_TRY(onnx::import_file(model_path_));
  const Graph graph = HUSSAR_TRY(optimize_graph(std::move(model.graph), compile_));
  const std::vector<DataRun> runs = few_->runs(CalibrationSamples::kMost);
  ProductSampler sampler(graph, runs.size());
  Session& session = run_->stop_counting();
  for (const DataRun& run : runs) HUSSAR_TRY(sampler.run(session, run));
  if (options_.rounding == Rounding::kNearest) run_.reset();
  if (options_.progress) options_.progress("ranges");
  judge_methods(sampler.products(), calibration);
  decide(calibration, options_.method);
  smooth(graph, sampler.products(), calibration);
  calibration.products.clear();
  calibration.rounding = options_.rounding;
  if (options_.rounding == Rounding::kAdaptive) {
    if (options_.progress) options_.progress("round weights");
    HUSSAR_TRY(round_weights(graph, session, few_->runs(kRoundingSamples), calibration, options_.stage_progress));
  }
  correct_biases(sampler.products(), calibration);
  return {};
}

Result<Calibration> Calibrating::finish() {
  HUSSAR_CHECK(samples_ > 0, ErrorCode::kUsage, "there are no calibration data: not one sample came");
  HUSSAR_CHECK(samples_ >= to_skip_, ErrorCode::kUsage,
               "the calibration that was cut off had seen {} samples, now there are only {}; delete it to begin anew",
               to_skip_, samples_);
  HUSSAR_CHECK(samples_ >= options_.fewest_samples, ErrorCode::kUsage,
               "{} samples are too few to calibrate with: fewer than {} say little about other inputs, {} to 500 are "
               "usual (--min-samples allows fewer)",
               samples_, options_.fewest_samples, kUsualSamples);
  Calibration calibration = snapshot(true);
  warn_about_data(calibration);
  HUSSAR_TRY(save_now_and_then());
  HUSSAR_TRY(judge(calibration));
  return calibration;
}

Result<Calibration> calibrate_unguarded(const std::string& model_path, DataSource& data,
                                        const CalibrateOptions& options, CalibrateReport& report) {
  Calibrating calibrating(data, options, report);
  HUSSAR_TRY(calibrating.open(model_path));
  Status status = calibrating.run();
  if (!status) return tl::unexpected(calibrating.keep(std::move(status.error())));
  return calibrating.finish();
}

}  // namespace

Result<Calibration> calibrate(const std::string& model_path, DataSource& data, const CalibrateOptions& options,
                              CalibrateReport* report) {
  auto begin = Clock::now();
  CalibrateReport unseen;
  CalibrateReport& facts = report != nullptr ? *report : unseen;
  facts = {};
  auto calibration = catching("calibrate", [&] { return calibrate_unguarded(model_path, data, options, facts); });
  facts.seconds = seconds_since(begin);
  return calibration;
}

}  // namespace hussar
