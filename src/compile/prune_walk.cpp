#include "compile/prune_walk.h"

#include <fmt/format.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <span>

#include "base/error.h"
#include "base/thread_pool.h"
#include "compile/classes.h"
#include "compile/layer_errors.h"
#include "compile/layer_rows.h"
#include "compile/stage_walk.h"
#include "compile/tile_product.h"

namespace hussar {
namespace {

// With fewer rows least squares would fit the samples and nothing else.
constexpr int64_t kFewestRowsPerColumn = 2;
// Rows that are read together.
constexpr int64_t kRowsTogether = 512;

double root(double squared) { return squared < 0 ? squared : std::sqrt(squared); }

LayerChange change_of(const PrunableLayer& layer, size_t index, PrunedLayer pruned) {
  LayerChange change;
  change.layer = index;
  change.weights = weights_of_matrix(layer, pruned.weights);
  change.kept_energy = pruned.kept_energy;
  change.error_before_refit = root(pruned.error_before_refit);
  change.error = root(pruned.error);
  change.notes = std::move(pruned.notes);
  change.bias_change = std::move(pruned.bias_change);
  return change;
}

Result<PrunedLayer> prune_one(const PrunableLayer& layer, const std::vector<float>& weights,
                              const LayerMoments* moments, const PruneOptions& options) {
  auto pruned = prune_layer(weights.data(), layer.n, layer.k(), moments, options);
  if (!pruned) return fail(pruned.error().code, "node '{}': {}", layer.name(), pruned.error().message);
  return pruned;
}

// Layers that are sums of the same rows: their second moments are taken together.
struct RowGroup {
  std::vector<size_t> layers;
  std::vector<std::vector<float>> weights;
  int64_t n = 0;
};

struct Position {
  size_t run;
  int64_t row;
};

class DataPruning {
 public:
  DataPruning(const PrunableModel& model, const std::vector<size_t>& layers, const PruneData& data,
              const PruneOptions& options, const std::function<void(double)>& progress)
      : model_(model),
        data_(data),
        options_(options),
        progress_(progress),
        walk_(model.graph, nodes_of(model, layers), options.threads) {
    for (size_t layer : layers) {
      layer_of_[model.layers[layer].node] = layer;
      all_work_ += work_of(layer);
    }
  }

  static std::vector<const Node*> nodes_of(const PrunableModel& model, const std::vector<size_t>& layers) {
    std::vector<const Node*> nodes;
    for (size_t layer : layers) nodes.push_back(model.layers[layer].node);
    return nodes;
  }

  Result<WalkResult> run() {
    std::vector<std::vector<Tensor>> inputs;
    for (const auto* runs : {&data_.runs, &data_.held_out}) {
      for (const DataRun& run : *runs) inputs.push_back(run.inputs);
    }
    walk_.start(std::move(inputs));
    for (auto nodes = HUSSAR_TRY(walk_.next()); !nodes.empty(); nodes = HUSSAR_TRY(walk_.next())) {
      for (const RowGroup& group : groups_of(nodes)) HUSSAR_TRY(prune_group(group));
    }
    HUSSAR_TRY(walk_.finish());
    result_.output_error = output_error();
    HUSSAR_TRY(count_right());
    return std::move(result_);
  }

 private:
  double work_of(size_t layer) const {
    const auto k = static_cast<double>(model_.layers[layer].k());
    return k * (k + 2.0 * static_cast<double>(model_.layers[layer].n));
  }

  // Matrix products read the same rows of one value, every convolution its own.
  std::vector<RowGroup> groups_of(const std::vector<const Node*>& nodes) const {
    std::vector<RowGroup> groups;
    size_t products = SIZE_MAX;
    for (const Node* node : nodes) {
      const size_t index = layer_of_.at(node);
      const bool is_conv = node->op == "Conv";
      if (is_conv || products == SIZE_MAX) groups.emplace_back();
      if (!is_conv && products == SIZE_MAX) products = groups.size() - 1;
      RowGroup& group = groups[is_conv ? groups.size() - 1 : products];
      group.layers.push_back(index);
      group.weights.push_back(matrix_of_weights(model_.layers[index]));
      group.n += model_.layers[index].n;
    }
    return groups;
  }

  // Spread evenly over the samples; which of a stretch follows from the sample.
  std::vector<Position> positions(const PrunableLayer& layer, int64_t count) const {
    const auto runs = static_cast<int64_t>(data_.runs.size());
    const int64_t wanted = std::clamp<int64_t>(most_rows(layer.k()) / runs, 1, count);
    std::vector<Position> positions;
    for (size_t run = 0; run < data_.runs.size(); ++run) {
      const uint64_t seed = XXH3_64bits_withSeed(layer.name().data(), layer.name().size(), data_.runs[run].hash);
      for (int64_t i = 0; i < wanted; ++i) {
        const int64_t first = count * i / wanted, next = count * (i + 1) / wanted;
        const uint64_t random = XXH3_64bits_withSeed(&i, sizeof(i), seed);
        positions.push_back({run, first + static_cast<int64_t>(random % static_cast<uint64_t>(next - first))});
      }
    }
    return positions;
  }

  Result<LayerMoments> moments_of(const RowGroup& group, const LayerRows& rows,
                                  const std::vector<Position>& positions) {
    const PrunableLayer& layer = model_.layers[group.layers[0]];
    const int64_t k = layer.k();
    std::vector<float> all_weights;
    for (const auto& weights : group.weights) all_weights.insert(all_weights.end(), weights.begin(), weights.end());
    const FixedProduct dense = fixed_product(all_weights, group.n, k, options_.threads);
    MomentsBuilder builder(k, group.n, options_.product);
    std::vector<float> before(static_cast<size_t>(kRowsTogether * k)), after(before.size());
    std::vector<float> wanted(static_cast<size_t>(kRowsTogether * group.n));
    ThreadPool& pool = ThreadPool::shared();
    for (size_t first = 0; first < positions.size(); first += kRowsTogether) {
      const auto count = std::min<int64_t>(kRowsTogether, std::ssize(positions) - static_cast<int64_t>(first));
      {
        ThreadPool::Lease lease(pool, options_.threads > 0 ? options_.threads : pool.cores());
        lease.run(static_cast<int>(count), [&](int i) {
          const Position& position = positions[first + static_cast<size_t>(i)];
          rows.read(walk_.before(position.run).data<float>(), position.row, before.data() + i * k);
          if (!walk_.are_alike())
            rows.read(walk_.after(position.run).data<float>(), position.row, after.data() + i * k);
        });
      }
      dense(before.data(), count, wanted.data());
      if (options_.refit && !walk_.are_alike())
        make_up(group, rows, {&positions[first], static_cast<size_t>(count)}, wanted);
      builder.add(walk_.are_alike() ? before.data() : after.data(), k, wanted.data(), group.n, count);
    }
    auto moments = builder.take();
    if (!moments) return fail(moments.error().code, "node '{}': {}", layer.name(), moments.error().message);
    return moments;
  }

  // Where a product is the end of a branch, what the other branch lost is wanted of it, too: errors do not add up along
  // the residual stream.
  void make_up(const RowGroup& group, const LayerRows& rows, std::span<const Position> positions,
               std::vector<float>& wanted) const {
    int64_t first = 0;
    for (size_t index : group.layers) {
      const PrunableLayer& layer = model_.layers[index];
      const Value* beside = find_bias(model_, layer) ? value_beside(model_, layer) : nullptr;
      std::vector<float> before(static_cast<size_t>(layer.n)), after(before.size());
      for (size_t i = 0; i < positions.size() && beside != nullptr; ++i) {
        const Tensor* was = walk_.value(0, positions[i].run, beside->name);
        const Tensor* is = walk_.value(1, positions[i].run, beside->name);
        if (was == nullptr || is == nullptr) break;
        rows.read_outputs(was->data<float>(), positions[i].row, layer.n, before.data());
        rows.read_outputs(is->data<float>(), positions[i].row, layer.n, after.data());
        float* row = wanted.data() + static_cast<int64_t>(i) * group.n + first;
        for (int64_t channel = 0; channel < layer.n; ++channel) {
          const auto at = static_cast<size_t>(channel);
          row[channel] += before[at] - after[at];
        }
      }
      first += layer.n;
    }
  }

  // Those of the `n` output channels from `first` on.
  static LayerMoments part_of(const LayerMoments& all, int64_t first, int64_t n) {
    if (n == all.n) return all;
    LayerMoments part;
    part.k = all.k;
    part.n = n;
    part.rows = all.rows;
    part.h = all.h;
    part.x_sum = all.x_sum;
    part.y_sum.assign(all.y_sum.begin() + first, all.y_sum.begin() + first + n);
    part.y_squared.assign(all.y_squared.begin() + first, all.y_squared.begin() + first + n);
    for (int64_t row = 0; row < all.k; ++row) {
      const auto begin = all.p.begin() + row * all.n + first;
      part.p.insert(part.p.end(), begin, begin + n);
    }
    return part;
  }

  Status prune_group(const RowGroup& group) {
    const PrunableLayer& layer = model_.layers[group.layers[0]];
    const LayerRows rows = HUSSAR_TRY(LayerRows::create(layer, walk_.before(0).shape()));
    const std::vector<Position> chosen = positions(layer, rows.count());
    const int64_t fewest = kFewestRowsPerColumn * layer.k();
    if (std::ssize(chosen) < fewest) {
      const int64_t factor = (fewest + std::ssize(chosen) - 1) / std::ssize(chosen);
      for (size_t index : group.layers) {
        result_.refused.emplace_back(
            index, PruneReason{"few_data",
                               fmt::format("too few data: {} rows, {} are the least for k = {}; give {} times as many "
                                           "samples",
                                           chosen.size(), fewest, layer.k(), factor)});
      }
      return {};
    }
    const LayerMoments all = HUSSAR_TRY(moments_of(group, rows, chosen));
    // A change must not alter what the others of the group read.
    std::vector<LayerChange> changes;
    int64_t first = 0;
    for (size_t i = 0; i < group.layers.size(); ++i) {
      const PrunableLayer& own = model_.layers[group.layers[i]];
      LayerMoments moments = part_of(all, first, own.n);
      first += own.n;
      // Weights that stay as they were give outputs of less variance. Biases alone would pull these to their means,
      // layer after layer, until nothing else is left.
      const auto place = options_.refit ? find_bias(model_, own) : std::nullopt;
      if (place) centre(moments);
      LayerChange change =
          change_of(own, group.layers[i], HUSSAR_TRY(prune_one(own, group.weights[i], &moments, options_)));
      change.rows = all.rows;
      change.bias_place = place;
      if (!place) change.bias_change.clear();
      apply(own, change);
      result_.changes.push_back(std::move(change));
      done_work_ += work_of(group.layers[i]);
      if (progress_) progress_(done_work_ / all_work_);
    }
    return {};
  }

  void apply(const PrunableLayer& layer, const LayerChange& change) {
    walk_.set_constant(layer.node, 1, change.weights);
    if (!change.bias_place || change.bias_change.empty()) return;
    walk_.set_constant(change.bias_place->node, change.bias_place->input,
                       changed_bias(*change.bias_place, change.bias_change));
  }

  double output_error() const {
    Noise noise;
    for (size_t run = data_.runs.size(); run < data_.runs.size() + data_.held_out.size(); ++run) {
      const std::vector<Tensor> before = walk_.outputs(0, run), after = walk_.outputs(1, run);
      for (size_t i = 0; i < before.size(); ++i) {
        if (is_floating(before[i].dtype())) noise.add(before[i], after[i]);
      }
    }
    return noise.noise == 0 ? 0 : std::sqrt(noise.noise / noise.signal);
  }

  Status count_right() {
    int64_t labels = 0, before = 0, after = 0;
    for (size_t i = 0; i < data_.held_out.size(); ++i) {
      const DataRun& run = data_.held_out[i];
      if (run.labels.empty()) return {};
      const size_t place = data_.runs.size() + i;
      const Tensor dense = walk_.outputs(0, place)[0], pruned = walk_.outputs(1, place)[0];
      const std::vector<int64_t> was = classes_of(dense), is = classes_of(pruned);
      HUSSAR_TRY(check_labels(run.labels, std::ssize(was), was.empty() ? 0 : dense.elements() / std::ssize(was)));
      for (size_t row = 0; row < was.size(); ++row) {
        before += was[row] == run.labels[row] ? 1 : 0;
        after += is[row] == run.labels[row] ? 1 : 0;
      }
      labels += std::ssize(was);
    }
    result_.dense_top1 = static_cast<double>(before) / static_cast<double>(labels);
    result_.top1 = static_cast<double>(after) / static_cast<double>(labels);
    return {};
  }

  const PrunableModel& model_;
  const PruneData& data_;
  const PruneOptions& options_;
  const std::function<void(double)>& progress_;
  StageWalk walk_;
  std::map<const Node*, size_t> layer_of_;
  double all_work_ = 0, done_work_ = 0;
  WalkResult result_;
};

}  // namespace

int64_t most_rows(int64_t k) {
  constexpr int64_t kWork = int64_t{1} << 38, kMost = int64_t{1} << 17;
  return std::clamp(kWork / (k * k), 2 * k, kMost);
}

Result<WalkResult> prune_on_data(const PrunableModel& model, const std::vector<size_t>& layers, const PruneData& data,
                                 const PruneOptions& options, const std::function<void(double)>& progress) {
  return DataPruning(model, layers, data, options, progress).run();
}

Result<WalkResult> prune_without_data(const PrunableModel& model, const std::vector<size_t>& layers,
                                      const PruneOptions& options) {
  WalkResult result;
  for (size_t index : layers) {
    const PrunableLayer& layer = model.layers[index];
    PrunedLayer pruned = HUSSAR_TRY(prune_one(layer, matrix_of_weights(layer), nullptr, options));
    result.changes.push_back(change_of(layer, index, std::move(pruned)));
  }
  return result;
}

double walk_bytes_per_run(const PrunableModel& model, const std::vector<size_t>& layers) {
  return StageWalk(model.graph, DataPruning::nodes_of(model, layers), 1).bytes_per_run();
}

}  // namespace hussar
