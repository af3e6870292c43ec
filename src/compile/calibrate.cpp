// The pass over the data.
#include "compile/calibrate.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "base/file.h"
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

std::string folder_of(const std::string& path) {
  const size_t end = path.rfind('/');
  return end == std::string::npos ? "." : path.substr(0, end + 1);
}

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
  Result<bool> is_counted(const DataRun& run);
  RunRows* place_for_rows(const DataRun& run, std::map<uint64_t, RunRows>& rows);
  Status take(const std::vector<DataRun>& runs, const std::function<void()>& meanwhile);
  Status sample_products(const std::vector<DataRun>& runs);
  Status judge(Calibration& calibration);
  Calibration snapshot(bool is_complete) const;
  Status save_now_and_then();
  void warn_about_data(const Calibration& calibration);

  DataSource& data_;
  const CalibrateOptions& options_;
  CalibrateReport& report_;
  Calibration result_;
  Graph graph_;  // that the run's plan was frozen from, with its weights
  std::unique_ptr<CalibrationRun> run_;
  std::optional<CalibrationSamples> few_;
  std::optional<ProductSampler> sampler_;
  // Of the samples with the least hashes so far, as many as the sampler expects.
  std::map<uint64_t, RunRows> rows_;
  size_t expected_runs_ = 0;
  int64_t samples_ = 0, to_skip_ = 0;
  uint64_t hash_ = 0;
  bool is_broken_ = false;  // a run failed, so nobody knows how much of it was counted
  Clock::time_point saved_ = Clock::now();
};

Status Calibrating::open(const std::string& model_path) {
  if (options_.progress) options_.progress("import");
  auto file = HUSSAR_TRY(MappedFile::open(model_path));
  auto imported = onnx::import_bytes(file->bytes(), file, folder_of(model_path));
  if (!imported) return fail(imported.error().code, "{}: {}", model_path, imported.error().message);
  onnx::ImportedModel model = std::move(*imported);
  result_.model = model_path.substr(model_path.rfind('/') + 1);
  result_.model_hash = model_fingerprint(model.graph);
  CompileOptions compile;
  compile.shapes = options_.shapes;
  compile.threads = options_.threads;
  compile.isa = options_.isa;
  // Every convolution must be a step of its own, whose input can be seen.
  compile.disabled_passes = {"fuse_inverted_residual"};
  if (options_.progress) options_.progress("compile");
  auto graph = optimize_graph(std::move(model.graph), compile);
  if (!graph) return fail(graph.error().code, "{}: {}", model_path, graph.error().message);
  graph_ = std::move(*graph);
  drop_pages(file->bytes());
  auto plan = freeze_graph(graph_.clone(), compile);
  if (!plan) return fail(plan.error().code, "{}: {}", model_path, plan.error().message);
  drop_pages(file->bytes());
  trim_heap();
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

// Not those that a calibration that was cut off has counted.
Result<bool> Calibrating::is_counted(const DataRun& run) {
  hash_ += run.hash;
  samples_ += run.samples;
  few_->offer(run);
  if (samples_ <= to_skip_) {
    bool is_last = samples_ == to_skip_;
    HUSSAR_CHECK(!is_last || spell(hash_) == options_.resume->data_hash, ErrorCode::kUsage,
                 "the calibration that was cut off had seen other data; delete it to begin anew");
    return false;
  }
  HUSSAR_CHECK(samples_ - run.samples >= to_skip_, ErrorCode::kUsage,
               "the calibration that was cut off had run other batches; delete it to begin anew");
  return true;
}

// Null where others are the few samples that are judged by.
RunRows* Calibrating::place_for_rows(const DataRun& run, std::map<uint64_t, RunRows>& rows) {
  if (run.samples != 1) return nullptr;
  if (!sampler_) {
    expected_runs_ = CalibrationSamples::expected_runs(run);
    sampler_.emplace(graph_, expected_runs_);
  }
  const bool is_late = rows_.size() >= expected_runs_ && run.hash >= std::prev(rows_.end())->first;
  return is_late ? nullptr : &rows[run.hash];
}

Status Calibrating::take(const std::vector<DataRun>& runs, const std::function<void()>& meanwhile) {
  std::vector<CalibrationRun::Task> tasks;
  std::map<uint64_t, RunRows> rows;
  is_broken_ = true;
  for (const DataRun& run : runs) {
    // Equal samples have equal rows.
    if (HUSSAR_TRY(is_counted(run)))
      tasks.push_back({&run, rows.count(run.hash) > 0 ? nullptr : place_for_rows(run, rows)});
  }
  HUSSAR_TRY(run_->run(tasks, sampler_ ? &*sampler_ : nullptr, meanwhile));
  is_broken_ = false;
  rows_.merge(rows);
  while (rows_.size() > expected_runs_) rows_.erase(std::prev(rows_.end()));
  return tasks.empty() ? Status() : save_now_and_then();
}

Error Calibrating::keep(Error error) {
  if (!options_.save || is_broken_ || samples_ <= to_skip_ || !options_.save(snapshot(false))) return error;
  error.message += fmt::format(" ({} samples are counted and kept: the same command goes on from there)", samples_);
  return error;
}

Status Calibrating::run() {
  if (options_.progress) options_.progress(kCountingStage);
  RunReader reader(data_, run_->inputs(), options_.cut);
  RunGroup group = reader.next(run_->enough());
  while (!group.runs.empty()) {
    RunGroup next;
    const bool ends = group.error.has_value();
    HUSSAR_TRY(take(group.runs, [&] {
      Status status = catching("read the data", [&]() -> Status {
        if (!ends) next = reader.next(run_->enough());
        return {};
      });
      if (!status) next.error = std::move(status.error());
    }));
    if (options_.stage_progress && group.fraction >= 0) options_.stage_progress(group.fraction);
    HUSSAR_CHECK(!options_.is_interrupted || !options_.is_interrupted(), ErrorCode::kInterrupted, "interrupted");
    if (ends) break;
    group = std::move(next);
  }
  report_.left_out_samples = reader.left_out();
  if (group.error) return tl::unexpected(std::move(*group.error));
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

// Joins the rows of these runs. Where they were not picked on the way, since the samples are fewer or larger than the
// first one let expect, or were counted by a calibration that was cut off, they run once more.
Status Calibrating::sample_products(const std::vector<DataRun>& runs) {
  const bool are_known =
      sampler_ && runs.size() == expected_runs_ &&
      std::all_of(runs.begin(), runs.end(), [&](const DataRun& run) { return rows_.count(run.hash) > 0; });
  if (are_known) {
    for (const DataRun& run : runs) sampler_->append(rows_.at(run.hash));
    rows_.clear();
    return {};
  }
  rows_.clear();
  if (options_.progress) options_.progress("run few samples again");
  sampler_.emplace(graph_, runs.size());
  Session* session = HUSSAR_TRY(run_->stop_counting());
  for (const DataRun& run : runs) HUSSAR_TRY(sampler_->run(*session, run));
  return {};
}

// Decides, now that the ranges of all methods are known. The plan goes when nothing runs any more.
Status Calibrating::judge(Calibration& calibration) {
  HUSSAR_TRY(sample_products(few_->runs(CalibrationSamples::kMost)));
  const std::vector<ProductSamples> products = sampler_->take();
  if (options_.rounding == Rounding::kNearest) run_.reset();
  if (options_.progress) options_.progress("ranges");
  judge_methods(products, calibration);
  decide(calibration, options_.method);
  smooth(graph_, products, calibration);
  calibration.products.clear();
  calibration.rounding = options_.rounding;
  if (options_.rounding == Rounding::kAdaptive) {
    if (options_.progress) options_.progress("round weights");
    Session* session = HUSSAR_TRY(run_->stop_counting());
    HUSSAR_TRY(round_weights(graph_, *session, few_->runs(kRoundingSamples), calibration, options_.stage_progress));
  }
  correct_biases(products, calibration);
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
  // The rest may be cut off, too.
  if (options_.save && samples_ > to_skip_) HUSSAR_TRY(options_.save(snapshot(false)));
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

Result<DataFingerprint> fingerprint_of(DataSource& data, const std::vector<InputFacts>& inputs, const CutOptions& cut) {
  RunReader reader(data, inputs, cut);
  DataFingerprint fingerprint;
  uint64_t hash = 0;
  for (RunGroup group = reader.next(1); !group.runs.empty(); group = reader.next(1)) {
    for (const DataRun& run : group.runs) {
      hash += run.hash;
      fingerprint.samples += run.samples;
    }
    if (group.error) return tl::unexpected(std::move(*group.error));
  }
  fingerprint.hash = spell(hash);
  return fingerprint;
}

Status check_is_of_data(const Calibration& calibration, const DataFingerprint& data, const std::string& path) {
  HUSSAR_CHECK(calibration.samples == data.samples && calibration.data_hash == data.hash, ErrorCode::kUsage,
               "calibration '{}' is stale: it was made from other data ({} samples, hash {}) than those given ({}, "
               "hash {}); delete it to calibrate anew, or take it as it is by leaving the data out",
               path, calibration.samples, calibration.data_hash, data.samples, data.hash);
  return {};
}

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
