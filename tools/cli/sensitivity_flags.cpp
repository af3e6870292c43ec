#include "tools/cli/sensitivity_flags.h"

#include "base/error.h"
#include "base/file.h"
#include "onnx/import.h"
#include "tools/cli/labels.h"
#include "tools/cli/sensitivity_table.h"

namespace hussar::cli {

void SensitivityFlags::declare(Command& command) {
  command.toggle("--sensitivity", asked_,
                 "also finds out what every product costs in accuracy and gains in time when it alone is in INT8; "
                 "runs the model three times per product and sample");
  command.option(
      "--labels", "FILE.npy", labels_path_,
      "the right class of every sample, integers: nothing is calibrated when the model in FP32 does no better "
      "than chance; --sensitivity also tells what is lost of them");
  command.option("--sensitivity-samples", "N", samples_,
                 "with --sensitivity: at most so many of the samples, taken evenly; default 64");
  command.option("--budget", "TIME", budget_, "with --sensitivity: of measuring times, as of `hussar build`; 0: none");
  command.option("--advice", "FILE", advice_,
                 "with --sensitivity: where the nodes go that had better stay in FP32, for `hussar build --precision "
                 "@FILE`");
  command.option("--advice-sqnr", "DB", advice_sqnr_,
                 "how exact the outputs shall be with that advice; default 25 dB, noise of 0.3 %");
}

Status SensitivityFlags::check_usage(bool has_data) {
  if (!asked_) {
    HUSSAR_CHECK(advice_.empty(), ErrorCode::kUsage, "--advice goes with --sensitivity");
    HUSSAR_CHECK(labels_path_.empty() || has_data, ErrorCode::kUsage,
                 "--labels are those of data: --calib must be data, a calibration alone is not enough");
    return take_labels();
  }
  HUSSAR_CHECK(has_data, ErrorCode::kUsage,
               "--sensitivity runs the model: --calib must be data, a calibration alone is not enough");
  HUSSAR_CHECK(samples_ >= 1, ErrorCode::kUsage, "--sensitivity-samples takes 1 or more");
  HUSSAR_TRY(parse_duration(budget_));
  HUSSAR_TRY(take_labels());
  if (!advice_.empty()) HUSSAR_TRY(check_can_write(advice_));
  return {};
}

Status SensitivityFlags::take_labels() {
  if (!labels_path_.empty()) labels_ = HUSSAR_TRY(read_labels(labels_path_));
  return {};
}

Status SensitivityFlags::check_labels(const std::string& model, DataSource& data,
                                      const LabelCheckOptions& options) const {
  if (!labels_) return {};
  const LabelScore score = HUSSAR_TRY(score_in_float(model, data, *labels_, options));
  note(fmt::format("in FP32 the class of {} of {} samples is that of the label", score.right, score.samples));
  return check_knows_labels(score);
}

Result<std::vector<SensitivitySample>> SensitivityFlags::read_samples(const SensitivityInput& input,
                                                                      Progress& progress) const {
  onnx::ImportedModel model = HUSSAR_TRY(onnx::import_file(input.model));
  HUSSAR_TRY(fix_shapes(model.graph, input.shapes));
  const std::vector<InputFacts> facts = input_facts(model.graph);
  auto source = HUSSAR_TRY(input.open());
  progress.stage("read samples");
  std::vector<SensitivitySample> samples;
  const int64_t all = input.calibration.samples;
  int64_t seen = 0, place = 0, taken = 0;
  DataBatch batch;
  while (HUSSAR_TRY(source->next(batch))) {
    BatchCutter cutter = HUSSAR_TRY(BatchCutter::create(facts, batch, input.cut));
    while (auto run = HUSSAR_TRY(cutter.next())) {
      const int64_t end = seen + run->samples;
      if (taken < samples_ && end > taken * all / samples_) {
        SensitivitySample sample{std::move(run->inputs), {}};
        for (int64_t i = 0; labels_ && i < run->samples; ++i) {
          const auto at = static_cast<size_t>(place + i);
          sample.labels.push_back(at < labels_->size() ? (*labels_)[at] : -1);
        }
        samples.push_back(std::move(sample));
        taken += run->samples;
      }
      seen = end;
      place += run->samples;
    }
    // Those that fill no batch have labels too.
    place += cutter.left_out();
    batch = {};
  }
  HUSSAR_CHECK(!labels_ || static_cast<int64_t>(labels_->size()) == place, ErrorCode::kUsage,
               "--labels: '{}' has {} labels, there are {} samples", labels_path_, labels_->size(), place);
  HUSSAR_CHECK(!samples.empty(), ErrorCode::kUsage, "--sensitivity: the data gave no sample the second time");
  return samples;
}

Result<SensitivityReport> SensitivityFlags::run(const SensitivityInput& input) const {
  Progress progress("calibrate");
  const auto samples = HUSSAR_TRY(read_samples(input, progress));
  auto quantization = std::make_shared<Quantization>();
  const auto params = activation_params(input.calibration, input.calibration.method);
  quantization->activations.insert(params.begin(), params.end());
  SensitivityOptions options;
  options.shapes = input.shapes;
  options.threads = input.threads;
  options.tune_seconds = HUSSAR_TRY(parse_duration(budget_));
  options.advice_sqnr_db = advice_sqnr_;
  options.progress = [&](std::string_view stage) { progress.stage(stage); };
  options.stage_progress = [&](double fraction) { progress.update(fraction); };
  SensitivityReport report = HUSSAR_TRY(measure_sensitivity(input.model, quantization, samples, options));
  progress.finish();
  if (!advice_.empty()) {
    const std::string text = advice_text(input.model, report, advice_sqnr_);
    HUSSAR_TRY(write_file_atomically(advice_, {std::as_bytes(std::span(text.data(), text.size()))}));
  }
  return report;
}

}  // namespace hussar::cli
