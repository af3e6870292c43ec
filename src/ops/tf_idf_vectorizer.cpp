// TfIdfVectorizer: counts the n-grams of a pool in every row of integers, also with items skipped between their tokens,
// and weighs the counts. Pools of strings are refused: Hussar does not compute with strings.
#include <map>

#include "ops/arguments.h"
#include "ops/evaluate.h"
#include "ops/op_def.h"

namespace hussar {
namespace {

// The pool as a tree of tokens: node 0 is the root, `grams` has the n-gram that ends at a node, or -1.
struct Pool {
  std::map<std::pair<size_t, int64_t>, size_t> children;
  Ints grams = {-1};

  void add(const int64_t* tokens, int64_t count, int64_t gram) {
    size_t node = 0;
    for (int64_t i = 0; i < count; ++i) {
      auto [it, is_new] = children.try_emplace({node, tokens[i]}, grams.size());
      if (is_new) grams.push_back(-1);
      node = it->second;
    }
    grams[node] = gram;
  }
};

struct Description {
  Ints counts, columns, tokens;
  Floats weights;
  std::string mode;
  int64_t shortest, longest, skips;
};

Result<Description> read(const Node& node) {
  const Attributes& attributes = node.attributes;
  Description d{attributes.get_ints("ngram_counts"),      attributes.get_ints("ngram_indexes"),
                attributes.get_ints("pool_int64s"),       attributes.get_floats("weights"),
                attributes.get_string("mode", ""),        attributes.get_int("min_gram_length", 1),
                attributes.get_int("max_gram_length", 1), attributes.get_int("max_skip_count", 0)};
  auto check = [&node](bool holds, std::string_view what) -> Status {
    HUSSAR_CHECK(holds, ErrorCode::kInvalidModel, "{}: {}", describe(node), what);
    return {};
  };
  HUSSAR_TRY(check(!attributes.has("pool_strings"), "a pool of strings is not supported, only one of integers"));
  HUSSAR_TRY(check(d.mode == "TF" || d.mode == "IDF" || d.mode == "TFIDF", "mode must be TF, IDF or TFIDF"));
  HUSSAR_TRY(check(d.shortest >= 1 && d.shortest <= d.longest, "min_gram_length must be in [1, max_gram_length]"));
  HUSSAR_TRY(check(d.skips >= 0, "max_skip_count is negative"));
  HUSSAR_TRY(check(d.weights.empty() || d.weights.size() == d.columns.size(), "weights need one number per n-gram"));
  HUSSAR_TRY(check(!d.columns.empty(), "ngram_indexes is empty"));
  for (int64_t column : d.columns) HUSSAR_TRY(check(column >= 0, "ngram_indexes has a negative number"));
  int64_t grams = 0;
  for (size_t i = 0; i < d.counts.size(); ++i) {
    auto size = static_cast<int64_t>(d.tokens.size()), length = static_cast<int64_t>(i) + 1;
    int64_t end = i + 1 < d.counts.size() ? d.counts[i + 1] : size;
    bool inside = d.counts[i] >= 0 && d.counts[i] <= end && end <= size;
    HUSSAR_TRY(
        check(inside && (end - d.counts[i]) % length == 0, "ngram_counts does not divide the pool into n-grams"));
    grams += (end - d.counts[i]) / length;
  }
  HUSSAR_TRY(check(grams == static_cast<int64_t>(d.columns.size()), "ngram_indexes needs one number per n-gram"));
  return d;
}

Pool make_pool(const Description& d) {
  Pool pool;
  int64_t gram = 0;
  for (size_t i = 0; i < d.counts.size(); ++i) {
    auto length = static_cast<int64_t>(i) + 1;
    int64_t end = i + 1 < d.counts.size() ? d.counts[i + 1] : static_cast<int64_t>(d.tokens.size());
    for (int64_t at = d.counts[i]; at < end; at += length, ++gram) {
      if (length >= d.shortest && length <= d.longest) pool.add(d.tokens.data() + at, length, gram);
    }
  }
  return pool;
}

// Calls found(gram) for every n-gram of at least `shortest` tokens that starts at `row[start]`.
template <class Found>
void match(const Pool& pool, const int64_t* row, int64_t size, int64_t start, int64_t step, int64_t shortest,
           Found&& found) {
  size_t node = 0;
  int64_t length = 1;
  for (int64_t at = start; at < size; at += step, ++length) {
    auto child = pool.children.find({node, row[at]});
    if (child == pool.children.end()) return;
    node = child->second;
    if (length >= shortest && pool.grams[node] >= 0) found(pool.grams[node]);
  }
}

Status infer(InferContext& context) {
  Description d = HUSSAR_TRY(read(context.node));
  if (context.dtype(0) != DType::kInt32 && context.dtype(0) != DType::kInt64)
    return context.fail("the input is {} instead of int32 or int64", dtype_name(context.dtype(0)));
  const Dims* dims = context.dims(0);
  if (dims == nullptr) {
    context.set_unknown(0, DType::kFloat32);
    return {};
  }
  if (dims->empty() || dims->size() > 2)
    return context.fail("the input has {} dimensions instead of 1 or 2", dims->size());
  int64_t last = *std::max_element(d.columns.begin(), d.columns.end());
  Dim columns = Dim(last) + Dim(1);
  HUSSAR_TRY(check_dimension(context, columns));
  Dims out(dims->begin(), dims->end() - 1);
  out.push_back(columns);
  context.set(0, DType::kFloat32, std::move(out));
  return {};
}

Status evaluate(EvalContext& context) {
  Description d = HUSSAR_TRY(read(context.node));
  Pool pool = make_pool(d);
  auto x = context.read<int64_t>(0);
  auto y = context.write<float>();
  int rank = context.shape(0).rank();
  int64_t size = context.shape(0)[rank - 1], rows = context.shape(0).elements(0, rank - 1);
  int64_t columns = context.output().shape()[rank - 1];
  std::fill(y.data(), y.data() + y.size(), 0.0F);
  for (int64_t row = 0; row < rows; ++row) {
    auto count = [&](int64_t gram) {
      float weight = d.weights.empty() || d.mode == "TF" ? 1 : d.weights[static_cast<size_t>(gram)];
      float& cell = y[row * columns + d.columns[static_cast<size_t>(gram)]];
      cell = d.mode == "IDF" ? weight : cell + weight;
    };
    // Steps longer than the row lead nowhere. Single tokens have nothing to skip: they count once.
    int64_t shortest = d.shortest;
    for (int64_t step = 1; step <= std::min(d.skips, size) + 1 && shortest <= d.longest; ++step) {
      for (int64_t start = 0; start < size; ++start)
        match(pool, x.data() + row * size, size, start, step, shortest, count);
      shortest = std::max<int64_t>(shortest, 2);
    }
  }
  return {};
}

}  // namespace

extern const OpDef tf_idf_vectorizer_op = {
    .name = "TfIdfVectorizer", .min_inputs = 1, .max_inputs = 1, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
