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

// Finds the order for one chain: rows of the producer come into blocks that want the same columns, then channels move
// within these for the consumers.
class ChainOrder {
 public:
  ChainOrder(const PrunableModel& model, const std::set<size_t>& pruned, const MeanSquares& squares,
             const SparsityPattern& pattern)
      : model_(model), pruned_(pruned), squares_(squares), pattern_(pattern) {}

  // Empty: none that keeps more.
  std::vector<int32_t> find(const ChannelLink& link) {
    const PrunableLayer& producer = model_.layers[link.producer];
    const bool has_blocks =
        pattern_.shared_rows > 1 && pattern_.shared_rows < producer.n && pruned_.count(link.producer) > 0;
    std::vector<int32_t> order;
    if (has_blocks) {
      const std::vector<float> scores = scores_of(model_, link.producer, squares_);
      order = cluster_rows(scores.data(), producer.n, producer.k(), pattern_);
      if (kept(reorder(scores.data(), producer.n, producer.k(), {}, order), producer) <= kept(scores, producer))
        order = {};
    }
    if (has_blocks && pattern_.shared_rows % kGroupColumns != 0) return order;
    // One consumer decides for all: the one with the most weights.
    const PrunableLayer* consumer = nullptr;
    size_t chosen = 0;
    for (size_t index : link.consumers) {
      const PrunableLayer& candidate = model_.layers[index];
      if (pruned_.count(index) == 0) continue;
      if (consumer == nullptr || candidate.n * candidate.k() > consumer->n * consumer->k()) {
        consumer = &candidate;
        chosen = index;
      }
    }
    if (consumer == nullptr) return order;
    std::vector<float> scores = scores_of(model_, chosen, squares_);
    if (!order.empty())
      scores = reorder(scores.data(), consumer->n, consumer->k(), column_order(order, consumer->taps), {});
    const std::vector<int32_t> second = permute_channels(scores.data(), consumer->n, consumer->k(), consumer->taps,
                                                         pattern_, has_blocks ? pattern_.shared_rows : 0);
    const std::vector<float> moved =
        reorder(scores.data(), consumer->n, consumer->k(), column_order(second, consumer->taps), {});
    if (kept(moved, *consumer) <= kept(scores, *consumer)) return order;
    return order.empty() ? second : compose(order, second);
  }

 private:
  double kept(const std::vector<float>& scores, const PrunableLayer& layer) const {
    return kept_part(scores.data(), masks_of_scores(scores.data(), layer.n, layer.k(), pattern_));
  }

  const PrunableModel& model_;
  const std::set<size_t>& pruned_;
  const MeanSquares& squares_;
  const SparsityPattern& pattern_;
};

}  // namespace

Result<int64_t> order_channels(PrunableModel& model, const std::vector<size_t>& layers, const PruneData* data,
                               const PruneOptions& options) {
  MeanSquares squares;
  if (data != nullptr) squares = HUSSAR_TRY(mean_squares(model, layers, *data, options.threads));
  const std::set<size_t> pruned(layers.begin(), layers.end());
  int64_t reordered = 0;
  for (const ChannelLink& link : find_channel_links(model)) {
    const std::vector<int32_t> best = ChainOrder(model, pruned, squares, options.pattern).find(link);
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
