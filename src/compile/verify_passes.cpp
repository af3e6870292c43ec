// Evaluating a graph between passes.
#include "compile/verify_passes.h"

#include "base/error.h"
#include "compile/difference.h"
#include "compile/sample.h"
#include "ops/evaluate.h"

namespace hussar {

Result<PassVerifier> PassVerifier::create(const Graph& graph, const NamedShapes& shapes, double tolerance) {
  PassVerifier verifier;
  verifier.tolerance_ = tolerance;
  verifier.inputs_ = HUSSAR_TRY(random_inputs(input_facts(graph), shapes, 1));
  auto outputs = evaluate_graph(graph, verifier.inputs_);
  HUSSAR_CHECK(outputs, ErrorCode::kUsage, "passes cannot be verified, the model does not run on made-up inputs: {}",
               outputs.error().message);
  for (const Tensor& output : *outputs) verifier.expected_.push_back(output.clone());
  return verifier;
}

Result<double> PassVerifier::measure(const Graph& graph, std::string_view pass) const {
  auto outputs = evaluate_graph(graph, inputs_);
  HUSSAR_CHECK(outputs, ErrorCode::kAccuracy, "after pass {} the model does not run any more: {}", pass,
               outputs.error().message);
  double largest = 0;
  for (size_t i = 0; i < expected_.size(); ++i) {
    Difference apart = difference(expected_[i], (*outputs)[i]);
    largest = std::max(largest, apart.error());
    std::string figure =
        apart.incomparable.empty() ? fmt::format("max relative error {:.2g}", apart.error()) : apart.incomparable;
    HUSSAR_CHECK(apart.error() <= tolerance_, ErrorCode::kAccuracy,
                 "after pass {} output '{}' is off ({}, allowed {:.2g}); --disable-pass {} builds without it", pass,
                 graph.outputs[i]->name, figure, tolerance_, pass);
  }
  return largest;
}

}  // namespace hussar
