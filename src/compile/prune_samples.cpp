#include "compile/prune_samples.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "compile/calibration_samples.h"
#include "onnx/import.h"

namespace hussar {
namespace {

constexpr size_t kMostInputBytes = size_t{1} << 30;
// One run in so many is held out.
constexpr size_t kHeldOutEvery = 8;
// Fewer are few.
constexpr int64_t kUsualFewest = 128;

Status check_shapes(const DataRun& first, const DataRun& run, const std::vector<InputFacts>& inputs) {
  for (size_t i = 0; i < inputs.size(); ++i) {
    HUSSAR_CHECK(run.inputs[i].shape() == first.inputs[i].shape(), ErrorCode::kUsage,
                 "{}: '{}' has shape {}, in {} it has {}: pruning takes samples of one shape, so pad or crop them",
                 run.where, inputs[i].name, run.inputs[i].shape().to_string(), first.where,
                 first.inputs[i].shape().to_string());
  }
  return {};
}

}  // namespace

Result<std::vector<InputFacts>> prune_inputs(const std::string& model_path, const NamedShapes& shapes) {
  Graph graph = HUSSAR_TRY(onnx::import_file(model_path)).graph;
  HUSSAR_TRY(fix_shapes(graph, shapes));
  return input_facts(graph);
}

Result<PruneData> read_prune_samples(const std::string& model_path, DataSource& source,
                                     const ModelPruneOptions& options, std::vector<std::string>& warnings) {
  const std::vector<InputFacts> inputs = HUSSAR_TRY(prune_inputs(model_path, options.shapes));
  CalibrationSamples samples(inputs, options.most_samples, kMostInputBytes);
  DataBatch batch;
  int64_t left_out = 0, place = 0;
  const std::vector<int64_t>& labels = options.labels;
  for (int64_t number = 0; HUSSAR_TRY(source.next(batch)); ++number) {
    if (batch.where.empty()) batch.where = fmt::format("batch {}", number);
    BatchCutter cutter = HUSSAR_TRY(BatchCutter::create(inputs, batch, {}));
    while (auto run = HUSSAR_TRY(cutter.next())) {
      for (int64_t at = place; at < std::min(place + run->samples, std::ssize(labels)); ++at)
        run->labels.push_back(labels[static_cast<size_t>(at)]);
      place += run->samples;
      const bool has_all = labels.empty() || std::ssize(run->labels) == run->samples;
      if (has_all) samples.offer(*run);
    }
    left_out += cutter.left_out();
    // Those that fill no batch have labels, too.
    place += cutter.left_out();
    if (options.stage_progress && source.fraction() >= 0) options.stage_progress(source.fraction());
    batch = {};
  }
  if (left_out > 0) {
    warnings.push_back(
        fmt::format("{} samples were left out: they fill no batch of the size that the model fixes", left_out));
  }
  HUSSAR_CHECK(labels.empty() || std::ssize(labels) == place, ErrorCode::kUsage,
               "there are {} labels for {} samples: there must be one for each", labels.size(), place);
  PruneData data;
  std::vector<DataRun> runs = samples.runs();
  for (const DataRun& run : runs) HUSSAR_TRY(check_shapes(runs[0], run, inputs));
  for (size_t i = 0; i < runs.size(); ++i) {
    (i % kHeldOutEvery == kHeldOutEvery - 1 ? data.held_out : data.runs).push_back(std::move(runs[i]));
  }
  if (data.held_out.empty() && data.runs.size() > 1) {
    data.held_out.push_back(std::move(data.runs.back()));
    data.runs.pop_back();
  }
  const int64_t count = count_samples(data.runs) + count_samples(data.held_out);
  HUSSAR_CHECK(count > 0, ErrorCode::kUsage, "there are no data: not one sample came");
  HUSSAR_CHECK(count >= options.fewest_samples && !data.held_out.empty(), ErrorCode::kUsage,
               "{} samples are too few to prune with: fewer than {} say little about other inputs, {} to {} are usual "
               "(--min-samples allows fewer, but not less than two runs)",
               count, options.fewest_samples, kUsualFewest, kUsualPruneSamples);
  if (count < kUsualFewest)
    warnings.push_back(fmt::format("{} samples are few: {} to {} are usual", count, kUsualFewest, kUsualPruneSamples));
  return data;
}

NamedShapes shapes_of_samples(const PruneData& data, const std::vector<InputFacts>& inputs) {
  NamedShapes shapes;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Shape& shape = data.runs[0].inputs[i].shape();
    shapes[inputs[i].name] = Dims(shape.begin(), shape.end());
  }
  return shapes;
}

int64_t count_samples(const std::vector<DataRun>& runs) {
  int64_t count = 0;
  for (const DataRun& run : runs) count += run.samples;
  return count;
}

void bound_samples(PruneData& data, double bytes_per_run, std::vector<std::string>& warnings) {
  const size_t all = data.runs.size() + data.held_out.size();
  const double most = kMostWalkBytes / std::max(bytes_per_run, 1.0);
  if (static_cast<double>(all) <= most) return;
  const double part = most / static_cast<double>(all);
  auto keep = [&](std::vector<DataRun>& runs) {
    runs.resize(std::max<size_t>(1, static_cast<size_t>(part * static_cast<double>(runs.size()))));
  };
  const int64_t before = count_samples(data.runs) + count_samples(data.held_out);
  keep(data.runs);
  keep(data.held_out);
  warnings.push_back(fmt::format(
      "{} of {} samples are used: what the model makes of one takes {:.1f} MB, and {:.0f} "
      "MB are the most",
      count_samples(data.runs) + count_samples(data.held_out), before, bytes_per_run / 1e6, kMostWalkBytes / 1e6));
}

}  // namespace hussar
