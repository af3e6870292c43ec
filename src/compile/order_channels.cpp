#include "compile/order_channels.h"

#include <algorithm>
#include <map>
#include <set>

#include "compile/channel_links.h"
#include "compile/stage_walk.h"
#include "sparsify/permute.h"

namespace hussar {
namespace {

// Mean squares need few samples.
constexpr size_t kMostRuns = 64;

using MeanSquares = std::map<size_t, std::vector<double>>;  // by layer: of every input channel

void add_squares(const Tensor& x, bool is_conv, std::vector<double>& sums) {
  const Shape& shape = x.shape();
  const auto channels = std::ssize(sums);
  const int64_t plane = is_conv ? shape.elements(2, shape.rank()) : 1;
  const auto* data = x.data<float>();
  for (int64_t i = 0; i < x.elements(); ++i) {
    const double value = data[i];
    sums[static_cast<size_t>(i / plane % channels)] += value * value;
  }
}

Result<MeanSquares> mean_squares(const PrunableModel& model, const std::vector<size_t>& layers, const PruneData& data,
                                 int threads) {
  std::map<const Node*, size_t> layer_of;
  std::vector<const Node*> nodes;
  for (size_t layer : layers) {
    nodes.push_back(model.layers[layer].node);
    layer_of[nodes.back()] = layer;
  }
  std::vector<std::vector<Tensor>> runs;
  for (size_t i = 0; i < std::min(kMostRuns, data.runs.size()); ++i) runs.push_back(data.runs[i].inputs);
  const size_t count = runs.size();
  StageWalk walk(model.graph, nodes, threads);
  walk.start(std::move(runs));
  MeanSquares squares;
  for (auto met = HUSSAR_TRY(walk.next()); !met.empty(); met = HUSSAR_TRY(walk.next())) {
    for (const Node* node : met) {
      const size_t layer = layer_of.at(node);
      std::vector<double>& sums = squares[layer];
      sums.resize(static_cast<size_t>(model.layers[layer].channels));
      for (size_t run = 0; run < count; ++run) add_squares(walk.before(run), node->op == "Conv", sums);
    }
  }
  return squares;
}

// [n][k] squares of weights, by the mean squares of their inputs where these are known.
std::vector<float> scores_of(const PrunableModel& model, size_t index, const MeanSquares& squares) {
  const PrunableLayer& layer = model.layers[index];
  std::vector<float> scores = matrix_of_weights(layer);
  const auto known = squares.find(index);
  for (size_t i = 0; i < scores.size(); ++i) {
    scores[i] *= scores[i];
    if (known != squares.end()) scores[i] *= static_cast<float>(known->second[i % known->second.size()]);
  }
  return scores;
}

double kept(const std::vector<float>& scores, int64_t n, int64_t k, const SparsityPattern& pattern) {
  return kept_part(scores.data(), masks_of_scores(scores.data(), n, k, pattern));
}

// What a layer keeps more when its rows or columns are reordered.
double gain(const std::vector<float>& scores, const PrunableLayer& layer, const SparsityPattern& pattern,
            const std::vector<int32_t>& columns, const std::vector<int32_t>& rows) {
  const std::vector<float> reordered = reorder(scores.data(), layer.n, layer.k(), columns, rows);
  return kept(reordered, layer.n, layer.k(), pattern) - kept(scores, layer.n, layer.k(), pattern);
}

}  // namespace

Result<int64_t> order_channels(PrunableModel& model, const std::vector<size_t>& layers, const PruneData* data,
                               const PruneOptions& options) {
  MeanSquares squares;
  if (data != nullptr) squares = HUSSAR_TRY(mean_squares(model, layers, *data, options.threads));
  const std::set<size_t> pruned(layers.begin(), layers.end());
  const SparsityPattern& pattern = options.pattern;
  int64_t reordered = 0;
  for (const ChannelLink& link : find_channel_links(model)) {
    const PrunableLayer& producer = model.layers[link.producer];
    std::vector<int32_t> best;
    double most = 0;
    auto offer = [&](std::vector<int32_t> order, double gained) {
      if (gained > most) {
        most = gained;
        best = std::move(order);
      }
    };
    if (pattern.shared_rows > 1 && pattern.shared_rows < producer.n && pruned.count(link.producer) > 0) {
      const std::vector<float> scores = scores_of(model, link.producer, squares);
      std::vector<int32_t> rows = cluster_rows(scores.data(), producer.n, producer.k(), pattern);
      const double gained = gain(scores, producer, pattern, {}, rows);
      offer(std::move(rows), gained);
    }
    for (size_t index : link.consumers) {
      const PrunableLayer& consumer = model.layers[index];
      if (pruned.count(index) == 0) continue;
      const std::vector<float> scores = scores_of(model, index, squares);
      std::vector<int32_t> channels = permute_channels(scores.data(), consumer.n, consumer.k(), consumer.taps, pattern);
      const double gained = gain(scores, consumer, pattern, column_order(channels, consumer.taps), {});
      offer(std::move(channels), gained);
    }
    if (best.empty()) continue;
    reorder_channels(model, link, best);
    // What the consumers read comes in the new order.
    for (size_t index : link.consumers) {
      auto it = squares.find(index);
      if (it == squares.end()) continue;
      const std::vector<double> old = it->second;
      for (size_t i = 0; i < best.size(); ++i) it->second[i] = old[static_cast<size_t>(best[i])];
    }
    ++reordered;
  }
  return reordered;
}

}  // namespace hussar
