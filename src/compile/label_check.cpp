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

Result<LabelScore> score_in_float(const std::string& model_path, DataSource& data, std::span<const int64_t> labels,
                                  const LabelCheckOptions& options) {
  CompileOptions compile;
  compile.shapes = options.shapes;
  compile.threads = options.threads;
  auto plan = std::make_shared<const Plan>(HUSSAR_TRY(compile_file(model_path, compile)));
  auto session = HUSSAR_TRY(Session::create(plan));
  const std::vector<InputFacts> facts = input_facts(plan->graph);
  const auto all = static_cast<int64_t>(labels.size());
  std::vector<int64_t> predicted, right;
  int64_t place = 0, classes = 0;
  DataBatch batch;
  while (HUSSAR_TRY(data.next(batch))) {
    BatchCutter cutter = HUSSAR_TRY(BatchCutter::create(facts, batch, options.cut));
    while (auto run = HUSSAR_TRY(cutter.next())) {
      const int64_t begin = place;
      place += run->samples;
      const auto taken = static_cast<int64_t>(right.size());
      if (place > all || taken >= options.most_samples || place <= taken * all / options.most_samples) continue;
      const auto outputs = HUSSAR_TRY(session->run_in_order(run->inputs));
      HUSSAR_CHECK(!outputs.empty(), ErrorCode::kUsage, "labels need a first output with classes; there is none");
      const auto own = labels.subspan(static_cast<size_t>(begin), static_cast<size_t>(run->samples));
      const std::vector<int64_t> found = classes_of(outputs[0]);
      classes = class_count(outputs[0]);
      HUSSAR_TRY(check_labels(own, std::ssize(found), classes));
      predicted.insert(predicted.end(), found.begin(), found.end());
      right.insert(right.end(), own.begin(), own.end());
    }
    // Those that fill no batch have labels too.
    place += cutter.left_out();
    batch = {};
  }
  HUSSAR_CHECK(place == all, ErrorCode::kUsage, "--labels: {} labels, there are {} samples", all, place);
  return score_classes(predicted, right, classes);
}

Status check_knows_labels(const LabelScore& score) {
  HUSSAR_CHECK(!score.is_chance(), ErrorCode::kAccuracy,
               "your preprocessing is wrong: the model in FP32 gives the right class for {} of {} samples, and {:.1f} "
               "would be chance, with {} classes. Check scale, mean and std, RGB or BGR, and the layout; and whether "
               "the labels have the order of the samples and the numbers of the model's classes. Nothing was "
               "calibrated; without --labels nobody looks",
               score.right, score.samples, score.by_chance, score.classes);
  return {};
}

}  // namespace hussar
