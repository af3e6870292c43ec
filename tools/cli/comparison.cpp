// Matching and comparing tensors.
#include "tools/cli/comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "tools/cli/console.h"
#include "tools/cli/layer_table.h"

namespace hussar::cli {
namespace {

std::string figure(double value) { return std::isinf(value) ? "inf" : fmt::format("{:.3g}", value); }

std::vector<std::string> row(const TensorDifference& entry) {
  const Difference& apart = entry.difference;
  if (!apart.incomparable.empty()) return {entry.name, apart.incomparable};
  std::string agreement = apart.rows > 0 ? fmt::format("{}/{}", apart.rows_agreeing, apart.rows) : "-";
  return {entry.name,
          figure(apart.max_absolute),
          figure(apart.relative()),
          fmt::format("{:.7f}", apart.cosine),
          figure(apart.sqnr_db),
          agreement,
          entry.node};
}

Json to_json(const TensorDifference& entry) {
  const Difference& apart = entry.difference;
  Json json = Json::object();
  json.set("name", entry.name).set("node", entry.node).set("elements", apart.elements);
  if (!apart.incomparable.empty()) return std::move(json.set("incomparable", apart.incomparable));
  json.set("max_abs", apart.max_absolute).set("max_rel", apart.relative()).set("error", apart.error());
  json.set("range", apart.range).set("cosine", apart.cosine).set("sqnr_db", apart.sqnr_db);
  json.set("different", apart.different).set("non_finite_apart", apart.non_finite_apart);
  return std::move(json.set("argmax_rows", apart.rows).set("argmax_agree", apart.rows_agreeing));
}

Result<size_t> find_output(const Recorded& reference, const Subject& other, size_t index) {
  const std::string& name = other.output_names()[index];
  for (size_t i = 0; i < reference.output_names.size(); ++i) {
    if (reference.output_names[i] == name) return i;
  }
  HUSSAR_CHECK(reference.output_names.size() == other.output_names().size(), ErrorCode::kUsage,
               "'{}' has no output '{}' and another number of outputs than '{}'", reference.path, name, other.path());
  return index;
}

void judge(Comparison& comparison, const std::string& reference, double tolerance) {
  for (const TensorDifference& output : comparison.outputs) {
    if (output.difference.error() <= tolerance) continue;
    comparison.passes = false;
    std::string what = !output.difference.incomparable.empty() ? output.difference.incomparable
                                                               : "error " + figure(output.difference.error());
    comparison.verdict = fmt::format("output '{}' of {} differs from {}: {}, allowed {:.3g}", output.name,
                                     comparison.path, reference, what, tolerance);
    break;
  }
  for (size_t i = 0; i < comparison.layers.size() && comparison.first_bad_layer < 0; ++i) {
    const Difference& apart = comparison.layers[i].difference;
    // Passes may give a tensor inside the model another form under the same name.
    if (apart.incomparable.empty() && apart.error() > tolerance) comparison.first_bad_layer = static_cast<int>(i);
  }
  if (comparison.first_bad_layer < 0) return;
  const TensorDifference& first = comparison.layers[static_cast<size_t>(comparison.first_bad_layer)];
  if (comparison.passes) {
    comparison.verdict = fmt::format("{}: the outputs agree, but a tensor inside does not", comparison.path);
  }
  comparison.passes = false;
  comparison.verdict += fmt::format("; the first tensor that differs is '{}' (error {}) of {}", first.name,
                                    figure(first.difference.error()), first.node);
}

}  // namespace

Result<NamedShapes> common_shapes(const std::vector<Subject>& subjects, const NamedShapes& given) {
  NamedShapes shapes;
  for (const Subject& subject : subjects) {
    if (subject.plan() == nullptr) continue;
    auto optimum = subject.plan()->meta.find("shapes_opt");
    if (optimum != subject.plan()->meta.end()) shapes = HUSSAR_TRY(parse_shapes(optimum->second));
  }
  for (const Subject& subject : subjects) {
    for (const InputFacts& input : subject.inputs()) {
      if (!input.dims) continue;
      Dims& dims = shapes.try_emplace(input.name, input.dims->size(), Dim(-1)).first->second;
      for (size_t axis = 0; axis < dims.size() && axis < input.dims->size(); ++axis) {
        if ((*input.dims)[axis].is_constant()) dims[axis] = (*input.dims)[axis];
      }
    }
  }
  for (const auto& [name, dims] : given) shapes[name] = dims;
  return shapes;
}

Result<std::vector<Tensor>> reorder_inputs(const Subject& first, const std::vector<Tensor>& inputs,
                                           const Subject& other) {
  std::vector<Tensor> reordered;
  for (const InputFacts& wanted : other.inputs()) {
    size_t found = 0;
    while (found < inputs.size() && first.inputs()[found].name != wanted.name) ++found;
    HUSSAR_CHECK(found < inputs.size(), ErrorCode::kUsage, "'{}' takes {}; '{}' takes {}", other.path(),
                 describe(other.inputs()), first.path(), describe(first.inputs()));
    reordered.push_back(inputs[found]);
  }
  return reordered;
}

Result<Recorded> record(Subject& subject, const std::vector<Tensor>& inputs, const CompareOptions& options) {
  Recorded recorded{subject.path(), subject.kind(), subject.output_names(), {}, {}, {}, inputs, {}, {}};
  if (subject.plan() != nullptr) recorded.packed = packed_rows(subject.plan()->graph);
  TensorObserver observer = nullptr;
  if (options.layers) {
    observer = [&](const std::string& name, const Tensor& tensor) {
      recorded.tensors[name] = tensor.clone();
      recorded.producers[name] = subject.producer_of(name);
    };
  }
  recorded.outputs = HUSSAR_TRY(subject.run(inputs, observer, options.progress));
  if (!options.layers) return recorded;
  if (subject.session() != nullptr) {
    recorded.model_tensors = HUSSAR_TRY(record_tensors(*subject.session(), inputs));
    return recorded;
  }
  recorded.model_tensors = recorded.tensors;
  for (size_t i = 0; i < inputs.size(); ++i) recorded.model_tensors[subject.inputs()[i].name] = inputs[i];
  return recorded;
}

static Result<LayerReport> rank(const Recorded& reference, Subject& other, const std::vector<Tensor>& inputs) {
  if (other.graph() != nullptr) return measure_layers(*other.graph(), inputs, reference.model_tensors);
  return measure_layers(*other.session(), inputs, reference.model_tensors);
}

// Who computes rows of padding is compared as if they were zeros, as the other has them.
static void clear_padding_of_both(const Recorded& reference, const Subject& other, const std::vector<Tensor>& inputs,
                                  const std::vector<size_t>& indices, std::vector<Tensor>& expected,
                                  std::vector<Tensor>& outputs) {
  const auto rows = other.plan() == nullptr ? std::nullopt : packed_rows(other.plan()->graph);
  if (rows) {
    for (Tensor& tensor : expected) tensor = tensor.clone();
    clear_padding(*rows, inputs, expected);
  }
  if (!reference.packed) return;
  PackedRows in_order = *reference.packed;
  in_order.are_packed.clear();
  for (const size_t index : indices) in_order.are_packed.push_back(reference.packed->are_packed[index]);
  clear_padding(in_order, reference.inputs, outputs);
}

Result<Comparison> compare_with(const Recorded& reference, Subject& other, const std::vector<Tensor>& inputs,
                                const CompareOptions& options, double tolerance) {
  Comparison comparison;
  comparison.path = other.path();
  comparison.kind = other.kind();
  comparison.tolerance = tolerance;
  TensorObserver observer = nullptr;
  if (options.layers) {
    observer = [&](const std::string& name, const Tensor& tensor) {
      auto expected = reference.tensors.find(name);
      if (expected == reference.tensors.end()) return;
      std::string node = reference.producers.at(name);
      comparison.layers.push_back(
          {name, node.empty() ? other.producer_of(name) : node, difference(expected->second, tensor)});
    };
  }
  std::vector<Tensor> outputs = HUSSAR_TRY(other.run(inputs, observer, options.progress));
  std::vector<size_t> indices;
  std::vector<Tensor> expected;
  for (size_t i = 0; i < outputs.size(); ++i) {
    indices.push_back(HUSSAR_TRY(find_output(reference, other, i)));
    expected.push_back(reference.outputs[indices[i]]);
  }
  clear_padding_of_both(reference, other, inputs, indices, expected, outputs);
  for (size_t i = 0; i < outputs.size(); ++i)
    comparison.outputs.push_back({other.output_names()[i], "", difference(expected[i], outputs[i])});
  judge(comparison, reference.path, tolerance);
  if (options.layers) comparison.ranking = HUSSAR_TRY(rank(reference, other, inputs));
  return comparison;
}

std::string to_text(const Recorded& reference, const std::vector<Comparison>& comparisons) {
  std::string text;
  for (const Comparison& comparison : comparisons) {
    text += fmt::format("{} ({}) against {} ({})\n", comparison.path, comparison.kind, reference.path, reference.kind);
    Table outputs({"output", ">max abs", ">max rel", ">cosine", ">SQNR dB", ">same argmax"});
    for (const TensorDifference& entry : comparison.outputs) outputs.add(row(entry));
    text += outputs.to_string();
    if (comparison.ranking.layers.empty()) continue;
    text += "\n" + layer_table(comparison.ranking);
    if (comparison.first_bad_layer < 0) text += "no tensor differs by more than the tolerance\n";
  }
  return text;
}

Json to_json(const Recorded& reference, const std::vector<Comparison>& comparisons) {
  double tolerance = 0;
  Json list = Json::array(), json = Json::object(), first = Json::object();
  for (const Comparison& comparison : comparisons) {
    Json entry = Json::object(), outputs = Json::array(), layers = Json::array();
    for (const TensorDifference& output : comparison.outputs) outputs.push(to_json(output));
    for (const TensorDifference& layer : comparison.layers) layers.push(to_json(layer));
    entry.set("model", comparison.path).set("kind", comparison.kind).set("passes", comparison.passes);
    entry.set("tolerance", comparison.tolerance);
    tolerance = std::max(tolerance, comparison.tolerance);
    entry.set("verdict", comparison.verdict).set("outputs", std::move(outputs)).set("layers", std::move(layers));
    entry.set("ranking", to_json(comparison.ranking));
    bool has_bad = comparison.first_bad_layer >= 0;
    entry.set("first_bad",
              has_bad ? to_json(comparison.layers[static_cast<size_t>(comparison.first_bad_layer)]) : Json());
    list.push(std::move(entry));
  }
  first.set("model", reference.path).set("kind", reference.kind);
  json.set("tolerance", tolerance).set("first", std::move(first));
  return std::move(json.set("comparisons", std::move(list)));
}

}  // namespace hussar::cli
