#include "compile/product_samples.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "ops/conv.h"
#include "runtime/graph_run.h"
#include "tensor/quant_params.h"

namespace hussar {
namespace {

constexpr int64_t kMostRows = 512;
// Of the rows of a run, as many are large.
constexpr int64_t kLargePart = 16;
constexpr int64_t kMostFloats = int64_t(64) << 10, kMostFloatsOfAll = int64_t(16) << 20;

// Where a product's rows lie in what it reads.
struct Rows {
  int64_t count = 0;
  ConvShape conv;                  // of convolutions
  std::vector<int64_t> positions;  // outputs of one sample along each axis
};

Result<Rows> rows_of(const ProductSamples& product, const Shape& x) {
  Rows rows;
  if (product.node->op != "Conv") {
    rows.count = x.elements() / product.elements;
    return rows;
  }
  const Shape& weights = product.node->inputs[1]->constant->shape();
  const Shape kernel = spatial_shape(weights), input = spatial_shape(x);
  Window window = HUSSAR_TRY(read_window(*product.node, Ints(kernel.begin(), kernel.end())));
  Shape y{x[0], weights[0]};
  for (int axis = 0; axis < window.rank(); ++axis) {
    y.push_back(HUSSAR_TRY(window_output(*product.node, window, axis, Dim(input[static_cast<int>(axis)]))).value());
  }
  rows.conv = HUSSAR_TRY(conv_shape(*product.node, x, weights, y));
  rows.count = y[0] * y.elements(2, y.rank());
  return rows;
}

// What the output at `position` of a convolution reads, all channels, in either layout.
void copy_window(const ConvShape& conv, const Operand& x, int64_t position, float* row) {
  const Window& window = conv.window;
  const int64_t plane = conv.input.elements(), outputs = conv.output.elements();
  const int64_t channels = conv.groups * conv.inputs;
  int64_t rest = position % outputs, taps = 1;
  std::vector<int64_t> first(window.rank());
  for (size_t axis = window.rank(); axis-- > 0;) {
    const int64_t size = conv.output[static_cast<int>(axis)];
    first[axis] = rest % size * window.strides[axis] - window.pads_begin[axis];
    rest /= size;
    taps *= window.kernel[axis];
  }
  const bool is_plain = x.layout == Layout::kPlain;
  const int64_t to_channel = is_plain ? plane : 1, to_pixel = is_plain ? 1 : x.pitch;
  const float* sample = x.f32() + position / outputs * plane * (is_plain ? channels : x.pitch);
  for (int64_t tap = 0; tap < taps; ++tap) {
    int64_t left = tap, offset = 0, stride = 1;
    bool is_inside = true;
    for (size_t axis = window.rank(); axis-- > 0;) {
      const int64_t size = conv.input[static_cast<int>(axis)];
      const int64_t at = first[axis] + left % window.kernel[axis] * window.dilations[axis];
      left /= window.kernel[axis];
      is_inside = is_inside && at >= 0 && at < size;
      offset += at * stride;
      stride *= size;
    }
    for (int64_t channel = 0; channel < channels; ++channel)
      row[channel * taps + tap] = is_inside ? sample[channel * to_channel + offset * to_pixel] : 0;
  }
}

// The rows of largest magnitude, a sixteenth of all or more, the largest first; then all others in their order.
std::vector<int64_t> largest_first(const float* x, int64_t rows, int64_t elements) {
  std::vector<float> magnitudes(static_cast<size_t>(rows));
  for (int64_t row = 0; row < rows; ++row) {
    float most = 0;
    for (int64_t i = 0; i < elements; ++i) most = std::max(most, std::fabs(x[row * elements + i]));
    magnitudes[static_cast<size_t>(row)] = most;
  }
  std::vector<int64_t> order(static_cast<size_t>(rows));
  std::iota(order.begin(), order.end(), 0);
  const auto rest = order.begin() + (rows + kLargePart - 1) / kLargePart;
  std::partial_sort(order.begin(), rest, order.end(), [&](int64_t a, int64_t b) {
    const float of_a = magnitudes[static_cast<size_t>(a)], of_b = magnitudes[static_cast<size_t>(b)];
    return of_a != of_b ? of_a > of_b : a < b;
  });
  std::sort(rest, order.end());
  return order;
}

// Who reads it writes nothing.
Operand operand_of(const Tensor& tensor) {
  return {tensor.dtype(), tensor.shape(), Layout::kPlain, 0, const_cast<std::byte*>(tensor.raw())};
}

const Value* counted_source(const Value* value) {
  while (value->producer != nullptr && value->producer->op == "hussar.Reformat") value = value->producer->inputs[0];
  return value;
}

}  // namespace

std::vector<ProductSamples> sampled_products(const Graph& graph, bool with_largest) {
  std::vector<ProductSamples> products;
  for (const auto& node : graph.nodes()) {
    auto weights = product_weights(*node);
    if (!weights || weights->elements > kQuantizedDepth || counted_source(node->inputs[0])->is_constant()) continue;
    ProductSamples product;
    product.node = node.get();
    product.input = counted_source(node->inputs[0])->name;
    product.groups = node->op == "Conv" ? node->attributes.get_int("group", 1) : 1;
    product.elements = weights->elements;
    product.with_largest = with_largest && node->op != "Conv";
    products.push_back(std::move(product));
  }
  const auto count = std::max<int64_t>(static_cast<int64_t>(products.size()), 1);
  const int64_t floats_each = std::min(kMostFloats, kMostFloatsOfAll / count);
  for (ProductSamples& product : products)
    product.most_rows = std::min(kMostRows, floats_each / std::max<int64_t>(product.row_size(), 1));
  return products;
}

ProductSampler::ProductSampler(std::vector<ProductSamples> products, size_t runs)
    : products_(std::move(products)), runs_(runs) {
  for (size_t i = 0; i < products_.size(); ++i) by_input_.emplace(products_[i].input, i);
}

void ProductSampler::pick(const PlanGraph& graph, const DataRun& data, RunRows& rows) const {
  for (size_t i = 0; i < data.inputs.size(); ++i)
    pick(operand_of(data.inputs[i]), graph.values[static_cast<size_t>(graph.inputs[i])].name, data.hash, rows);
}

void ProductSampler::pick(const Operand& x, const std::string& value, uint64_t hash, RunRows& rows) const {
  auto [begin, end] = by_input_.equal_range(value);
  for (auto it = begin; it != end && x.dtype == DType::kFloat32; ++it) {
    if (x.layout == Layout::kPlain || products_[it->second].node->op == "Conv") {
      pick_rows(x, it->second, hash, rows);
    } else {
      const Tensor plain = to_plain(x);
      pick_rows(operand_of(plain), it->second, hash, rows);
    }
  }
}

// One row of each of so many equal stretches of all rows, or of those that are not large.
void ProductSampler::pick_rows(const Operand& x, size_t product_index, uint64_t hash, RunRows& result) const {
  const ProductSamples& product = products_[product_index];
  result.of.resize(products_.size());
  RunRows::Rows& picked = result.of[product_index];
  auto rows = rows_of(product, x.shape);
  if (!rows) result.failure = rows.error().message;
  if (!rows || rows->count <= 0) return;
  const auto runs = static_cast<int64_t>(runs_);
  const int64_t wanted = std::clamp<int64_t>(product.most_rows / runs, 1, rows->count);
  const std::string& name = product.node->outputs[0]->name;
  const uint64_t seed = XXH3_64bits_withSeed(name.data(), name.size(), hash);
  std::vector<int64_t> order;
  int64_t picks = 0;
  // One of the rows from `first` to `next`.
  auto pick_one = [&](int64_t first, int64_t next) {
    const uint64_t random = XXH3_64bits_withSeed(&picks, sizeof(picks), seed);
    int64_t position = first + static_cast<int64_t>(random % static_cast<uint64_t>(next - first));
    if (!order.empty()) position = order[static_cast<size_t>(position)];
    ++picks;
    picked.stands_for.push_back(static_cast<float>(next - first));
    picked.rows.resize(picked.rows.size() + static_cast<size_t>(product.row_size()));
    float* row = picked.rows.data() + picked.rows.size() - product.row_size();
    if (product.node->op == "Conv")
      copy_window(rows->conv, x, position, row);
    else
      std::copy_n(x.f32() + position * product.elements, product.elements, row);
  };
  int64_t large = 0;
  if (product.with_largest && rows->count > wanted + 2) {
    large = (rows->count + kLargePart - 1) / kLargePart;
    order = largest_first(x.f32(), rows->count, product.elements);
    pick_one(0, 1);
    if (large > 1) pick_one(1, large);
  }
  const int64_t rest = rows->count - large;
  for (int64_t i = 0; i < wanted; ++i) pick_one(large + rest * i / wanted, large + rest * (i + 1) / wanted);
}

void ProductSampler::append(const RunRows& rows) {
  half_ ^= 1;
  for (size_t i = 0; i < rows.of.size(); ++i) {
    ProductSamples& product = products_[i];
    const RunRows::Rows& picked = rows.of[i];
    product.rows.insert(product.rows.end(), picked.rows.begin(), picked.rows.end());
    product.stands_for.insert(product.stands_for.end(), picked.stands_for.begin(), picked.stands_for.end());
    product.halves.resize(product.rows.size() / static_cast<size_t>(product.row_size()), half_);
  }
}

Status ProductSampler::run(Session& session, const DataRun& data) {
  const PlanGraph& graph = session.plan().graph;
  RunRows rows;
  pick(graph, data, rows);
  session.set_operand_observer([&](const PlanStep& step, std::span<const Operand> outputs, ThreadPool::Lease&) {
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (step.outputs[i] >= 0)
        pick(outputs[i], graph.values[static_cast<size_t>(step.outputs[i])].name, data.hash, rows);
    }
  });
  auto outputs = session.run_in_order(data.inputs);
  session.set_operand_observer(nullptr);
  if (!outputs) return fail(outputs.error().code, "{}: {}", data.where, outputs.error().message);
  HUSSAR_CHECK(rows.failure.empty(), ErrorCode::kRunFailed, "{}: {}", data.where, rows.failure);
  append(rows);
  return {};
}

}  // namespace hussar
