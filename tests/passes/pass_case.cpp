// Graph building, evaluation and comparison for tests/passes.
#include "tests/passes/pass_case.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "ops/evaluate.h"
#include "tensor/convert.h"

namespace hussar {

namespace {

const Pass* find_pass(std::string_view name) {
  for (const Pass* pass : all_passes()) {
    if (pass->name == name) return pass;
  }
  return nullptr;
}

std::vector<double> elements(const Tensor& tensor) {
  std::vector<double> values(static_cast<size_t>(tensor.elements()));
  load_elements<double>(tensor, 0, tensor.elements(), values.data());
  return values;
}

void expect_close(const Tensor& expected, const Tensor& actual, double tolerance) {
  ASSERT_EQ(expected.shape().to_string(), actual.shape().to_string());
  ASSERT_EQ(expected.dtype(), actual.dtype());
  std::vector<double> a = elements(expected), b = elements(actual);
  double range = 1;
  for (double value : a) range = std::isfinite(value) ? std::max(range, std::abs(value)) : range;
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    ASSERT_TRUE(a[i] == b[i] || std::abs(a[i] - b[i]) <= tolerance * range)
        << "element " << i << ": " << a[i] << ", " << b[i];
  }
}

}  // namespace

double GraphCase::random() {
  // Sum of uniform numbers: near enough to a normal distribution.
  double sum = -6;
  for (int i = 0; i < 12; ++i) {
    state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
    sum += static_cast<double>(state_ >> 11) * 0x1p-53;
  }
  return sum;
}

Value* GraphCase::input(const Dims& dims, DType dtype) {
  Value* value = graph.add_value("input" + std::to_string(graph.inputs.size()), dtype, dims);
  graph.inputs.push_back(value);
  return value;
}

Value* GraphCase::weights(const Shape& shape, double mean) {
  std::vector<double> values(static_cast<size_t>(shape.elements()));
  for (double& value : values) value = mean + random();
  return constant(shape, values);
}

Value* GraphCase::number(double value, DType dtype) { return constant({}, {value}, dtype); }

Value* GraphCase::constant(const Shape& shape, const std::vector<double>& values, DType dtype) {
  Tensor tensor(dtype, shape);
  store_elements<double>(tensor, 0, tensor.elements(), values.data());
  return graph.add_constant(graph.unique_name("constant"), std::move(tensor));
}

Value* GraphCase::integers(const Ints& values) {
  return constant({static_cast<int64_t>(values.size())}, {values.begin(), values.end()}, DType::kInt64);
}

std::vector<Value*> GraphCase::make_many(const std::string& op, std::vector<Value*> inputs, size_t count,
                                         Attributes attributes) {
  std::vector<Value*> outputs;
  for (size_t i = 0; i < count; ++i) outputs.push_back(graph.add_value(graph.unique_name(op)));
  graph.add_node(op, graph.unique_name(op), std::move(inputs), outputs, std::move(attributes));
  return outputs;
}

Value* GraphCase::make(const std::string& op, std::vector<Value*> inputs, Attributes attributes) {
  return make_many(op, std::move(inputs), 1, std::move(attributes))[0];
}

Value* GraphCase::transpose(Value* x, const Ints& order) { return make("Transpose", {x}, with({{"perm", order}})); }

Tensor GraphCase::random_input(const Value& value) {
  std::set<std::string> symbols;
  for (const Value* input : graph.inputs) {
    for (const Dim& dim : *input->dims) {
      for (const std::string& symbol : dim.symbols()) symbols.insert(symbol);
    }
  }
  auto size_of = [&](std::string_view symbol) -> std::optional<int64_t> {
    return 2 + std::distance(symbols.begin(), symbols.find(std::string(symbol)));
  };
  Shape shape;
  for (const Dim& dim : *value.dims) shape.push_back(*dim.evaluate(size_of));
  Tensor tensor(value.dtype, shape);
  std::vector<double> values(static_cast<size_t>(shape.elements()));
  for (double& element : values) element = value.dtype == DType::kBool ? random() > 0 : random();
  store_elements<double>(tensor, 0, tensor.elements(), values.data());
  return tensor;
}

Target hopper() {
  Target target;
  target.place = Place::kDevice;
  target.sm = 90;
  target.no_fp16 = target.no_tf32 = {};
  return target;
}

int run_pass(Graph& graph, std::string_view name, const Target& target, bool packed) {
  const Pass* pass = find_pass(name);
  EXPECT_NE(pass, nullptr) << name;
  if (pass == nullptr) return -1;
  auto fail = [](const Error& error) {
    ADD_FAILURE() << error.message;
    return -1;
  };
  auto facts = infer_graph(graph);
  if (!facts) return fail(facts.error());
  const Timings nothing;
  PassContext context{graph, target, *facts, nothing, false, nullptr, nullptr, packed};
  auto rewrites = pass->run(context);
  if (!rewrites) return fail(rewrites.error());
  graph.sweep();
  if (auto sorted = graph.sort(); !sorted) return fail(sorted.error());
  if (auto valid = graph.verify(); !valid) return fail(valid.error());
  if (auto inferred = infer_graph(graph); !inferred) return fail(inferred.error());
  return *rewrites;
}

int GraphCase::run(std::string_view name, double tolerance) {
  std::vector<Tensor> inputs;
  for (const Value* input : graph.inputs) inputs.push_back(random_input(*input));
  Graph before = graph.clone();
  const int rewrites = run_pass(graph, name, {});
  if (rewrites < 0) return rewrites;
  auto expected = evaluate_graph(before, inputs), actual = evaluate_graph(graph, inputs);
  for (const auto* outputs : {&expected, &actual}) {
    if (*outputs) continue;
    ADD_FAILURE() << outputs->error().message;
    return -1;
  }
  for (size_t i = 0; i < expected->size(); ++i) {
    expect_close((*expected)[i], (*actual)[i], tolerance);
    EXPECT_EQ(before.outputs[i]->name, graph.outputs[i]->name);
  }
  return rewrites;
}

int GraphCase::count(std::string_view op) const {
  return static_cast<int>(
      std::count_if(graph.nodes().begin(), graph.nodes().end(), [&](const auto& node) { return node->op == op; }));
}

Attributes with(std::initializer_list<std::pair<const char*, Attribute>> list) {
  Attributes result;
  for (const auto& [name, value] : list) result.set(name, value);
  return result;
}

}  // namespace hussar
