#include "compile/product_samples.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>

#include "base/error.h"
#include "ops/conv.h"
#include "runtime/graph_run.h"
#include "tensor/quant_params.h"

namespace hussar {
namespace {

constexpr int64_t kMostRows = 512;
constexpr int64_t kMostFloats = int64_t(64) << 10, kMostFloatsOfAll = int64_t(16) << 20;

// Where a product's rows lie in a plain tensor.
struct Rows {
  int64_t count = 0;
  ConvShape conv;                  // of convolutions
  std::vector<int64_t> positions;  // outputs of one sample along each axis
};

Result<Rows> rows_of(const ProductSamples& product, const Tensor& x) {
  Rows rows;
  if (product.node->op != "Conv") {
    rows.count = x.elements() / product.elements;
    return rows;
  }
  const Shape& weights = product.node->inputs[1]->constant->shape();
  const Shape kernel = spatial_shape(weights), input = spatial_shape(x.shape());
  Window window = HUSSAR_TRY(read_window(*product.node, Ints(kernel.begin(), kernel.end())));
  Shape y{x.shape()[0], weights[0]};
  for (size_t axis = 0; axis < window.rank(); ++axis) {
    y.push_back(HUSSAR_TRY(window_output(*product.node, window, axis, Dim(input[static_cast<int>(axis)]))).value());
  }
  rows.conv = HUSSAR_TRY(conv_shape(*product.node, x.shape(), weights, y));
  rows.count = y[0] * y.elements(2, y.rank());
  return rows;
}

// What the output at `position` of a convolution reads, all channels.
void copy_window(const ConvShape& conv, const float* x, int64_t position, float* row) {
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
  const float* sample = x + position / outputs * channels * plane;
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
      row[channel * taps + tap] = is_inside ? sample[channel * plane + offset] : 0;
  }
}

const Value* counted_source(const Value* value) {
  while (value->producer != nullptr && value->producer->op == "hussar.Reformat") value = value->producer->inputs[0];
  return value;
}

}  // namespace

ProductSampler::ProductSampler(const Graph& graph, size_t runs) : runs_(runs) {
  for (const auto& node : graph.nodes()) {
    auto weights = product_weights(*node);
    if (!weights || weights->elements > kQuantizedDepth || counted_source(node->inputs[0])->is_constant()) continue;
    ProductSamples product;
    product.node = node.get();
    product.input = counted_source(node->inputs[0])->name;
    product.groups = node->op == "Conv" ? node->attributes.get_int("group", 1) : 1;
    product.elements = weights->elements;
    by_input_.emplace(product.input, products_.size());
    products_.push_back(std::move(product));
  }
  if (!products_.empty())
    floats_each_ = std::min(kMostFloats, kMostFloatsOfAll / static_cast<int64_t>(products_.size()));
}

Status ProductSampler::run(Session& session, const DataRun& data) {
  hash_ = data.hash;
  half_ ^= 1;
  const PlanGraph& graph = session.plan().graph;
  for (size_t i = 0; i < data.inputs.size(); ++i)
    take(data.inputs[i], graph.values[static_cast<size_t>(graph.inputs[i])].name);
  session.set_operand_observer([&](const PlanStep& step, std::span<const Operand> outputs, ThreadPool::Lease&) {
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (step.outputs[i] < 0) continue;
      const std::string& name = graph.values[static_cast<size_t>(step.outputs[i])].name;
      if (by_input_.count(name) > 0 && outputs[i].dtype == DType::kFloat32) take(to_plain(outputs[i]), name);
    }
  });
  auto outputs = session.run_in_order(data.inputs);
  session.set_operand_observer(nullptr);
  if (!outputs) return fail(outputs.error().code, "{}: {}", data.where, outputs.error().message);
  HUSSAR_CHECK(failure_.empty(), ErrorCode::kRunFailed, "{}: {}", data.where, failure_);
  return {};
}

void ProductSampler::take(const Tensor& x, const std::string& value) {
  auto [begin, end] = by_input_.equal_range(value);
  for (auto it = begin; it != end && x.dtype() == DType::kFloat32; ++it) take_rows(x, products_[it->second]);
}

// One row of each of so many equal stretches of all rows.
void ProductSampler::take_rows(const Tensor& x, ProductSamples& product) {
  auto rows = rows_of(product, x);
  if (!rows) failure_ = rows.error().message;
  if (!rows || rows->count <= 0) return;
  const auto runs = static_cast<int64_t>(runs_);
  const int64_t most = std::min(kMostRows, floats_each_ / product.row_size());
  const int64_t wanted = std::clamp<int64_t>(most / runs, 1, rows->count);
  const std::string& name = product.node->outputs[0]->name;
  const uint64_t seed = XXH3_64bits_withSeed(name.data(), name.size(), hash_);
  for (int64_t i = 0; i < wanted; ++i) {
    const int64_t first = rows->count * i / wanted, next = rows->count * (i + 1) / wanted;
    const uint64_t random = XXH3_64bits_withSeed(&i, sizeof(i), seed);
    const int64_t position = first + static_cast<int64_t>(random % static_cast<uint64_t>(next - first));
    product.rows.resize(product.rows.size() + static_cast<size_t>(product.row_size()));
    float* row = product.rows.data() + product.rows.size() - product.row_size();
    if (product.node->op == "Conv")
      copy_window(rows->conv, x.data<float>(), position, row);
    else
      std::copy_n(x.data<float>() + position * product.elements, product.elements, row);
    product.halves.push_back(half_);
  }
}

}  // namespace hussar
