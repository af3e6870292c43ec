#include "compile/label_check.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "compile/classes.h"
#include "runtime/session.h"

namespace hussar {

LabelScore score_classes(std::span<const int64_t> predicted, std::span<const int64_t> labels, int64_t classes) {
  LabelScore score;
  score.samples = static_cast<int64_t>(labels.size());
  score.classes = classes;
  std::map<int64_t, std::pair<int64_t, int64_t>> counts;  // of each class: predictions and labels
  for (size_t i = 0; i < labels.size(); ++i) {
    score.right += predicted[i] == labels[i] ? 1 : 0;
    ++counts[predicted[i]].first;
    ++counts[labels[i]].second;
  }
  for (const auto& [label, both] : counts) {
    score.label_classes += both.second > 0 ? 1 : 0;
    score.by_chance += static_cast<double>(both.first) * static_cast<double>(both.second) /
                       static_cast<double>(std::max<int64_t>(score.samples, 1));
  }
  return score;
}

bool LabelScore::is_chance() const {
  if (samples == 0 || classes < 2) return false;
  const auto count = static_cast<double>(samples);
  auto is_within = [&](double share) {
    return static_cast<double>(right) <= count * share + 2 * std::sqrt(count * share * (1 - share));
  };
  const bool is_guess = is_within(1.0 / static_cast<double>(classes));
  // What is expected of unrelated predictions says nothing then: it is what the model gets right.
  if (label_classes < 2) return is_guess;
  // A few labels that are most of all can be guessed often.
  return is_within(by_chance / count) && (is_guess || 2 * right < samples);
}

namespace {

// What the model says in FP32, and the labels of what it was asked.
class Scoring {
 public:
  static Result<Scoring> create(const std::string& model_path, const NamedShapes& shapes, int threads) {
    CompileOptions compile;
    compile.shapes = shapes;
    compile.threads = threads;
    Scoring scoring;
    scoring.plan_ = std::make_shared<const Plan>(HUSSAR_TRY(compile_file(model_path, compile)));
    scoring.session_ = HUSSAR_TRY(Session::create(scoring.plan_));
    return scoring;
  }
  const PlanGraph& graph() const { return plan_->graph; }
  int64_t samples() const { return std::ssize(labels_); }

  Status run(const DataRun& run, std::span<const int64_t> labels) {
    const auto outputs = HUSSAR_TRY(session_->run_in_order(run.inputs));
    HUSSAR_CHECK(!outputs.empty(), ErrorCode::kUsage, "labels need a first output with classes; there is none");
    const std::vector<int64_t> found = classes_of(outputs[0]);
    classes_ = class_count(outputs[0]);
    HUSSAR_TRY(check_labels(labels, std::ssize(found), classes_));
    predicted_.insert(predicted_.end(), found.begin(), found.end());
    labels_.insert(labels_.end(), labels.begin(), labels.end());
    return {};
  }
  LabelScore score() const { return score_classes(predicted_, labels_, classes_); }

 private:
  std::shared_ptr<const Plan> plan_;
  std::unique_ptr<Session> session_;
  std::vector<int64_t> predicted_, labels_;
  int64_t classes_ = 0;
};

}  // namespace

Result<LabelScore> score_in_float(const std::string& model_path, DataSource& data, std::span<const int64_t> labels,
                                  const LabelCheckOptions& options) {
  Scoring scoring = HUSSAR_TRY(Scoring::create(model_path, options.shapes, options.threads));
  const std::vector<InputFacts> facts = input_facts(scoring.graph());
  const auto all = static_cast<int64_t>(labels.size());
  int64_t place = 0;
  DataBatch batch;
  while (HUSSAR_TRY(data.next(batch))) {
    BatchCutter cutter = HUSSAR_TRY(BatchCutter::create(facts, batch, options.cut));
    while (auto run = HUSSAR_TRY(cutter.next())) {
      const int64_t begin = place;
      place += run->samples;
      const int64_t taken = scoring.samples();
      if (place > all || taken >= options.most_samples || place <= taken * all / options.most_samples) continue;
      HUSSAR_TRY(scoring.run(*run, labels.subspan(static_cast<size_t>(begin), static_cast<size_t>(run->samples))));
    }
    // Those that fill no batch have labels too.
    place += cutter.left_out();
    batch = {};
  }
  HUSSAR_CHECK(place == all, ErrorCode::kUsage, "--labels: {} labels, there are {} samples", all, place);
  return scoring.score();
}

Result<LabelScore> score_runs(const std::string& model_path, std::span<const DataRun> runs, const NamedShapes& shapes,
                              int threads) {
  Scoring scoring = HUSSAR_TRY(Scoring::create(model_path, shapes, threads));
  for (const DataRun& run : runs) HUSSAR_TRY(scoring.run(run, run.labels));
  return scoring.score();
}

Status check_knows_labels(const LabelScore& score) {
  HUSSAR_CHECK(!score.is_chance(), ErrorCode::kAccuracy,
               "your preprocessing is wrong: the model in FP32 gives the right class for {} of {} samples, and {:.1f} "
               "would be chance, with {} classes. Check scale, mean and std, RGB or BGR, and the layout; and whether "
               "the labels have the order of the samples and the numbers of the model's classes. Nothing was "
               "written; without labels nobody looks",
               score.right, score.samples, score.by_chance, score.classes);
  return {};
}

}  // namespace hussar
