// ai.onnx.ml.TreeEnsemble: every row of the input walks down each tree to a leaf, whose weight goes to one target.
// Transforms are numbered as the operator's text says; ONNX Runtime takes SOFTMAX and LOGISTIC for each other.
#include <set>

#include "ops/arguments.h"
#include "ops/evaluate.h"
#include "ops/op_def.h"

namespace hussar {
namespace {

enum Mode : int64_t { kLessEqual, kLess, kGreaterEqual, kGreater, kEqual, kNotEqual, kMember, kModes };
enum Aggregate : int64_t { kAverage, kSum, kMin, kMax, kAggregates };
enum Transform : int64_t { kNone, kSoftmax, kLogistic, kSoftmaxZero, kProbit };

constexpr int64_t kMaxFeatures = int64_t{1} << 32;

struct Branch {
  bool is_leaf;
  int64_t index;
};

struct Split {
  int64_t feature, mode;
  double threshold;
  bool missing_is_true;
  std::set<double> members;
  Branch if_true, if_false;
};

struct Forest {
  std::vector<Split> splits;
  Ints roots, targets;
  std::vector<double> weights;
  int64_t features = 0;  // the least that a row must have
  int64_t target_count, aggregate, transform;
};

std::vector<double> numbers(const Attributes& attributes, std::string_view name) {
  const Tensor* tensor = attributes.get_tensor(name);
  if (tensor == nullptr) return {};
  std::vector<double> values(static_cast<size_t>(tensor->elements()));
  load_elements<double>(*tensor, 0, tensor->elements(), values.data());
  return values;
}

Status require(const Node& node, bool holds, std::string_view text) {
  HUSSAR_CHECK(holds, ErrorCode::kInvalidModel, "{}: {}", describe(node), text);
  return {};
}

// The member sets lie one after another, in the order of their nodes, each ended by a NaN.
Status read_members(const Node& node, std::vector<Split>& splits) {
  std::vector<double> members = numbers(node.attributes, "membership_values");
  size_t at = 0;
  for (Split& split : splits) {
    if (split.mode != kMember) continue;
    for (; at < members.size() && members[at] == members[at]; ++at) split.members.insert(members[at]);
    HUSSAR_TRY(require(node, at < members.size(), "membership_values has fewer sets than nodes ask for"));
    ++at;
  }
  return {};
}

Result<std::vector<Split>> read_splits(const Node& node, size_t leaves) {
  const Attributes& attributes = node.attributes;
  Ints features = attributes.get_ints("nodes_featureids"),
       missing = attributes.get_ints("nodes_missing_value_tracks_true");
  Ints true_ids = attributes.get_ints("nodes_truenodeids"), false_ids = attributes.get_ints("nodes_falsenodeids");
  Ints true_leafs = attributes.get_ints("nodes_trueleafs"), false_leafs = attributes.get_ints("nodes_falseleafs");
  std::vector<double> modes = numbers(attributes, "nodes_modes"), thresholds = numbers(attributes, "nodes_splits");
  size_t count = features.size();
  bool same = true_ids.size() == count && false_ids.size() == count && true_leafs.size() == count &&
              false_leafs.size() == count && modes.size() == count && thresholds.size() == count &&
              (missing.empty() || missing.size() == count);
  HUSSAR_TRY(require(node, same, "the nodes_ attributes have different lengths"));
  std::vector<Split> splits;
  for (size_t i = 0; i < count; ++i) {
    bool known =
        features[i] >= 0 && features[i] < kMaxFeatures && modes[i] >= 0 && modes[i] < static_cast<double>(kModes);
    HUSSAR_TRY(require(node, known, "a node has an unknown mode or a feature out of range"));
    splits.push_back({features[i],
                      static_cast<int64_t>(modes[i]),
                      thresholds[i],
                      !missing.empty() && missing[i] != 0,
                      {},
                      {true_leafs[i] != 0, true_ids[i]},
                      {false_leafs[i] != 0, false_ids[i]}});
    for (const Branch& branch : {splits[i].if_true, splits[i].if_false}) {
      auto limit = static_cast<int64_t>(branch.is_leaf ? leaves : count);
      HUSSAR_TRY(require(node, branch.index >= 0 && branch.index < limit, "a branch leads out of the tree"));
    }
  }
  HUSSAR_TRY(read_members(node, splits));
  return splits;
}

Result<Forest> read_forest(const Node& node) {
  const Attributes& attributes = node.attributes;
  Forest forest;
  forest.weights = numbers(attributes, "leaf_weights");
  forest.targets = attributes.get_ints("leaf_targetids");
  forest.roots = attributes.get_ints("tree_roots");
  forest.target_count = attributes.get_int("n_targets", 1);
  forest.aggregate = attributes.get_int("aggregate_function", kSum);
  forest.transform = attributes.get_int("post_transform", kNone);
  HUSSAR_TRY(require(node, forest.target_count >= 1, "n_targets must be at least 1"));
  HUSSAR_TRY(require(node, forest.aggregate >= 0 && forest.aggregate < kAggregates, "unknown aggregate_function"));
  HUSSAR_TRY(require(node, forest.transform != kProbit, "post_transform PROBIT is not supported"));
  HUSSAR_TRY(require(node, forest.transform >= 0 && forest.transform < kProbit, "unknown post_transform"));
  HUSSAR_TRY(require(node, forest.weights.size() == forest.targets.size(),
                     "leaf_weights and leaf_targetids differ in length"));
  for (int64_t target : forest.targets)
    HUSSAR_TRY(require(node, target >= 0 && target < forest.target_count, "leaf_targetids is not within n_targets"));
  forest.splits = HUSSAR_TRY(read_splits(node, forest.weights.size()));
  for (int64_t root : forest.roots)
    HUSSAR_TRY(require(node, root >= 0 && root < static_cast<int64_t>(forest.splits.size()), "a root is not a node"));
  for (const Split& split : forest.splits) forest.features = std::max(forest.features, split.feature + 1);
  return forest;
}

bool goes_true(const Split& split, double x) {
  if (split.missing_is_true && x != x) return true;
  switch (split.mode) {
    case kLessEqual: return x <= split.threshold;
    case kLess: return x < split.threshold;
    case kGreaterEqual: return x >= split.threshold;
    case kGreater: return x > split.threshold;
    case kEqual: return x == split.threshold;
    case kNotEqual: return x != split.threshold;
    default: return x == x && split.members.count(x) != 0;
  }
}

// The leaf that a row reaches; -1 when the tree has a cycle.
template <class T>
int64_t find_leaf(const Forest& forest, int64_t root, const T* row) {
  Branch at{false, root};
  for (size_t steps = 0; !at.is_leaf; ++steps) {
    if (steps > forest.splits.size()) return -1;
    const Split& split = forest.splits[static_cast<size_t>(at.index)];
    at = goes_true(split, static_cast<double>(row[split.feature])) ? split.if_true : split.if_false;
  }
  return at.index;
}

// Softmax over the scores; with `skip_zeros` those that are 0 stay 0 and do not take part.
void softmax(double* scores, int64_t count, bool skip_zeros) {
  auto takes_part = [&](double score) { return !skip_zeros || std::abs(score) > 1e-7; };
  double maximum = *std::max_element(scores, scores + count), sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    scores[i] = takes_part(scores[i]) ? std::exp(scores[i] - maximum) : 0;
    sum += scores[i];
  }
  for (int64_t i = 0; sum > 0 && i < count; ++i) scores[i] /= sum;
}

void transform(const Forest& forest, double* scores) {
  if (forest.transform == kSoftmax || forest.transform == kSoftmaxZero)
    softmax(scores, forest.target_count, forest.transform == kSoftmaxZero);
  for (int64_t i = 0; forest.transform == kLogistic && i < forest.target_count; ++i)
    scores[i] = 1 / (1 + std::exp(-scores[i]));
}

Status infer(InferContext& context) {
  Forest forest = HUSSAR_TRY(read_forest(context.node));
  if (!is_floating(context.dtype(0))) return context.fail("the input must be floating");
  Dim rows = context.fresh();
  if (const Dims* dims = context.dims(0)) {
    if (dims->size() != 2) return context.fail("the input has {} dimensions instead of 2", dims->size());
    rows = dims->front();
    if (dims->back().is_constant() && dims->back().value() < forest.features)
      return context.fail("the trees read feature {} of {}", forest.features - 1, dims->back().value());
  }
  HUSSAR_TRY(check_dimension(context, Dim(forest.target_count)));
  context.set(0, context.dtype(0), {rows, Dim(forest.target_count)});
  return {};
}

Status evaluate(EvalContext& context) {
  Forest forest = HUSSAR_TRY(read_forest(context.node));
  if (context.shape(0)[1] < forest.features) return context.fail("the trees read feature {}", forest.features - 1);
  return dispatch_floating(context.input(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    auto x = context.read<T>(0);
    auto y = context.write<T>();
    for (int64_t row = 0; row < context.shape(0)[0]; ++row) {
      std::vector<double> scores(static_cast<size_t>(forest.target_count), 0);
      std::vector<bool> seen(scores.size(), false);
      for (int64_t root : forest.roots) {
        int64_t leaf = find_leaf(forest, root, x.data() + row * context.shape(0)[1]);
        if (leaf < 0) return context.fail("a tree has a cycle");
        auto target = static_cast<size_t>(forest.targets[static_cast<size_t>(leaf)]);
        double weight = forest.weights[static_cast<size_t>(leaf)];
        if (forest.aggregate == kAverage) weight /= static_cast<double>(forest.roots.size());
        if (forest.aggregate == kMin) weight = seen[target] ? std::min(scores[target], weight) : weight;
        if (forest.aggregate == kMax) weight = seen[target] ? std::max(scores[target], weight) : weight;
        scores[target] = forest.aggregate <= kSum ? scores[target] + weight : weight;
        seen[target] = true;
      }
      transform(forest, scores.data());
      for (size_t i = 0; i < scores.size(); ++i)
        y[row * forest.target_count + static_cast<int64_t>(i)] = static_cast<T>(scores[i]);
    }
    return {};
  });
}

}  // namespace

extern const OpDef tree_ensemble_op = {
    .name = "ai.onnx.ml.TreeEnsemble", .min_inputs = 1, .max_inputs = 1, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
