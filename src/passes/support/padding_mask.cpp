// The nodes between a mask and a candidate for its source are evaluated on small batches of zeros and ones.
#include "passes/support/padding_mask.h"

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "ops/evaluate.h"
#include "ops/op_def.h"

namespace hussar {
namespace {

constexpr int kTrials = 4;
// What hides a key: less than this is left of it in FP32.
constexpr float kHidden = -1e4F;

// The dimensions as integers, where `batch` and `length` may be symbols; other symbols are the same for all.
class Sizes {
 public:
  Sizes(const Dim& batch, const Dim& length) {
    for (const auto& [dim, size] : {std::pair(&batch, kBatch), std::pair(&length, kLength)}) {
      for (const std::string& symbol : dim->symbols()) sizes_.emplace(symbol, size);
    }
    batch_ = size_of(batch);
    length_ = size_of(length);
  }
  int64_t batch() const { return batch_; }
  int64_t length() const { return length_; }
  bool are_known() const { return batch_ > 0 && length_ > 0; }
  std::optional<Shape> shape_of(const Value& value) const {
    if (!value.dims) return std::nullopt;
    Shape shape;
    for (const Dim& dim : *value.dims) {
      if (shape.rank() == kMaxRank || size_of(dim) < 0) return std::nullopt;
      shape.push_back(size_of(dim));
    }
    return shape;
  }

 private:
  static constexpr int64_t kBatch = 3, kLength = 7, kOther = 5;
  int64_t size_of(const Dim& dim) const {
    auto lookup = [&](std::string_view symbol) -> std::optional<int64_t> {
      auto it = sizes_.find(symbol);
      return it == sizes_.end() ? kOther : it->second;
    };
    return dim.evaluate(lookup).value_or(-1);
  }

  std::map<std::string, int64_t, std::less<>> sizes_;
  int64_t batch_ = 0, length_ = 0;
};

// Evaluates what depends on `source`.
class Trial {
 public:
  Trial(const Value* source, Tensor tensor, const Sizes& sizes) : sizes_(sizes) { known_[source] = std::move(tensor); }

  // Invalid, and why in `reason`, where it depends on something else.
  Tensor tensor_of(const Value* value) {
    if (auto it = known_.find(value); it != known_.end()) return it->second;
    if (value->is_constant()) return *value->constant;
    const Node* node = value->producer;
    if (node == nullptr) return refuse("it depends on the input '" + value->name + "', too");
    if (!node->bodies.empty() || node->program) return refuse("it depends on " + describe(*node));
    const OpDef* op = find_op(node->op);
    std::vector<Tensor> inputs;
    for (const Value* input : node->inputs) {
      inputs.emplace_back();
      if (input == nullptr) continue;
      inputs.back() = has_trait(op, kShapeOnly) ? zeros_like(*input) : tensor_of(input);
      if (!inputs.back().valid()) return {};
    }
    auto results = op == nullptr ? Result<std::vector<Tensor>>(std::vector<Tensor>()) : evaluate_node(*node, inputs);
    if (!results) return refuse(results.error().message);
    for (size_t i = 0; i < node->outputs.size() && i < results->size(); ++i) {
      if (node->outputs[i] != nullptr) known_[node->outputs[i]] = (*results)[i];
    }
    auto it = known_.find(value);
    return it != known_.end() && it->second.valid() ? it->second : refuse("it depends on " + describe(*node));
  }

  std::string reason;

 private:
  Tensor refuse(std::string why) {
    if (reason.empty()) reason = std::move(why);
    return {};
  }
  Tensor zeros_like(const Value& value) {
    auto shape = sizes_.shape_of(value);
    return shape && dtype_size(value.dtype) > 0 ? Tensor(value.dtype, *shape)
                                                : refuse("it depends on the shape of '" + value.name + "'");
  }

  const Sizes& sizes_;
  std::map<const Value*, Tensor> known_;
};

// Zeros and ones; all ones, and then sequences of every kind, without any token too.
std::vector<bool> tokens_of(int trial, int64_t count) {
  std::vector<bool> tokens(static_cast<size_t>(count));
  uint32_t state = 12345U + 977U * static_cast<uint32_t>(trial);
  for (size_t i = 0; i < tokens.size(); ++i) {
    state = state * 1664525U + 1013904223U;
    tokens[i] = trial == 0 || (trial == 1 ? i % 7 < 3 : (state >> 16) % 2 == 1);
  }
  return tokens;
}

// Whether the mask adds 0 to the scores of tokens, and hides the others, for all queries and heads.
bool hides_padding(const Tensor& mask, const std::vector<bool>& tokens, const Sizes& sizes) {
  if (mask.dtype() != DType::kFloat32 || mask.shape().rank() < 1 || mask.shape().rank() > 4) return false;
  int64_t dims[4] = {1, 1, 1, 1};
  for (int i = 0; i < mask.shape().rank(); ++i) dims[4 - mask.shape().rank() + i] = mask.shape()[i];
  const int64_t batch = dims[0], keys = dims[3];
  if (batch != sizes.batch() || keys != sizes.length()) return false;
  const int64_t rows = dims[1] * dims[2];
  const auto* data = mask.data<float>();
  for (int64_t i = 0; i < batch * rows * keys; ++i) {
    const bool is_token = tokens[static_cast<size_t>(i / (rows * keys) * keys + i % keys)];
    if (is_token ? data[i] != 0 : !(data[i] <= kHidden)) return false;
  }
  return true;
}

bool hides_padding(const Value* mask, const PaddingMask& candidate, const Sizes& sizes, std::string& reason) {
  const int64_t count = sizes.batch() * sizes.length();
  for (int trial = 0; trial < kTrials; ++trial) {
    const std::vector<bool> tokens = tokens_of(trial, count);
    std::vector<double> numbers;
    for (const bool token : tokens) numbers.push_back(token != candidate.inverted ? 1 : 0);
    Tensor tensor(candidate.source->dtype, Shape{sizes.batch(), sizes.length()});
    store_elements<double>(tensor, 0, count, numbers.data());
    Trial run(candidate.source, std::move(tensor), sizes);
    const Tensor added = run.tensor_of(mask);
    if (!added.valid()) {
      reason = run.reason;
      return false;
    }
    if (!hides_padding(added, tokens, sizes)) {
      reason = "what it adds to the scores depends on more than which keys are padding";
      return false;
    }
  }
  return true;
}

// Numbers that are looked up in a table are no mask, whatever zeros and ones among them do.
bool may_be_source(const Value& value, const Dim& batch, const Dim& length) {
  const bool has_type = is_floating(value.dtype) || value.dtype == DType::kBool || value.dtype == DType::kInt32 ||
                        value.dtype == DType::kInt64 || value.dtype == DType::kUInt8;
  const bool fits =
      has_type && !value.is_constant() && value.rank() == 2 && (*value.dims)[0] == batch && (*value.dims)[1] == length;
  return fits && std::none_of(value.users.begin(), value.users.end(),
                              [&](const Node* user) { return user->op == "Gather" && user->input(1) == &value; });
}

// The same mask further up, behind what keeps zeros and ones apart: best an input of the model.
PaddingMask furthest_source(const Value* mask, PaddingMask found, const Dim& batch, const Dim& length,
                            const Sizes& sizes) {
  std::string ignored;
  for (bool goes_on = true; goes_on;) {
    goes_on = false;
    const Node* node = found.source->producer;
    if (node == nullptr || (node->op != "Cast" && node->op != "Sub" && node->op != "Not" && node->op != "Identity"))
      break;
    for (Value* input : node->inputs) {
      if (input == nullptr || !may_be_source(*input, batch, length)) continue;
      for (const bool inverted : {false, true}) {
        const PaddingMask further{input, inverted};
        if (goes_on || !hides_padding(mask, further, sizes, ignored)) continue;
        found = further;
        goes_on = true;
      }
    }
  }
  return found;
}

}  // namespace

std::optional<PaddingMask> find_padding_mask(Value* mask, const Dim& batch, const Dim& length, std::string& reason) {
  const Sizes sizes(batch, length);
  reason = "no input of shape [" + batch.to_string() + ", " + length.to_string() + "] has a say in it";
  if (!sizes.are_known()) return std::nullopt;
  // The nearest source first: what is behind it may hold more than zeros and ones.
  std::vector<Value*> queue = {mask};
  std::set<const Value*> seen = {mask};
  for (size_t i = 0; i < queue.size(); ++i) {
    Value* value = queue[i];
    for (const bool inverted : {false, true}) {
      const PaddingMask candidate{value, inverted};
      if (may_be_source(*value, batch, length) && hides_padding(mask, candidate, sizes, reason))
        return furthest_source(mask, candidate, batch, length, sizes);
    }
    const Node* node = value->producer;
    if (node == nullptr || has_trait(find_op(node->op), kShapeOnly)) continue;
    for (Value* input : node->inputs) {
      if (input != nullptr && !input->is_constant() && seen.insert(input).second) queue.push_back(input);
    }
  }
  return std::nullopt;
}

}  // namespace hussar
